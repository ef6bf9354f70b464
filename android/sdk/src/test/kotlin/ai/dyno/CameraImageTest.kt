package ai.dyno

import ai.dyno.testing.World
import android.graphics.Bitmap
import android.graphics.ImageFormat
import android.graphics.Rect
import android.media.Image
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import java.nio.ByteBuffer

/** Camera images, as ImageReader hands them over. */
@RunWith(RobolectricTestRunner::class)
class CameraImageTest {
    private val sample = World.samples.first()

    @Test
    fun `a camera's image is recognised, also turned and cropped`() = runBlocking {
        DynoClient.open(World.bundle) { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val image = CameraImage.of(sample.decoded(), rowGap = 32)
            assertEquals(sample.label, client.infer(image).best?.label)
            assertEquals(sample.label, client.stage(image).use { client.infer(it) }.best?.label)
            image.cropRect = Rect(4, 4, image.width - 4, image.height - 4)
            assertEquals(sample.label, client.infer(image).best?.label)
        }
    }

    @Test
    fun `the crop rectangle is all that is looked at`() = runBlocking {
        DynoClient.open(World.bundle) {
            mode = ExecutionMode.ONLY_ON_DEVICE
            rawOutputs = true
        }.use { client ->
            val bitmap = sample.decoded()
            val part = Rect(8, 16, 104, 96)
            val cut = Bitmap.createBitmap(bitmap, part.left, part.top, part.width(), part.height())
            val cropped = CameraImage.of(bitmap, rowGap = 0).apply { cropRect = part }
            assertEquals(client.infer(CameraImage.of(cut, rowGap = 8)).outputs, client.infer(cropped).outputs)
        }
    }

    @Test
    fun `images of other formats are refused`() = runBlocking<Unit> {
        DynoClient.open(World.bundle) { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val image = CameraImage.of(sample.decoded(), rowGap = 0, format = ImageFormat.JPEG)
            assertThrows(DynoException.InvalidImage::class.java) { runBlocking { client.infer(image) } }
        }
    }
}

/** An image in memory, laid out like NV21, which is what most cameras deliver as YUV_420_888. */
private class CameraImage(
    private val width: Int,
    private val height: Int,
    private val format: Int,
    private val planes: Array<Image.Plane>,
) : Image() {
    private var crop = Rect(0, 0, width, height)

    override fun getFormat() = format
    override fun getWidth() = width
    override fun getHeight() = height
    override fun getTimestamp() = 0L
    override fun getCropRect() = crop
    override fun setCropRect(rect: Rect?) {
        crop = rect ?: Rect(0, 0, width, height)
    }
    override fun getPlanes() = planes
    override fun getTransform() = 0
    override fun getScalingMode() = 0
    override fun close() = Unit

    private class Plane(private val bytes: ByteBuffer, private val rowStride: Int, private val pixelStride: Int) : Image.Plane() {
        override fun getBuffer() = bytes
        override fun getRowStride() = rowStride
        override fun getPixelStride() = pixelStride
    }

    companion object {
        fun of(bitmap: Bitmap, rowGap: Int, format: Int = ImageFormat.YUV_420_888): CameraImage {
            val (width, height) = bitmap.width to bitmap.height
            val stride = width + rowGap
            val y = ByteBuffer.allocateDirect(stride * height)
            val vu = ByteBuffer.allocateDirect(stride * height / 2)
            for (row in 0 until height) for (column in 0 until width) {
                val pixel = bitmap.getPixel(column, row)
                val (r, g, b) = Triple(pixel shr 16 and 0xff, pixel shr 8 and 0xff, pixel and 0xff)
                y.put(row * stride + column, (0.299 * r + 0.587 * g + 0.114 * b).toInt().toByte())
                if (row % 2 == 0 && column % 2 == 0) {
                    val at = row / 2 * stride + column
                    vu.put(at, (128 + 0.5 * r - 0.418688 * g - 0.081312 * b).toInt().coerceIn(0, 255).toByte())
                    vu.put(at + 1, (128 - 0.168736 * r - 0.331264 * g + 0.5 * b).toInt().coerceIn(0, 255).toByte())
                }
            }
            val u = vu.duplicate().apply { position(1) }.slice()
            val planes = arrayOf<Image.Plane>(Plane(y, stride, 1), Plane(u, stride, 2), Plane(vu, stride, 2))
            return CameraImage(width, height, format, planes)
        }
    }
}
