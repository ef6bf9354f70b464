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
    } catch (missing: UnsatisfiedLinkError) {
        throw DynoException.Runtime(
            "libdyno_sdk.so cannot be loaded for this device's ABI (${missing.message}): " +
                "the SDK ships arm64-v8a and x86_64",
        )
    }

internal const val CLOSED: String = "this DynoClient is closed: open another one with DynoClient.open"

private fun NativeException.toPublic(): DynoException = when (this) {
    is NativeException.Failed -> DynoException.of(kind.toPublic(), reason, retryAfterMs?.toLong())
}
