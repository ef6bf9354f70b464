internal import DynoFFI

/// The kind of network that carries a device's traffic.
public enum NetworkKind: Sendable, Hashable, CaseIterable {
    /// No network: nothing is sent until another kind is reported. Also what an app reports while
    /// it is in the background.
    case none
    /// Wi-Fi.
    case wifi
    /// A mobile network of any generation.
    case cellular
    /// A cable.
    case ethernet
    /// Whatever else carries packets; what is assumed until more is known.
    case other
}

extension NetworkKind {
    init(_ kind: DynoFFI.NetworkKind) {
        self =
            switch kind {
            case .none: .none
            case .wifi: .wifi
            case .cellular: .cellular
            case .ethernet: .ethernet
            case .other: .other
            }
    }

    var native: DynoFFI.NetworkKind {
        switch self {
        case .none: .none
        case .wifi: .wifi
        case .cellular: .cellular
        case .ethernet: .ethernet
        case .other: .other
        }
    }
}
