package ai.dyno

import ai.dyno.ffi.Goal as NativeGoal
import ai.dyno.ffi.Limits as NativeLimits
import ai.dyno.ffi.Metric as NativeMetric
import ai.dyno.ffi.Objective as NativeObjective
import ai.dyno.ffi.WeightedMetric

/** What can be optimised: throughput up, all others down. */
public enum class Metric {
    /** Time from the call to the answer, in milliseconds. */
    LATENCY,

    /** Frames a second of a stream. */
    THROUGHPUT,

    /** Time of the server's cores for one call, in milliseconds. */
    SERVER_TIME,

    /** Bytes sent. */
    BYTES,

    /** Energy of the device, in millijoules: a model, not a measurement. */
    ENERGY,
}

/** How several metrics become one order of plans. */
public sealed class Goal {
    /**
     * The first decides; among plans within one per cent of its best, the next does.
     *
     * @property metrics At least one, at most five.
     */
    public data class InOrder(public val metrics: List<Metric>) : Goal()

    /**
     * Least weighted sum.
     *
     * @property weights At least one, at most five; each above 0.
     */
    public data class Weighted(public val weights: Map<Metric, Double>) : Goal()
}

/**
 * What must hold besides the goal; null where nothing is asked.
 *
 * @property latencyMs 95 of 100 calls are answered within this, in milliseconds.
 * @property throughputFps Frames a second that a stream reaches at least.
 * @property accuracyDropPp Loss of accuracy, in percentage points; needs a calibrated bundle.
 * @property serverMs Time of the server's cores for one call, in milliseconds.
 * @property bytes Bytes of one call.
 * @property meteredBytesPerDay Bytes that may be sent in any 24 hours while the network is metered.
 * @property energyMj Energy of one call, in millijoules.
 */
public data class Limits @JvmOverloads constructor(
    public val latencyMs: Double? = null,
    public val throughputFps: Double? = null,
    public val accuracyDropPp: Double? = null,
    public val serverMs: Double? = null,
    public val bytes: Double? = null,
    public val meteredBytesPerDay: Long? = null,
    public val energyMj: Double? = null,
)

/**
 * A goal and its limits.
 *
 * ```
 * objective = Objective.minimise(Metric.LATENCY, limits = Limits(meteredBytesPerDay = 50_000_000))
 * ```
 *
 * @property goal What is optimised.
 * @property limits What is kept.
 */
public data class Objective @JvmOverloads constructor(
    public val goal: Goal,
    public val limits: Limits = Limits(),
) {
    /** Makers of the usual objectives. */
    public companion object {
        /** Least server time, then least latency, within a latency: the default, with 100 ms. */
        @JvmStatic
        @JvmOverloads
        public fun onloading(latencyMs: Double = 100.0): Objective =
            minimise(Metric.SERVER_TIME, Metric.LATENCY, limits = Limits(latencyMs = latencyMs))

        /** Least of the first metric (most, if it is throughput); of plans within one per cent of it, the best of the next. */
        @JvmStatic
        public fun minimise(vararg metrics: Metric, limits: Limits = Limits()): Objective =
            Objective(Goal.InOrder(metrics.toList()), limits)

        /** Most frames a second of a stream. */
        @JvmStatic
        @JvmOverloads
        public fun maximiseThroughput(limits: Limits = Limits()): Objective =
            minimise(Metric.THROUGHPUT, limits = limits)

        /** Least weighted sum: `Objective.weighted(Metric.LATENCY to 1.0, Metric.ENERGY to 0.5)`. */
        @JvmStatic
        public fun weighted(vararg weights: Pair<Metric, Double>, limits: Limits = Limits()): Objective =
            Objective(Goal.Weighted(weights.toMap()), limits)
    }
}

internal fun Objective.toNative(): NativeObjective = NativeObjective(goal.toNative(), limits.toNative())

private fun Goal.toNative(): NativeGoal = when (this) {
    is Goal.InOrder -> NativeGoal.InOrder(metrics.map { it.toNative() })
    is Goal.Weighted -> NativeGoal.Weighted(weights.map { (metric, weight) -> WeightedMetric(metric.toNative(), weight) })
}

private fun Limits.toNative(): NativeLimits {
    if (meteredBytesPerDay != null && meteredBytesPerDay < 0) {
        throw DynoException.InvalidArgument("meteredBytesPerDay is $meteredBytesPerDay: it cannot be below 0")
    }
    return NativeLimits(
        latencyMs = latencyMs,
        throughputFps = throughputFps,
        accuracyDropPp = accuracyDropPp,
        serverMs = serverMs,
        bytes = bytes,
        meteredBytesPerDay = meteredBytesPerDay?.toULong(),
        energyMj = energyMj,
    )
}

private fun Metric.toNative(): NativeMetric = when (this) {
    Metric.LATENCY -> NativeMetric.LATENCY
    Metric.THROUGHPUT -> NativeMetric.THROUGHPUT
    Metric.SERVER_TIME -> NativeMetric.SERVER_TIME
    Metric.BYTES -> NativeMetric.BYTES
    Metric.ENERGY -> NativeMetric.ENERGY
}
