package ai.dyno

import ai.dyno.testing.Sample
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.Color
import java.nio.ByteBuffer

/** The sample, with its bytes in memory as on a phone. */
internal fun Sample.bitmap(): Bitmap = decoded().asOnAndroid()

/** The sample as Robolectric decodes it. */
internal fun Sample.decoded(): Bitmap = BitmapFactory.decodeByteArray(bytes, 0, bytes.size)

/**
 * A bitmap whose bytes lie in memory as this one's would on a phone.
 *
 * `ARGB_8888` is red, green, blue, alpha there, whatever its name says. Robolectric's graphics code is
 * built for a desktop, where Skia puts blue first: red and blue are exchanged to make up for it.
 */
internal fun Bitmap.asOnAndroid(): Bitmap {
    if (redComesFirst) return this
    val pixels = IntArray(width * height)
    getPixels(pixels, 0, width, 0, 0, width, height)
    for ((at, pixel) in pixels.withIndex()) {
        pixels[at] = Color.argb(Color.alpha(pixel), Color.blue(pixel), Color.green(pixel), Color.red(pixel))
    }
    return Bitmap.createBitmap(pixels, width, height, Bitmap.Config.ARGB_8888)
}

private val redComesFirst: Boolean by lazy {
    val pixel = ByteBuffer.allocate(4)
    Bitmap.createBitmap(1, 1, Bitmap.Config.ARGB_8888).apply { setPixel(0, 0, Color.RED) }.copyPixelsToBuffer(pixel)
    pixel[0] == (-1).toByte()
}
