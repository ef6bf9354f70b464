internal import DynoFFI

/// Where the time of one inference went.
///
/// Divide by a unit for a number: `times.total / .milliseconds(1)`.
public struct StageTimes: Sendable, Equatable {
    /// Everything: staging the photo, and from the call to the answer.
    public let total: Duration
    /// Photo to frame, frame to tensor.
    public let preprocess: Duration
    /// On the device, the tail included where it was resumed there.
    public let device: Duration
    /// Packing the activation or encoding the photo.
    public let pack: Duration
    /// The request, less the server's work.
    public let network: Duration
    /// Waiting for a worker of the server.
    public let queue: Duration
    /// On the server.
    public let server: Duration
    /// Softmax and labels.
    public let post: Duration
}

extension StageTimes {
    init(_ times: DynoFFI.StageTimes) {
        total = .milliseconds(times.totalMs)
        preprocess = .milliseconds(times.preprocessMs)
        device = .milliseconds(times.deviceMs)
        pack = .milliseconds(times.packMs)
        network = .milliseconds(times.networkMs)
        queue = .milliseconds(times.queueMs)
        server = .milliseconds(times.serverMs)
        post = .milliseconds(times.postMs)
    }
}
