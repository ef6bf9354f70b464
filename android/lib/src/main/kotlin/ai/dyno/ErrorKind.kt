package ai.dyno

import ai.dyno.ffi.ErrorKind as NativeKind

/**
 * What went wrong, in words that stay the same from release to release. Kinds may be added, never
 * renamed: give a `when` over them an `else`.
 */
public enum class ErrorKind {
    /** An argument or a combination of arguments makes no sense. */
    INVALID_ARGUMENT,

    /** The bytes are not a well-formed ONNX model. */
    INVALID_MODEL,

    /** A well-formed model that this version cannot take. */
    UNSUPPORTED_MODEL,

    /** The bytes are not an image that can be decoded, or the pixel buffer does not add up. */
    INVALID_IMAGE,

    /** The bundle is incomplete, corrupt, or of another format version. */
    INVALID_BUNDLE,

    /** Phone and server hold different bundles of the model. */
    BUNDLE_MISMATCH,

    /** What crossed the cut was malformed. */
    INVALID_ACTIVATION,

    /** What crossed the cut is of a version, precision or codec that the other side does not know. */
    UNSUPPORTED_ACTIVATION,

    /** ONNX Runtime is missing, too old, or failed while running. */
    RUNTIME,

    /** No such model on the server. */
    NOT_FOUND,

    /** The server does not let this client in: the token is wrong or missing. */
    UNAUTHORIZED,

    /** The body is larger than the bundle allows. */
    TOO_LARGE,

    /** There is no room now: try again later. */
    OVERLOADED,

    /** The answer did not come in time. */
    DEADLINE_EXCEEDED,

    /** The server cannot be reached, or the connection broke. */
    UNREACHABLE,

    /** The server answered something that is not a DynO answer. */
    PROTOCOL,

    /** The inference was cancelled, or its client closed. */
    CANCELLED,

    /** A file could not be read or written. */
    IO,

    /** A defect of this library: please report it. */
    INTERNAL,

    ;

    /** The kind as servers, logs and the other languages write it: `invalid_argument`. */
    public val code: String = name.lowercase()
}

// Without an else: a kind that is added in Rust does not compile until it has its place here.
internal fun NativeKind.toPublic(): ErrorKind = when (this) {
    NativeKind.INVALID_ARGUMENT -> ErrorKind.INVALID_ARGUMENT
    NativeKind.INVALID_MODEL -> ErrorKind.INVALID_MODEL
    NativeKind.UNSUPPORTED_MODEL -> ErrorKind.UNSUPPORTED_MODEL
    NativeKind.INVALID_IMAGE -> ErrorKind.INVALID_IMAGE
    NativeKind.INVALID_BUNDLE -> ErrorKind.INVALID_BUNDLE
    NativeKind.BUNDLE_MISMATCH -> ErrorKind.BUNDLE_MISMATCH
    NativeKind.INVALID_ACTIVATION -> ErrorKind.INVALID_ACTIVATION
    NativeKind.UNSUPPORTED_ACTIVATION -> ErrorKind.UNSUPPORTED_ACTIVATION
    NativeKind.RUNTIME -> ErrorKind.RUNTIME
    NativeKind.NOT_FOUND -> ErrorKind.NOT_FOUND
    NativeKind.UNAUTHORIZED -> ErrorKind.UNAUTHORIZED
    NativeKind.TOO_LARGE -> ErrorKind.TOO_LARGE
    NativeKind.OVERLOADED -> ErrorKind.OVERLOADED
    NativeKind.DEADLINE_EXCEEDED -> ErrorKind.DEADLINE_EXCEEDED
    NativeKind.UNREACHABLE -> ErrorKind.UNREACHABLE
    NativeKind.PROTOCOL -> ErrorKind.PROTOCOL
    NativeKind.CANCELLED -> ErrorKind.CANCELLED
    NativeKind.IO -> ErrorKind.IO
    NativeKind.INTERNAL -> ErrorKind.INTERNAL
}
