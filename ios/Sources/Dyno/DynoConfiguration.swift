import Foundation
internal import DynoFFI

/// What an app decides when it opens a client.
public struct DynoConfiguration: Sendable, Equatable {
    /// The server; without one everything runs on the device.
    public var server: Server?
    /// Where an inference may run.
    public var mode: ExecutionMode
    /// What is optimised, and the limits to keep. Unless set: least server time within 100 ms.
    public var objective: Objective?
    /// This plan instead of the best one: for tests and measurements.
    public var plan: Plan?
    /// Labels in an answer, 1 to 100.
    public var topK: Int
    /// Threads that run one inference together, 1 to 16.
    public var threads: Int
    /// Whether classifiers return their output tensors as well. Other models always do.
    public var rawOutputs: Bool
    /// Longest time that any one request is given, 1 ms to 60 s.
    public var remoteDeadline: Duration
    /// Whether the client watches which network the device is on. Not looked at where there is no
    /// Network framework.
    public var monitorsNetwork: Bool
    /// ONNX Runtime's library, on systems on which it is loaded and not linked into the app as on
    /// iOS. The first client of a process decides.
    public var onnxRuntime: URL?

    /// A configuration; what is left out is as it should be for most apps.
    public init(
        server: Server? = nil,
        mode: ExecutionMode = .auto,
        objective: Objective? = nil,
        plan: Plan? = nil,
        topK: Int = 5,
        threads: Int = 2,
        rawOutputs: Bool = false,
        remoteDeadline: Duration = .seconds(5),
        monitorsNetwork: Bool = true,
        onnxRuntime: URL? = nil
    ) {
        self.server = server
        self.mode = mode
        self.objective = objective
        self.plan = plan
        self.topK = topK
        self.threads = threads
        self.rawOutputs = rawOutputs
        self.remoteDeadline = remoteDeadline
        self.monitorsNetwork = monitorsNetwork
        self.onnxRuntime = onnxRuntime
    }
}

extension DynoConfiguration {
    /// Where the server is, and what lets this client in.
    public struct Server: Sendable, Equatable {
        /// `https://host[:port]`, or `http://` for a server that speaks HTTP/2 without TLS.
        public var url: URL
        /// Name of the model on the server, if it is not the bundle's.
        public var model: String?
        /// Sent as `Authorization: Bearer`. Keep it in the keychain, not in the app.
        public var token: String?
        /// Certificate (PEM) of the only authority that is trusted; the system's if `nil`.
        public var rootCertificatePEM: String?

        /// A server at `url`.
        public init(
            url: URL,
            model: String? = nil,
            token: String? = nil,
            rootCertificatePEM: String? = nil
        ) {
            self.url = url
            self.model = model
            self.token = token
            self.rootCertificatePEM = rootCertificatePEM
        }
    }
}

/// Printed, logged or reflected, a server does not give its token away.
extension DynoConfiguration.Server: CustomStringConvertible, CustomReflectable {
    /// The URL, and whether there is a token.
    public var description: String {
        "\(url.absoluteString), \(token == nil ? "no token" : "token hidden")"
    }

    /// The URL and the model.
    public var customMirror: Mirror {
        Mirror(self, children: ["url": url, "model": model as Any], displayStyle: .struct)
    }
}

/// Where an inference may run, and what is preferred.
public enum ExecutionMode: Sendable, Hashable, CaseIterable {
    /// Whatever is best for the objective; the device finishes what the server does not.
    case auto
    /// The device; the server only if the device fails.
    case preferOnDevice
    /// The server; the device if the server fails.
    case preferCloud
    /// The device alone: the network is never touched.
    case onlyOnDevice
    /// The server alone: an error where it cannot answer.
    case onlyCloud
}

extension DynoConfiguration {
    func forNative(bundle: URL) throws -> ClientConfig {
        guard bundle.isFileURL else {
            throw DynoError(.invalidArgument, "the bundle must be a folder of this device: download it first")
        }
        let milliseconds = (remoteDeadline / .milliseconds(1)).rounded()
        return ClientConfig(
            bundle: bundle.path,
            server: server.map(\.native),
            mode: mode.native,
            objective: objective?.native,
            plan: try plan?.forNative(),
            topK: try native(topK, "topK"),
            threads: try native(threads, "threads"),
            rawOutputs: rawOutputs,
            remoteDeadlineMaxMs: try native(Int(exactly: milliseconds) ?? -1, "remoteDeadline"),
            onnxruntime: onnxRuntime?.path
        )
    }
}

extension DynoConfiguration.Server {
    fileprivate var native: ServerConfig {
        ServerConfig(
            url: url.absoluteString,
            model: model,
            token: token,
            rootCertificatePem: rootCertificatePEM
        )
    }
}

extension ExecutionMode {
    fileprivate var native: DynoFFI.ExecutionMode {
        switch self {
        case .auto: .auto
        case .preferOnDevice: .preferOnDevice
        case .preferCloud: .preferCloud
        case .onlyOnDevice: .onlyOnDevice
        case .onlyCloud: .onlyCloud
        }
    }
}

/// A count as the library takes it.
func native(_ count: Int, _ name: String) throws -> UInt32 {
    guard let count = UInt32(exactly: count) else {
        throw DynoError(.invalidArgument, "\(name) cannot be \(count)")
    }
    return count
}
