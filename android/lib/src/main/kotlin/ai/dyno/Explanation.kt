package ai.dyno

import ai.dyno.ffi.ExplainedPlan as NativeExplainedPlan
import ai.dyno.ffi.Explanation as NativeExplanation

/**
 * The plan that a call would follow now, every plan it was chosen from, and why.
 *
 * @property objective What is optimised and kept, in words.
 * @property network The network that the estimates are of.
 * @property metered Whether bytes cost money there.
 * @property rttMs Estimated round trip, in milliseconds.
 * @property rateBps Estimated uplink, in bits per second.
 * @property deviceFactor How many times as long as the profile's machine the device takes.
 * @property serverFactor How many times as long the server takes.
 * @property chosen The plan that a call would follow now.
 * @property reason Why, in a sentence.
 * @property plans Every candidate, the best first.
 */
public data class Explanation(
    public val objective: String,
    public val network: NetworkKind,
    public val metered: Boolean,
    public val rttMs: Double,
    public val rateBps: Double,
    public val deviceFactor: Double,
    public val serverFactor: Double,
    public val chosen: Plan,
    public val reason: String,
    public val plans: List<ExplainedPlan>,
)

/**
 * A plan, what is expected of it, and what became of it. Times are in milliseconds.
 *
 * @property plan The plan.
 * @property name The plan in words.
 * @property deviceMs On the device.
 * @property packMs Packing the activation or encoding the photo.
 * @property networkMs Sending it and getting the answer back.
 * @property queueMs Waiting for a worker of the server.
 * @property serverMs On the server.
 * @property totalMs All of it.
 * @property p95Ms What 95 of 100 calls take at most.
 * @property bytes Bytes sent.
 * @property energyMj Energy of the device, in millijoules: a model, not a measurement.
 * @property accuracyDropPp Upper bound of the loss of accuracy, in percentage points; null if it was
 *   not measured.
 * @property ready Whether what it runs on the device is at hand.
 * @property verdict Why it was chosen or not.
 */
public data class ExplainedPlan(
    public val plan: Plan,
    public val name: String,
    public val deviceMs: Double,
    public val packMs: Double,
    public val networkMs: Double,
    public val queueMs: Double,
    public val serverMs: Double,
    public val totalMs: Double,
    public val p95Ms: Double,
    public val bytes: Long,
    public val energyMj: Double,
    public val accuracyDropPp: Double?,
    public val ready: Boolean,
    public val verdict: String,
)

internal fun NativeExplanation.toPublic(): Explanation = Explanation(
    objective = objective,
    network = network.toPublic(),
    metered = metered,
    rttMs = rttMs,
    rateBps = rateBps,
    deviceFactor = deviceFactor,
    serverFactor = serverFactor,
    chosen = chosen.toPublic(),
    reason = reason,
    plans = plans.map { it.toPublic() },
)

private fun NativeExplainedPlan.toPublic(): ExplainedPlan = ExplainedPlan(
    plan = plan.toPublic(),
    name = name,
    deviceMs = deviceMs,
    packMs = packMs,
    networkMs = networkMs,
    queueMs = queueMs,
    serverMs = serverMs,
    totalMs = totalMs,
    p95Ms = p95Ms,
    bytes = bytes.toLong(),
    energyMj = energyMj,
    accuracyDropPp = accuracyDropPp,
    ready = ready,
    verdict = verdict,
)
