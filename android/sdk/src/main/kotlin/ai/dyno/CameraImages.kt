@file:JvmName("DynoImages")

package ai.dyno

import android.graphics.ImageFormat
import android.media.Image
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.future.future
import java.util.concurrent.CompletableFuture

/**
 * Infers a camera's image of [ImageFormat.YUV_420_888], its crop rectangle alone.
 *
 * The planes are read where they lie, on the calling thread, before the call first suspends: close
 * the image as soon as the call has suspended or returned, so that the camera can use it again.
 *
 * @param rotationDegrees By how much the image has to be turned clockwise to be upright: 0, 90, 180
 *   or 270 (CameraX: `imageInfo.rotationDegrees`).
 * @throws DynoException.InvalidImage if the image is of another format.
 */
public suspend fun DynoClient.infer(image: Image, rotationDegrees: Int = 0): Inference =
    stage(image, rotationDegrees).use { infer(it) }

/** Brings a camera's image to the model's size; see [infer] for what is read when. */
public fun DynoClient.stage(image: Image, rotationDegrees: Int = 0): DynoFrame {
    if (image.format != ImageFormat.YUV_420_888) {
        throw DynoException.InvalidImage("an image of format ${image.format}: use YUV_420_888, or decode it to a Bitmap")
    }
    val (y, u, v) = image.planes
    if (u.rowStride != v.rowStride || u.pixelStride != v.pixelStride || y.pixelStride != 1) {
        throw DynoException.InvalidImage("planes of U and V that lie differently, or values of Y with gaps between them")
    }
    val crop = image.cropRect
    val isWhole = crop.left == 0 && crop.top == 0 && crop.right == image.width && crop.bottom == image.height
    val layout = YuvLayout(
        width = image.width,
        height = image.height,
        yRowStrideBytes = y.rowStride,
        uvRowStrideBytes = u.rowStride,
        uvPixelStrideBytes = u.pixelStride,
        colour = YuvColour.BT601_FULL,
        orientation = Orientation.ofDegrees(rotationDegrees),
        region = if (isWhole) null else crop.toRegion(),
    )
    return stage(y.buffer, u.buffer, v.buffer, layout)
}

/** [infer] for callers without coroutines. The planes have been read when it returns. */
@JvmOverloads
public fun DynoClient.inferAsync(image: Image, rotationDegrees: Int = 0): CompletableFuture<Inference> =
    CoroutineScope(Dispatchers.Default).future(start = CoroutineStart.UNDISPATCHED) {
        infer(image, rotationDegrees)
    }
