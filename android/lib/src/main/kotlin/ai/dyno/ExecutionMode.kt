package ai.dyno

import ai.dyno.ffi.ExecutionMode as NativeMode

/** Where an inference may run, and what is preferred. The table of what each does offline is in `docs/android.md`. */
public enum class ExecutionMode {
    /** Whatever is best for the objective; the device finishes what the server does not. */
    AUTO,

    /** The device; the server only if the device fails. */
    PREFER_ON_DEVICE,

    /** The server; the device if the server fails. */
    PREFER_CLOUD,

    /** The device alone: the network is never touched. */
    ONLY_ON_DEVICE,

    /** The server alone: an error where it cannot answer. */
    ONLY_CLOUD,
}

internal fun ExecutionMode.toNative(): NativeMode = when (this) {
    ExecutionMode.AUTO -> NativeMode.AUTO
    ExecutionMode.PREFER_ON_DEVICE -> NativeMode.PREFER_ON_DEVICE
    ExecutionMode.PREFER_CLOUD -> NativeMode.PREFER_CLOUD
    ExecutionMode.ONLY_ON_DEVICE -> NativeMode.ONLY_ON_DEVICE
    ExecutionMode.ONLY_CLOUD -> NativeMode.ONLY_CLOUD
}
