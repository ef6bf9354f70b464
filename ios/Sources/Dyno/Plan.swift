internal import DynoFFI

/// Where to cut the model, and how to send what crosses the cut.
public enum Plan: Sendable, Hashable {
    /// Everything on the device.
    case device
    /// The head on the device, its activation sent, the tail on the server.
    ///
    /// - Parameters:
    ///   - cut: Index in the bundle's table of cuts.
    ///   - levels: Quantisation levels, 2 to 65536; `nil` for 32-bit floats.
    ///   - codec: `raw`, `lz4`, `zstd`, `context` or `shaped`.
    case split(cut: Int, levels: Int?, codec: String)
    /// The photo itself, everything on the server.
    ///
    /// - Parameter codec: `jpeg:1` to `jpeg:100`, `webp:1` to `webp:100`, `png`, `webp-lossless`
    ///   or `ppm`.
    case photo(codec: String)
}

extension Plan {
    init(_ plan: DynoFFI.Plan) {
        self =
            switch plan {
            case .device: .device
            case .split(let cut, let levels, let codec):
                .split(cut: Int(cut), levels: levels.map { Int($0) }, codec: codec)
            case .photo(let codec): .photo(codec: codec)
            }
    }

    func forNative() throws -> DynoFFI.Plan {
        switch self {
        case .device:
            .device
        case .split(let cut, let levels, let codec):
            .split(
                cut: try native(cut, "cut"),
                levels: try levels.map { try native($0, "levels") },
                codec: codec
            )
        case .photo(let codec):
            .photo(codec: codec)
        }
    }
}
