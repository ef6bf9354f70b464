internal import DynoFFI

/// What a client has done so far, and what it believes of the network.
public struct DynoStats: Sendable, Equatable {
    /// Answers.
    public let inferences: Int
    /// Calls that failed or were cancelled.
    public let failures: Int
    /// Answers that came all from the device.
    public let onDevice: Int
    /// Answers whose head ran here and whose tail on the server.
    public let split: Int
    /// Answers that came all from the server.
    public let onServer: Int
    /// Answers that did not come about as planned.
    public let fallbacks: Int
    /// Bytes that the answered inferences have sent.
    public let bytesUp: Int
    /// Median time of the last 64 answers; `nil` before the first.
    public let latencyP50: Duration?
    /// What 95 of 100 of them took at most.
    public let latencyP95: Duration?
    /// The plan that a call would follow now.
    public let plan: Plan
    /// The plan in words.
    public let planName: String
    /// The network that was reported last.
    public let network: NetworkKind
    /// Whether bytes cost money there.
    public let isMetered: Bool
    /// Estimated round trip.
    public let roundTrip: Duration
    /// Estimated uplink, in bits per second.
    public let bitsPerSecond: Double
}

extension DynoStats {
    init(_ stats: DynoFFI.DynoStats) {
        inferences = Int(clamping: stats.inferences)
        failures = Int(clamping: stats.failures)
        onDevice = Int(clamping: stats.onDevice)
        split = Int(clamping: stats.split)
        onServer = Int(clamping: stats.onServer)
        fallbacks = Int(clamping: stats.fallbacks)
        bytesUp = Int(clamping: stats.bytesUp)
        latencyP50 = stats.latencyP50Ms.map { .milliseconds($0) }
        latencyP95 = stats.latencyP95Ms.map { .milliseconds($0) }
        plan = Plan(stats.plan)
        planName = stats.planName
        network = NetworkKind(stats.network)
        isMetered = stats.metered
        roundTrip = .milliseconds(stats.rttMs)
        bitsPerSecond = stats.rateBps
    }
}

extension DynoClient {
    /// What this client does, from now on: the first element comes at once, others after
    /// inferences, at most ten a second.
    ///
    /// Who is slow misses elements, and gets the newest. The stream ends when the client is closed.
    /// There may be several at once; none of them keeps the client alive.
    public var stats: AsyncStream<DynoStats> { hub.stream() }

    /// What this client has done so far.
    public func currentStats() throws -> DynoStats {
        DynoStats(try translatingErrors { try native.stats() })
    }
}
