package ai.dyno

import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

/**
 * Why a call failed: one subclass for each [ErrorKind].
 *
 * The [message] says what happened and what to do, for developers and logs; it holds no image, label
 * or token. The constructors are public so that an app can test how it handles each.
 *
 * @property kind What programs look at; stays the same from release to release.
 * @property retryAfterMs For how long the server asked to be left alone, in milliseconds.
 */
public sealed class DynoException(
    public val kind: ErrorKind,
    override val message: String,
    public val retryAfterMs: Long?,
) : Exception(message) {

    /** For how long the server asked to be left alone; null if it did not say. */
    public val retryAfter: Duration? get() = retryAfterMs?.milliseconds

    /** An argument or a combination of arguments makes no sense; the message says which. */
    public class InvalidArgument @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.INVALID_ARGUMENT, message, retryAfterMs)

    /** The bytes are not a well-formed ONNX model. */
    public class InvalidModel @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.INVALID_MODEL, message, retryAfterMs)

    /** A well-formed model that this version cannot take. */
    public class UnsupportedModel @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.UNSUPPORTED_MODEL, message, retryAfterMs)

    /**
     * The bytes are not an image that can be decoded, the pixel buffer does not add up, or the
     * bitmap was recycled.
     */
    public class InvalidImage @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.INVALID_IMAGE, message, retryAfterMs)

    /** The bundle is incomplete, corrupt, or of another format version: prepare it again. */
    public class InvalidBundle @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.INVALID_BUNDLE, message, retryAfterMs)

    /** Phone and server hold different bundles of the model: ship one of them to both. */
    public class BundleMismatch @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.BUNDLE_MISMATCH, message, retryAfterMs)

    /** What crossed the cut was malformed. */
    public class InvalidActivation @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.INVALID_ACTIVATION, message, retryAfterMs)

    /**
     * What crossed the cut is of a version, precision or codec that the other side does not know.
     */
    public class UnsupportedActivation @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.UNSUPPORTED_ACTIVATION, message, retryAfterMs)

    /** ONNX Runtime is missing, too old, or failed while running. */
    public class Runtime @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.RUNTIME, message, retryAfterMs)

    /** No such model on the server. */
    public class NotFound @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.NOT_FOUND, message, retryAfterMs)

    /** The server does not let this client in: the token is wrong or missing. */
    public class Unauthorized @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.UNAUTHORIZED, message, retryAfterMs)

    /** The body is larger than the bundle allows. */
    public class TooLarge @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.TOO_LARGE, message, retryAfterMs)

    /** There is no room now: try again after [retryAfter]. */
    public class Overloaded @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.OVERLOADED, message, retryAfterMs)

    /** The answer did not come in time. */
    public class DeadlineExceeded @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.DEADLINE_EXCEEDED, message, retryAfterMs)

    /** The server cannot be reached, or the connection broke. */
    public class Unreachable @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.UNREACHABLE, message, retryAfterMs)

    /**
     * The server answered something that is not a DynO answer: a captive portal, or a wrong
     * address.
     */
    public class Protocol @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.PROTOCOL, message, retryAfterMs)

    /**
     * The inference was cancelled, or its client closed while it ran. A coroutine that is
     * cancelled throws `CancellationException` instead.
     */
    public class Cancelled @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.CANCELLED, message, retryAfterMs)

    /** A file could not be read or written. */
    public class Io @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.IO, message, retryAfterMs)

    /** A defect of this library: please report it. */
    public class Internal @JvmOverloads constructor(message: String, retryAfterMs: Long? = null) :
        DynoException(ErrorKind.INTERNAL, message, retryAfterMs)

    internal companion object {
        fun of(kind: ErrorKind, message: String, retryAfterMs: Long? = null): DynoException =
            when (kind) {
                ErrorKind.INVALID_ARGUMENT -> InvalidArgument(message, retryAfterMs)
                ErrorKind.INVALID_MODEL -> InvalidModel(message, retryAfterMs)
                ErrorKind.UNSUPPORTED_MODEL -> UnsupportedModel(message, retryAfterMs)
                ErrorKind.INVALID_IMAGE -> InvalidImage(message, retryAfterMs)
                ErrorKind.INVALID_BUNDLE -> InvalidBundle(message, retryAfterMs)
                ErrorKind.BUNDLE_MISMATCH -> BundleMismatch(message, retryAfterMs)
                ErrorKind.INVALID_ACTIVATION -> InvalidActivation(message, retryAfterMs)
                ErrorKind.UNSUPPORTED_ACTIVATION -> UnsupportedActivation(message, retryAfterMs)
                ErrorKind.RUNTIME -> Runtime(message, retryAfterMs)
                ErrorKind.NOT_FOUND -> NotFound(message, retryAfterMs)
                ErrorKind.UNAUTHORIZED -> Unauthorized(message, retryAfterMs)
                ErrorKind.TOO_LARGE -> TooLarge(message, retryAfterMs)
                ErrorKind.OVERLOADED -> Overloaded(message, retryAfterMs)
                ErrorKind.DEADLINE_EXCEEDED -> DeadlineExceeded(message, retryAfterMs)
                ErrorKind.UNREACHABLE -> Unreachable(message, retryAfterMs)
                ErrorKind.PROTOCOL -> Protocol(message, retryAfterMs)
                ErrorKind.CANCELLED -> Cancelled(message, retryAfterMs)
                ErrorKind.IO -> Io(message, retryAfterMs)
                ErrorKind.INTERNAL -> Internal(message, retryAfterMs)
            }
    }
}
