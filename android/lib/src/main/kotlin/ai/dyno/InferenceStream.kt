package ai.dyno

import ai.dyno.ffi.StreamAnswer
import ai.dyno.ffi.StreamOptions
import ai.dyno.ffi.Keep as NativeKeep
import ai.dyno.ffi.StreamedInference as NativeStreamed
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.launch

/** What becomes of frames that arrive faster than they can be inferred. */
public enum class Keep {
    /** One waits, and a newer one takes its place: a camera's. */
    LATEST,

    /** All wait where they come from. */
    ALL,
}

/**
 * What became of one frame of a stream: it was answered, or it failed and the stream went on.
 *
 * @property seq The frame's number, from 0; frames that were dropped have one as well.
 * @property droppedBefore Frames dropped between this one and the last that was not.
 * @property latencyMs From the frame's arrival until it was answered, and all before it were.
 * @property inference The answer; null if there is none.
 * @property error Why there is none; null if there is one.
 */
public data class StreamedInference internal constructor(
    public val seq: Long,
    public val droppedBefore: Long,
    public val latencyMs: Double,
    public val inference: Inference?,
    public val error: DynoException?,
)

/**
 * Infers a stream of frames: device, network and server work on successive frames at once, and
 * answers come in the order of the frames.
 *
 * ```
 * camera.map { client.stage(it.buffer, it.layout) }   // a Flow<DynoFrame>
 *     .infer(client)
 *     .collect { show(it.inference?.best) }
 * ```
 *
 * Each frame is closed once it has been handed in. With [Keep.LATEST] a frame that arrives while
 * another one waits takes its place, so that answers are never about what the camera saw long ago.
 * Cancelling the collector cancels every frame under way. The flow fails if the frames' flow does,
 * or if the client is closed; a frame that fails is a [StreamedInference] with an error.
 *
 * @param keep What becomes of frames that arrive too fast.
 * @param maxInFlight Most frames that have begun and whose answers have not been collected: 1 to 32.
 */
public fun Flow<DynoFrame>.infer(
    client: DynoClient,
    keep: Keep = Keep.LATEST,
    maxInFlight: Int = 8,
): Flow<StreamedInference> {
    val frames = this
    return flow {
        client.openStream(keep, maxInFlight).use { stream ->
            coroutineScope {
                launch {
                    frames.collect { frame -> frame.use { translating { frame.pinned { stream.push(it) } } } }
                    translating { stream.finish() }
                }
                while (true) {
                    val next = translating { stream.next() } ?: break
                    emit(next.toPublic())
                }
            }
        }
    }
}

internal fun Keep.toOptions(maxInFlight: Int): StreamOptions = StreamOptions(
    keep = when (this) {
        Keep.LATEST -> NativeKeep.LATEST
        Keep.ALL -> NativeKeep.ALL
    },
    maxInFlight = natural("maxInFlight", maxInFlight),
)

private fun NativeStreamed.toPublic(): StreamedInference {
    val answer = answer
    return StreamedInference(
        seq = seq.toLong(),
        droppedBefore = droppedBefore.toLong(),
        latencyMs = latencyMs,
        inference = (answer as? StreamAnswer.Answered)?.inference?.toPublic(),
        error = (answer as? StreamAnswer.Failed)?.let { DynoException.of(it.kind.toPublic(), it.reason, it.retryAfterMs?.toLong()) },
    )
}
