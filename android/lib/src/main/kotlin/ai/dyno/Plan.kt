package ai.dyno

import ai.dyno.ffi.Plan as NativePlan

/** Where to cut, how precisely to send what crosses, and how it is written. */
public sealed class Plan {

    /** Everything on the device. */
    public data object Device : Plan()

    /**
     * The head on the device, its activation sent, the tail on the server.
     *
     * @property cut Index in the bundle's table of cuts.
     * @property levels Quantisation levels, 2 to 65536; null for fp32.
     * @property codec `raw`, `lz4`, `zstd`, `context` or `shaped`.
     */
    public data class Split(
        public val cut: Int,
        public val levels: Int?,
        public val codec: String,
    ) : Plan()

    /**
     * The photo itself, everything on the server.
     *
     * @property codec `jpeg:1` to `jpeg:100`, `webp:1` to `webp:100`, `png`, `webp-lossless` or `ppm`.
     */
    public data class Photo(public val codec: String) : Plan()
}

internal fun Plan.toNative(): NativePlan = when (this) {
    is Plan.Device -> NativePlan.Device
    is Plan.Split -> NativePlan.Split(natural("cut", cut), levels?.let { natural("levels", it) }, codec)
    is Plan.Photo -> NativePlan.Photo(codec)
}

internal fun NativePlan.toPublic(): Plan = when (this) {
    is NativePlan.Device -> Plan.Device
    is NativePlan.Split -> Plan.Split(cut.toInt(), levels?.toInt(), codec)
    is NativePlan.Photo -> Plan.Photo(codec)
}

/** [value] as the boundary takes it; the native side checks the upper bound, where there is one. */
internal fun natural(name: String, value: Int): UInt {
    if (value < 0) throw DynoException.InvalidArgument("$name is $value: it cannot be below 0")
    return value.toUInt()
}
