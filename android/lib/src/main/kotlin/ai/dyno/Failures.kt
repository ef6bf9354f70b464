package ai.dyno

import ai.dyno.ffi.DynoException as NativeException
import ai.dyno.ffi.InternalException

/** Runs [call] across the boundary and turns what it throws into what apps catch. */
internal inline fun <T> translating(call: () -> T): T =
    try {
        call()
    } catch (failed: NativeException) {
        throw failed.toPublic()
    } catch (panicked: InternalException) {
        throw DynoException.Internal("a defect of the native library, please report it: ${panicked.message}")
    } catch (missing: LinkageError) {
        throw DynoException.Runtime(
            "libdyno_sdk.so cannot be loaded (${missing.message}): the SDK ships it for arm64-v8a and " +
                "x86_64, and it must be of the same release as the Kotlin code",
        ).apply { initCause(missing) }
    }

internal const val CLOSED: String = "this DynoClient is closed: open another one with DynoClient.open"

private fun NativeException.toPublic(): DynoException = when (this) {
    is NativeException.Failed -> DynoException.of(kind.toPublic(), reason, retryAfterMs?.toLong())
}
