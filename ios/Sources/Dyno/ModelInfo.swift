internal import DynoFFI

/// What a client knows of its model.
public struct ModelInfo: Sendable, Equatable {
    /// Name of the model.
    public let name: String
    /// Hash of the bundle: the server holds the same one.
    public let hash: String
    /// Width of the model's input, in pixels.
    public let width: Int
    /// Height of the model's input, in pixels.
    public let height: Int
    /// Names of the classes; empty if the bundle has none.
    public let labels: [String]
    /// Whether answers have labels.
    public let isClassifier: Bool
    /// Index of the last cut.
    public let lastCut: Int
}

extension ModelInfo {
    init(_ model: DynoFFI.ModelInfo) {
        name = model.name
        hash = model.hash
        width = Int(model.width)
        height = Int(model.height)
        labels = model.labels
        isClassifier = model.isClassifier
        lastCut = Int(model.lastCut)
    }
}
