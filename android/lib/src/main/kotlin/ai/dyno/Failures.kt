package ai.dyno

import ai.dyno.ffi.DynoException as NativeException
import ai.dyno.ffi.InternalException
import kotlin.coroutines.cancellation.CancellationException

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
    } catch (cancelled: CancellationException) {
        throw cancelled
    } catch (destroyed: IllegalStateException) {
        // The object was closed by another thread between a check and the call.
        throw IllegalStateException(CLOSED, destroyed)
    }

internal const val CLOSED: String =
    "this DynoClient, or a frame or stream of it, is closed: open another client with DynoClient.open"

private fun NativeException.toPublic(): DynoException = when (this) {
    is NativeException.Failed -> DynoException.of(kind.toPublic(), reason, retryAfterMs?.toLong())
}
