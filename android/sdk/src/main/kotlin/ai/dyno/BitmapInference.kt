@file:JvmName("DynoBitmaps")
@file:OptIn(DynoInternalApi::class)

package ai.dyno

import android.graphics.Bitmap
import android.graphics.Rect
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.future.future
import java.util.concurrent.CompletableFuture

/**
 * Infers a bitmap.
 *
 * The pixels are read on the calling thread before the call first suspends (a millisecond or two for
 * a full-HD bitmap); after that the bitmap may be recycled or drawn into. Bitmaps of
 * [Bitmap.Config.ARGB_8888] are read where they lie. Others ([Bitmap.Config.RGB_565],
 * [Bitmap.Config.RGBA_F16], [Bitmap.Config.HARDWARE], …) are copied into that configuration first.
 * Alpha is not looked at: what is transparent counts as its colour over black.
 *
 * @param rotationDegrees By how much the bitmap has to be turned clockwise to be upright: 0, 90, 180
 *   or 270.
 * @param region The part to look at, in the bitmap's pixels before it is turned; all of it if null.
 * @throws DynoException.InvalidImage if the bitmap was recycled, or the region does not lie in it.
 */
public suspend fun DynoClient.infer(
    bitmap: Bitmap,
    rotationDegrees: Int = 0,
    region: Rect? = null,
): Inference {
    val orientation = Orientation.ofDegrees(rotationDegrees)
    val ticket = bitmap.reading { stageInPlace(it, orientation, region) }
    if (ticket != null) return inferTicket(ticket)
    return stage(bitmap, rotationDegrees, region).use { infer(it) }
}

/**
 * Brings a bitmap to the model's size, for several [DynoClient.infer] calls or a stream; see [infer]
 * for what is read when.
 */
public fun DynoClient.stage(
    bitmap: Bitmap,
    rotationDegrees: Int = 0,
    region: Rect? = null,
): DynoFrame {
    val orientation = Orientation.ofDegrees(rotationDegrees)
    return bitmap.reading { stageFromBuffer(it, orientation, region) }
}

/** [infer] for callers without coroutines. Cancelling the future cancels the inference. */
@JvmOverloads
public fun DynoClient.inferAsync(
    bitmap: Bitmap,
    rotationDegrees: Int = 0,
    region: Rect? = null,
): CompletableFuture<Inference> =
    CoroutineScope(Dispatchers.Default).future(start = CoroutineStart.UNDISPATCHED) {
        infer(bitmap, rotationDegrees, region)
    }
