internal import DynoFFI

/// The plan that a call would follow now, every plan it was chosen from, and why.
public struct Explanation: Sendable, Equatable {
    /// What is optimised and kept, in words.
    public let objective: String
    /// The network that the estimates are of.
    public let network: NetworkKind
    /// Whether bytes cost money there.
    public let isMetered: Bool
    /// Estimated round trip.
    public let roundTrip: Duration
    /// Estimated uplink, in bits per second.
    public let bitsPerSecond: Double
    /// How many times as long as the machine that prepared the bundle the device takes.
    public let deviceFactor: Double
    /// How many times as long the server takes.
    public let serverFactor: Double
    /// The plan that a call would follow now.
    public let chosen: Plan
    /// Why, in a sentence.
    public let reason: String
    /// Every candidate, the best first.
    public let plans: [Candidate]

    /// A plan, what is expected of it, and what became of it.
    public struct Candidate: Sendable, Equatable {
        /// The plan.
        public let plan: Plan
        /// The plan in words.
        public let name: String
        /// Time on the device.
        public let device: Duration
        /// Time to pack the activation or encode the photo.
        public let pack: Duration
        /// Time to send it and get the answer back.
        public let network: Duration
        /// Time to wait for a worker of the server.
        public let queue: Duration
        /// Time on the server.
        public let server: Duration
        /// All of it.
        public let total: Duration
        /// What 95 of 100 calls take at most.
        public let p95: Duration
        /// Bytes sent.
        public let bytes: Int
        /// Energy of the device, in millijoules: a model, not a measurement.
        public let energyMillijoules: Double
        /// Upper bound of the loss of accuracy, in percentage points; `nil` if it was not measured.
        public let accuracyDrop: Double?
        /// Whether what it runs on the device is at hand.
        public let isReady: Bool
        /// Why it was chosen or not.
        public let verdict: String
    }
}

extension Explanation {
    init(_ explanation: DynoFFI.Explanation) {
        objective = explanation.objective
        network = NetworkKind(explanation.network)
        isMetered = explanation.metered
        roundTrip = .milliseconds(explanation.rttMs)
        bitsPerSecond = explanation.rateBps
        deviceFactor = explanation.deviceFactor
        serverFactor = explanation.serverFactor
        chosen = Plan(explanation.chosen)
        reason = explanation.reason
        plans = explanation.plans.map(Candidate.init)
    }
}

extension Explanation.Candidate {
    fileprivate init(_ row: ExplainedPlan) {
        plan = Plan(row.plan)
        name = row.name
        device = .milliseconds(row.deviceMs)
        pack = .milliseconds(row.packMs)
        network = .milliseconds(row.networkMs)
        queue = .milliseconds(row.queueMs)
        server = .milliseconds(row.serverMs)
        total = .milliseconds(row.totalMs)
        p95 = .milliseconds(row.p95Ms)
        bytes = Int(clamping: row.bytes)
        energyMillijoules = row.energyMj
        accuracyDrop = row.accuracyDropPp
        isReady = row.ready
        verdict = row.verdict
    }
}
