internal import DynoFFI

/// What the client optimises when it chooses where to run, and the limits it keeps.
public struct Objective: Sendable, Equatable {
    /// What is optimised.
    public var goal: Goal
    /// What is kept.
    public var limits: Limits

    /// An objective without limits, unless some are given.
    public init(_ goal: Goal, limits: Limits = Limits()) {
        self.goal = goal
        self.limits = limits
    }
}

extension Objective {
    /// What can be optimised: throughput up, all others down.
    public enum Metric: Sendable, Hashable, CaseIterable {
        /// Time from the call to the answer, in milliseconds.
        case latency
        /// Frames a second of a stream.
        case throughput
        /// Time of the server's cores for one call, in milliseconds.
        case serverTime
        /// Bytes sent.
        case bytes
        /// Energy of the device, in millijoules.
        case energy
    }

    /// How several metrics become one order of plans.
    public enum Goal: Sendable, Equatable {
        /// The first decides; among plans within one per cent of its best, the next does. One to
        /// five metrics.
        case inOrder([Metric])
        /// Least weighted sum. One to five weights, each above 0.
        case weighted([Metric: Double])
    }

    /// What must hold besides; nothing unless set.
    public struct Limits: Sendable, Equatable {
        /// 95 of 100 calls are answered within this.
        public var latency: Duration?
        /// Frames a second that a stream reaches at least.
        public var throughput: Double?
        /// Loss of accuracy, in percentage points; needs a calibrated bundle.
        public var accuracyDrop: Double?
        /// Time of the server's cores for one call.
        public var serverTime: Duration?
        /// Bytes of one call.
        public var bytes: Double?
        /// Bytes that may be sent in any 24 hours while the network is metered.
        public var meteredBytesPerDay: UInt64?
        /// Energy of one call, in millijoules.
        public var energyMillijoules: Double?

        /// Limits; what is left out is not limited.
        public init(
            latency: Duration? = nil,
            throughput: Double? = nil,
            accuracyDrop: Double? = nil,
            serverTime: Duration? = nil,
            bytes: Double? = nil,
            meteredBytesPerDay: UInt64? = nil,
            energyMillijoules: Double? = nil
        ) {
            self.latency = latency
            self.throughput = throughput
            self.accuracyDrop = accuracyDrop
            self.serverTime = serverTime
            self.bytes = bytes
            self.meteredBytesPerDay = meteredBytesPerDay
            self.energyMillijoules = energyMillijoules
        }
    }
}

extension Objective {
    var native: DynoFFI.Objective {
        DynoFFI.Objective(goal: goal.native, limits: limits.native)
    }
}

extension Objective.Goal {
    fileprivate var native: DynoFFI.Goal {
        switch self {
        case .inOrder(let metrics):
            .inOrder(metrics: metrics.map(\.native))
        case .weighted(let weights):
            .weighted(weights: weights.map { WeightedMetric(metric: $0.native, weight: $1) })
        }
    }
}

extension Objective.Limits {
    fileprivate var native: DynoFFI.Limits {
        DynoFFI.Limits(
            latencyMs: latency.map { $0 / .milliseconds(1) },
            throughputFps: throughput,
            accuracyDropPp: accuracyDrop,
            serverMs: serverTime.map { $0 / .milliseconds(1) },
            bytes: bytes,
            meteredBytesPerDay: meteredBytesPerDay,
            energyMj: energyMillijoules
        )
    }
}

extension Objective.Metric {
    fileprivate var native: DynoFFI.Metric {
        switch self {
        case .latency: .latency
        case .throughput: .throughput
        case .serverTime: .serverTime
        case .bytes: .bytes
        case .energy: .energy
        }
    }
}
