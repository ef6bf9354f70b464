#if canImport(Network)
import Foundation
import Network
internal import DynoFFI

/// Tells a client which network the device is on, as the system sees it.
///
/// The client's own monitor runs unless ``DynoConfiguration/monitorsNetwork`` is off; this one is
/// for apps that decide when: switched off, the app starts and stops a monitor of its own.
public final class DynoNetworkMonitor: @unchecked Sendable {
    // May be used from any thread.
    private let monitor = NWPathMonitor()
    /// Guards what follows, and telling the client: nothing is told after ``stop()`` has returned.
    private let lock = NSLock()
    private var reported: Report?
    private var isStopped = false
    private weak var native: NativeClient?
    private let firstReport = DispatchSemaphore(value: 0)

    /// Starts to watch, for as long as this object lives and until ``stop()``.
    ///
    /// - Parameter client: The client to tell; it is not kept alive.
    public convenience init(_ client: DynoClient) {
        self.init(of: client.native)
    }

    init(of native: NativeClient) {
        self.native = native
        monitor.pathUpdateHandler = { [weak self] path in self?.report(Report(path)) }
        monitor.start(queue: DispatchQueue(label: "dyno.network", qos: .utility))
    }

    deinit {
        stop()
    }

    /// Stops watching: when it returns, nothing is told any more. A monitor that was stopped does not
    /// start again.
    public func stop() {
        monitor.cancel()
        lock.withLock { isStopped = true }
    }

    /// Blocks until the client has been told of the network as it is, for a fifth of a second at most.
    func waitForTheFirstReport() {
        _ = firstReport.wait(timeout: .now() + .milliseconds(200))
    }

    /// The system also reports what changes nothing for requests under way: they go on.
    private func report(_ report: Report) {
        lock.withLock {
            guard !isStopped, report != reported else { return }
            reported = report
            // It fails once the client is closed, and then nothing is sent anyway.
            try? native?.onNetworkChanged(kind: report.kind.native, metered: report.isMetered)
        }
        firstReport.signal()
    }
}

/// What tells one network from another.
private struct Report: Equatable {
    let kind: NetworkKind
    let isMetered: Bool
    let interfaces: [String]
    let gateways: [NWEndpoint]

    init(_ path: NWPath) {
        kind = NetworkKind(path)
        // Cellular networks and hotspots, and all networks in Low Data Mode.
        isMetered = path.isExpensive || path.isConstrained
        interfaces = path.availableInterfaces.map(\.name)
        gateways = path.gateways
    }
}

extension NetworkKind {
    fileprivate init(_ path: NWPath) {
        if path.status == .unsatisfied {
            self = .none
        } else if path.usesInterfaceType(.wifi) {
            self = .wifi
        } else if path.usesInterfaceType(.cellular) {
            self = .cellular
        } else if path.usesInterfaceType(.wiredEthernet) {
            self = .ethernet
        } else {
            self = .other
        }
    }
}
#endif
