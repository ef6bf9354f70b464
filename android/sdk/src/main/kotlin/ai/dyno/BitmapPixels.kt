@file:OptIn(DynoInternalApi::class)

package ai.dyno

import android.graphics.Bitmap
import android.graphics.Rect

/** Runs [read] with this bitmap if it is of `ARGB_8888`, which every path reads; otherwise with a copy that is. */
internal inline fun <T> Bitmap.reading(read: (Bitmap) -> T): T {
    val readable = readable()
    try {
        return read(readable)
    } finally {
        if (readable !== this) readable.recycle()
    }
}

internal fun Bitmap.readable(): Bitmap {
    if (isRecycled) throw DynoException.InvalidImage("the bitmap was recycled: keep it until infer has suspended or returned")
    if (config == Bitmap.Config.ARGB_8888) return this
    return copy(Bitmap.Config.ARGB_8888, false)
        ?: throw DynoException.InvalidImage("a bitmap of $config could not be copied into ARGB_8888")
}

/** Stages a readable bitmap through the JNI door; null where that is not possible. */
internal fun DynoClient.stageInPlace(bitmap: Bitmap, orientation: Orientation, region: Rect?): Long? {
    if (!DynoNative.isLoaded) return null
    val part = region?.checked(bitmap) ?: Rect(0, 0, 0, 0)
    return DynoNative.stageBitmap(
        door(), bitmap, orientation.exif, part.left, part.top, part.width(), part.height(),
    ).takeIf { it != 0L }
}

/** Stages a readable bitmap from a direct buffer that its pixels are copied into. */
internal fun DynoClient.stageFromBuffer(bitmap: Bitmap, orientation: Orientation, region: Rect?): DynoFrame {
    val layout = PixelLayout(
        width = bitmap.width,
        height = bitmap.height,
        rowStrideBytes = bitmap.rowBytes,
        orientation = orientation,
        region = region?.checked(bitmap)?.toRegion(),
    )
    val bytes = bitmap.rowBytes * bitmap.height
    return DirectBuffers.filled(bytes, { bitmap.copyPixelsToBuffer(it) }) { stage(it, layout) }
}

internal fun Rect.toRegion(): Region = Region(left, top, width(), height())

private fun Rect.checked(bitmap: Bitmap): Rect {
    if (isEmpty || left < 0 || top < 0 || right > bitmap.width || bottom > bitmap.height) {
        throw DynoException.InvalidImage("the region $this does not lie in a bitmap of ${bitmap.width}x${bitmap.height}")
    }
    return this
}
