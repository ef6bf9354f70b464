package ai.dyno

import ai.dyno.ffi.DynoStats as NativeStats
import ai.dyno.ffi.StatsListener
import kotlinx.coroutines.flow.MutableStateFlow

/**
 * What a client has done so far, and what it believes of the network.
 *
 * @property inferences Answers.
 * @property failures Calls that failed or were cancelled.
 * @property onDevice Answers that came all from the device.
 * @property split Answers whose head ran here and whose tail on the server.
 * @property onServer Answers that came all from the server.
 * @property fallbacks Answers that did not come about as planned.
 * @property bytesUp Bytes that the answered inferences have sent.
 * @property latencyP50Ms Median time of the last 64 answers, in milliseconds; null before the first.
 * @property latencyP95Ms What 95 of 100 of them took at most.
 * @property plan The plan that a call would follow now.
 * @property planName The plan in words.
 * @property network The network that was reported last.
 * @property metered Whether bytes cost money there.
 * @property rttMs Estimated round trip, in milliseconds.
 * @property rateBps Estimated uplink, in bits per second.
 */
public data class DynoStats(
    public val inferences: Long,
    public val failures: Long,
    public val onDevice: Long,
    public val split: Long,
    public val onServer: Long,
    public val fallbacks: Long,
    public val bytesUp: Long,
    public val latencyP50Ms: Double?,
    public val latencyP95Ms: Double?,
    public val plan: Plan,
    public val planName: String,
    public val network: NetworkKind,
    public val metered: Boolean,
    public val rttMs: Double,
    public val rateBps: Double,
)

/**
 * Carries statistics from the native side into a flow.
 *
 * The native side holds it, so it holds nothing of the client: a client that is forgotten can be
 * collected.
 */
internal class StatsFeed(private val flow: MutableStateFlow<DynoStats>) : StatsListener {
    override fun onStats(stats: NativeStats) {
        flow.value = stats.toPublic()
    }
}

internal fun NativeStats.toPublic(): DynoStats = DynoStats(
    inferences = inferences.toLong(),
    failures = failures.toLong(),
    onDevice = onDevice.toLong(),
    split = split.toLong(),
    onServer = onServer.toLong(),
    fallbacks = fallbacks.toLong(),
    bytesUp = bytesUp.toLong(),
    latencyP50Ms = latencyP50Ms,
    latencyP95Ms = latencyP95Ms,
    plan = plan.toPublic(),
    planName = planName,
    network = network.toPublic(),
    metered = metered,
    rttMs = rttMs,
    rateBps = rateBps,
)
