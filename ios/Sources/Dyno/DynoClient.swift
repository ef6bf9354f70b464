import Foundation
internal import DynoFFI

/// Runs inferences of one model, on this device and on a server.
///
/// Open one client for a model and keep it: it holds the model's memory, the connection, and what
/// it has learnt of the network. Calls may run at once, from any task or thread.
///
/// ```swift
/// let client = try await DynoClient.open(
///     bundle: bundle,
///     configuration: DynoConfiguration(server: .init(url: server))
/// )
/// let inference = try await client.infer(image)
/// print(inference.top.first?.label ?? "", inference.ranOn)
/// ```
public final class DynoClient: Sendable {
    /// What the client knows of its model.
    public let model: ModelInfo

    let native: NativeClient
    let hub: StatsHub
    #if canImport(Network)
    private let monitor: DynoNetworkMonitor?
    #endif

    /// Opens a bundle that `dyno prepare` made.
    ///
    /// Reads the model from the disk, away from the caller's thread, and connects to nothing.
    ///
    /// - Parameters:
    ///   - bundle: The bundle's folder, in the app or in its documents.
    ///   - configuration: Where inferences may run, and the server.
    /// - Throws: ``DynoError`` of kind ``DynoError/Kind/invalidBundle`` or ``DynoError/Kind/io`` if
    ///   the bundle cannot be read, ``DynoError/Kind/runtime`` if ONNX Runtime cannot be loaded,
    ///   and ``DynoError/Kind/invalidArgument`` if the configuration makes no sense.
    public static func open(
        bundle: URL,
        configuration: DynoConfiguration = DynoConfiguration()
    ) async throws -> DynoClient {
        let config = try configuration.forNative(bundle: bundle)
        let monitorsNetwork = configuration.monitorsNetwork
        return try await awayFromTasks {
            let native = try translatingErrors { try NativeClient.open(config: config) }
            return try DynoClient(native, monitorsNetwork: monitorsNetwork)
        }
    }

    private init(_ native: NativeClient, monitorsNetwork: Bool) throws {
        self.native = native
        model = ModelInfo(try translatingErrors { try native.model() })
        hub = StatsHub(of: native)
        #if canImport(Network)
        monitor = monitorsNetwork ? DynoNetworkMonitor(of: native) : nil
        // The first call is to know its network, and a connection is not to be renewed for nothing.
        monitor?.waitForTheFirstReport()
        #endif
    }

    deinit {
        // Nothing runs any more, since every call and stream holds its client.
        close()
    }

    /// Connects to the server and loads what the first inference needs, so that it waits for
    /// neither.
    ///
    /// Cancelling the task does not stop it; ``close()`` does.
    ///
    /// - Throws: ``DynoError`` if the model cannot be run. If the server cannot be reached, only in
    ///   the modes in which nothing else answers.
    public func warmUp() async throws {
        try await translatingErrors { try await native.warmUp() }
    }

    /// The plan that a call would follow now, every plan it was chosen from, and why.
    public func explain() throws -> Explanation {
        Explanation(try translatingErrors { try native.explain() })
    }

    /// Tells the client which network the device is on.
    ///
    /// On Apple's platforms the client sees for itself, unless
    /// ``DynoConfiguration/monitorsNetwork`` is off. The next request opens a new connection;
    /// requests under way are left to the device.
    ///
    /// - Parameters:
    ///   - kind: The network that carries the traffic. With ``NetworkKind/none`` nothing is sent
    ///     until another kind is reported.
    ///   - isMetered: Whether bytes cost money there.
    public func onNetworkChanged(_ kind: NetworkKind, isMetered: Bool = false) throws {
        try translatingErrors { try native.onNetworkChanged(kind: kind.native, metered: isMetered) }
    }

    /// Stops watching the network on the app's behalf: from now on it calls
    /// ``onNetworkChanged(_:isMetered:)`` itself.
    public func stopMonitoringNetwork() {
        #if canImport(Network)
        monitor?.stop()
        #endif
    }

    /// Ends every call with ``DynoError/Kind/cancelled``, ends the streams of statistics, and frees
    /// the model's memory in the background.
    ///
    /// Later calls fail with ``DynoError/Kind/cancelled``. Closing twice changes nothing. A client
    /// that nothing refers to any more is closed by itself.
    public func close() {
        stopMonitoringNetwork()
        hub.finish()
        // It fails only where the SDK's threads could not be started, and then nothing runs.
        try? native.shutdown()
    }
}

/// Runs what blocks off the threads of Swift's tasks: opening reads some tens of megabytes.
private func awayFromTasks<Value: Sendable>(
    _ work: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global(qos: .userInitiated).async {
            continuation.resume(with: Result { try work() })
        }
    }
}
