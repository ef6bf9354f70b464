package ai.dyno

import ai.dyno.ffi.Fallback as NativeFallback
import ai.dyno.ffi.Inference as NativeInference
import ai.dyno.ffi.RanOn as NativeRanOn
import ai.dyno.ffi.StageTimes as NativeTimes

/**
 * The answer to one photo, and how it came about.
 *
 * @property top The most likely classes, most likely first; empty unless the model is a classifier.
 * @property outputs The model's outputs: for classifiers only if `rawOutputs` asks for them.
 * @property ranOn Where the model ran.
 * @property reason Why there, in a sentence.
 * @property plan The plan that was followed, as far as it went; where it was asked again, what was
 *   sent then.
 * @property cut Where the plan cut: 0 for a photo, the last cut for the device alone.
 * @property bytesUp Bytes of the body that was sent, whether or not it was answered; of both where it
 *   was asked again.
 * @property secondLook Whether the server's first answer was in doubt: a finer message was sent, or the
 *   device computed it.
 * @property times Where the time went.
 * @property fallback Why it was not the plan that gave the answer; null if it was.
 * @property estimatedMs What the planner expected the inference to take, without preprocessing.
 */
public data class Inference(
    public val top: List<Label>,
    public val outputs: List<OutputTensor>,
    public val ranOn: RanOn,
    public val reason: String,
    public val plan: Plan,
    public val cut: Int,
    public val bytesUp: Long,
    public val secondLook: Boolean,
    public val times: StageTimes,
    public val fallback: Fallback?,
    public val estimatedMs: Double,
) {
    /** The most likely class; null unless the model is a classifier. */
    public val best: Label? get() = top.firstOrNull()
}

/**
 * One class of an answer.
 *
 * @property index Position in the model's output.
 * @property label Name of the class; empty if the bundle has none for it.
 * @property score Probability, 0 to 1.
 */
public data class Label(
    public val index: Int,
    public val label: String,
    public val score: Float,
)

/** Where the model ran. */
public enum class RanOn {
    /** All of it on the device, even where the server was asked first. */
    DEVICE,

    /** The head on the device, the tail on the server. */
    SPLIT,

    /** All of it on the server. */
    SERVER,
}

/**
 * Why something else than the plan gave the answer.
 *
 * @property kind What failed.
 * @property reason How, for people.
 * @property fromCut The cut from which the rest was computed: what lies before it was not computed
 *   again.
 */
public data class Fallback(
    public val kind: ErrorKind,
    public val reason: String,
    public val fromCut: Int,
)

/**
 * Where the time of one inference went, in milliseconds.
 *
 * @property totalMs Everything: staging the photo, and from the call to the answer.
 * @property preprocessMs Photo to frame, frame to tensor.
 * @property deviceMs On the device, the tail included where it was resumed there.
 * @property packMs Packing the activation or encoding the photo.
 * @property networkMs The request, less the server's work.
 * @property queueMs Waiting for a worker of the server.
 * @property serverMs On the server.
 * @property postMs Softmax and labels.
 */
public data class StageTimes(
    public val totalMs: Double,
    public val preprocessMs: Double,
    public val deviceMs: Double,
    public val packMs: Double,
    public val networkMs: Double,
    public val queueMs: Double,
    public val serverMs: Double,
    public val postMs: Double,
)

internal fun NativeInference.toPublic(): Inference = Inference(
    top = top.map { Label(it.index.toInt(), it.label, it.score) },
    outputs = outputs.map { it.toPublic() },
    ranOn = when (ranOn) {
        NativeRanOn.DEVICE -> RanOn.DEVICE
        NativeRanOn.SPLIT -> RanOn.SPLIT
        NativeRanOn.SERVER -> RanOn.SERVER
    },
    reason = reason,
    plan = plan.toPublic(),
    cut = cut.toInt(),
    bytesUp = bytesUp.toLong(),
    secondLook = secondLook,
    times = times.toPublic(),
    fallback = fallback?.toPublic(),
    estimatedMs = estimatedMs,
)

private fun NativeTimes.toPublic(): StageTimes = StageTimes(
    totalMs = totalMs,
    preprocessMs = preprocessMs,
    deviceMs = deviceMs,
    packMs = packMs,
    networkMs = networkMs,
    queueMs = queueMs,
    serverMs = serverMs,
    postMs = postMs,
)

private fun NativeFallback.toPublic(): Fallback = Fallback(kind.toPublic(), reason, fromCut.toInt())
