package ai.dyno

import ai.dyno.testing.Sample
import ai.dyno.testing.World
import kotlinx.coroutines.runBlocking
import java.nio.ByteBuffer
import javax.imageio.ImageIO

/** Opens a client of the shipped bundle. */
internal fun open(settings: DynoClient.Builder.() -> Unit = {}): DynoClient =
    runBlocking { DynoClient.open(World.bundle, settings) }

/** A picture's pixels, in the layouts that clients take. */
internal class Photo(val width: Int, val height: Int, private val argb: IntArray) {

    fun rgba(): ByteArray = bytes(4) { out, pixel -> out.rgb(pixel).put(-1) }

    fun bgra(): ByteArray = bytes(4) { out, pixel ->
        out.put(pixel.toByte()).put((pixel shr 8).toByte()).put((pixel shr 16).toByte()).put(-1)
    }

    fun rgb(): ByteArray = bytes(3) { out, pixel -> out.rgb(pixel) }

    fun layout(format: PixelFormat = PixelFormat.RGBA8): PixelLayout = PixelLayout(width, height, format)

    /** The same picture as a sensor sees it that is turned by a quarter: upright again after 90 degrees clockwise. */
    fun turnedCounterClockwise(): Photo =
        Photo(height, width, IntArray(argb.size) { at -> argb[at % height * width + (width - 1 - at / height)] })

    /** Y, U and V, without gaps; even sides only. */
    fun yuv(): Triple<ByteArray, ByteArray, ByteArray> {
        val y = ByteArray(width * height) { at -> luma(argb[at]).toByteClamped() }
        val u = ByteArray(width * height / 4) { at -> chroma(at) { r, g, b -> -0.168736 * r - 0.331264 * g + 0.5 * b } }
        val v = ByteArray(width * height / 4) { at -> chroma(at) { r, g, b -> 0.5 * r - 0.418688 * g - 0.081312 * b } }
        return Triple(y, u, v)
    }

    private fun luma(pixel: Int) = 0.299 * pixel.red + 0.587 * pixel.green + 0.114 * pixel.blue

    private fun chroma(at: Int, of: (Double, Double, Double) -> Double): Byte {
        val left = at % (width / 2) * 2
        val top = at / (width / 2) * 2
        val four = listOf(0, 1, width, width + 1).map { argb[top * width + left + it] }
        return (128 + of(four.map { it.red }.average(), four.map { it.green }.average(), four.map { it.blue }.average())).toByteClamped()
    }

    private fun bytes(each: Int, put: (ByteBuffer, Int) -> Unit): ByteArray =
        ByteBuffer.allocate(argb.size * each).also { out -> argb.forEach { put(out, it) } }.array()

    companion object {
        fun of(sample: Sample): Photo {
            val image = ImageIO.read(sample.file)
            val (width, height) = image.width to image.height
            return Photo(width, height, image.getRGB(0, 0, width, height, null, 0, width))
        }
    }
}

private val Int.red get() = this shr 16 and 0xff
private val Int.green get() = this shr 8 and 0xff
private val Int.blue get() = this and 0xff

private fun ByteBuffer.rgb(pixel: Int) = put(pixel.red.toByte()).put(pixel.green.toByte()).put(pixel.blue.toByte())

private fun Double.toByteClamped() = Math.round(this).coerceIn(0, 255).toByte()

internal fun ByteArray.direct(): ByteBuffer = toDirectBuffer()

internal fun Inference.logits(): List<Float> =
    outputs.single().asFloats().let { floats -> List(floats.remaining()) { floats.get(it) } }
