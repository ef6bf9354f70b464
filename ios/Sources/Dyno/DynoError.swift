import Foundation
internal import DynoFFI

/// Why a call failed.
public struct DynoError: Error, Sendable, Equatable {
    /// What went wrong, in words that stay the same from release to release. Kinds may be added.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// An argument or a combination of arguments makes no sense.
        case invalidArgument = "invalid_argument"
        /// The bytes are not a well-formed ONNX model.
        case invalidModel = "invalid_model"
        /// A well-formed model that this version cannot take.
        case unsupportedModel = "unsupported_model"
        /// The bytes are not an image that can be decoded, or the pixels do not add up.
        case invalidImage = "invalid_image"
        /// The bundle is incomplete, corrupt, or of another format version.
        case invalidBundle = "invalid_bundle"
        /// Phone and server hold different bundles of the model.
        case bundleMismatch = "bundle_mismatch"
        /// What crossed the cut was malformed.
        case invalidActivation = "invalid_activation"
        /// What crossed the cut is of a version, precision or codec that the other side does not
        /// know.
        case unsupportedActivation = "unsupported_activation"
        /// ONNX Runtime is missing, too old, or failed while running.
        case runtime
        /// No such model on the server.
        case notFound = "not_found"
        /// The server does not let this client in: the token is wrong or missing.
        case unauthorized
        /// The body is larger than the bundle allows.
        case tooLarge = "too_large"
        /// There is no room now: try again later, after ``DynoError/retryAfter``.
        case overloaded
        /// The answer did not come in time.
        case deadlineExceeded = "deadline_exceeded"
        /// The server cannot be reached, or the connection broke.
        case unreachable
        /// The server answered something that is not a DynO answer.
        case `protocol`
        /// The frame was cancelled, or its client closed. A cancelled task throws
        /// `CancellationError` instead.
        case cancelled
        /// A file could not be read or written.
        case io
        /// A defect of this library: please report it.
        case `internal`
    }

    /// What programs look at.
    public let kind: Kind
    /// What happened, where, and what to do. For developers and logs; holds no image, label or
    /// token.
    public let message: String
    /// For how long the server asked to be left alone.
    public let retryAfter: Duration?

    init(_ kind: Kind, _ message: String, retryAfter: Duration? = nil) {
        self.kind = kind
        self.message = message
        self.retryAfter = retryAfter
    }
}

extension DynoError: LocalizedError {
    /// The same as ``message``.
    public var errorDescription: String? { message }
}

extension DynoError: CustomStringConvertible {
    /// The kind's stable name, and the message.
    public var description: String { "\(kind.rawValue): \(message)" }
}

extension DynoError.Kind {
    /// Exhaustive, so that a kind that the library learns cannot be forgotten here.
    init(_ kind: ErrorKind) {
        switch kind {
        case .invalidArgument: self = .invalidArgument
        case .invalidModel: self = .invalidModel
        case .unsupportedModel: self = .unsupportedModel
        case .invalidImage: self = .invalidImage
        case .invalidBundle: self = .invalidBundle
        case .bundleMismatch: self = .bundleMismatch
        case .invalidActivation: self = .invalidActivation
        case .unsupportedActivation: self = .unsupportedActivation
        case .runtime: self = .runtime
        case .notFound: self = .notFound
        case .unauthorized: self = .unauthorized
        case .tooLarge: self = .tooLarge
        case .overloaded: self = .overloaded
        case .deadlineExceeded: self = .deadlineExceeded
        case .unreachable: self = .unreachable
        case .protocol: self = .protocol
        case .cancelled: self = .cancelled
        case .io: self = .io
        case .internal: self = .internal
        }
    }
}

extension DynoError {
    /// What the generated code throws, as apps see it.
    init(translating error: any Error) {
        if case .Failed(let kind, let reason, let retryAfterMs) = error as? DynoFFI.DynoError {
            self.init(Kind(kind), reason, retryAfter: retryAfterMs.map { .milliseconds($0) })
        } else {
            // A panic in the library, or a library that does not match the generated code.
            self.init(.internal, String(describing: error))
        }
    }
}

/// Calls the library: whatever it throws becomes a ``DynoError``.
func translatingErrors<T>(_ call: () throws -> T) throws -> T {
    do {
        return try call()
    } catch {
        throw DynoError(translating: error)
    }
}

/// Calls the library: whatever it throws becomes a ``DynoError``.
func translatingErrors<T: Sendable>(_ call: () async throws -> T) async throws -> T {
    do {
        return try await call()
    } catch {
        throw DynoError(translating: error)
    }
}
