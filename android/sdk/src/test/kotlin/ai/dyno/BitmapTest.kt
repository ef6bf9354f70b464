package ai.dyno

import ai.dyno.testing.World
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Matrix
import android.graphics.Rect
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import java.util.concurrent.TimeUnit

/** Bitmaps, drawn and decoded by Android's own graphics code, through both ways to stage them. */
@RunWith(RobolectricTestRunner::class)
@OptIn(DynoInternalApi::class)
class BitmapTest {
    private val sample = World.samples.first()

    @Test
    fun `bitmaps of photos are recognised`() = onDevice { client ->
        for (sample in World.samples) assertEquals(sample.label, client.infer(sample.bitmap()).best?.label)
    }

    @Test
    fun `a server recognises bitmaps, all of it or behind a cut`() = runBlocking {
        val plans = mapOf(Plan.Photo("png") to RanOn.SERVER, Plan.Split(cut = 9, levels = 256, codec = "zstd") to RanOn.SPLIT)
        for ((plan, ranOn) in plans) {
            val client = DynoClient.open(World.bundle) {
                // Nobody else may answer: how long it takes is not what is asked.
                mode = ExecutionMode.ONLY_CLOUD
                this.plan = plan
                server(World.needed("DYNO_SDK_URL_UP"))
            }
            client.use {
                for (sample in World.samples) {
                    val answer = it.infer(sample.bitmap())
                    assertEquals(sample.label, answer.best?.label)
                    assertEquals(ranOn, answer.ranOn)
                }
            }
        }
    }

    @Test
    fun `the door is used, and gives the very tensor that the buffer gives`() = onDevice { client ->
        assertTrue(DynoNative.isLoaded)
        val placements = listOf(
            0 to null, 90 to null, 180 to null, 270 to null,
            0 to Rect(3, 5, 99, 91), 90 to Rect(3, 5, 99, 91), 270 to Rect(0, 0, 1, 1),
        )
        for (bitmap in listOf(sample.bitmap(), odd(sample.bitmap()))) {
            for ((degrees, region) in placements) {
                val orientation = Orientation.ofDegrees(degrees)
                val ticket = client.stageInPlace(bitmap, orientation, region)
                assertNotNull("staged through the door: $degrees degrees of $region", ticket)
                val direct = client.inferTicket(ticket!!)
                val copied = client.stageFromBuffer(bitmap, orientation, region).use { client.infer(it) }
                assertEquals(copied.outputs, direct.outputs)
                assertEquals(copied.outputs, client.infer(bitmap, degrees, region).outputs)
            }
        }
    }

    @Test
    fun `a ticket is good for one inference`() = onDevice { client ->
        val ticket = client.stageInPlace(sample.bitmap(), Orientation.UP, null)!!
        client.inferTicket(ticket)
        assertThrows(DynoException.InvalidArgument::class.java) { runBlocking { client.inferTicket(ticket) } }
    }

    @Test
    fun `a bitmap that is turned gives the answer of the upright one`() = onDevice { client ->
        val upright = sample.bitmap()
        val turned = Bitmap.createBitmap(upright, 0, 0, upright.width, upright.height, Matrix().apply { postRotate(-90f) }, false)
        val answer = client.infer(turned, rotationDegrees = 90)
        val expected = client.infer(upright)
        assertEquals(expected.best?.label, answer.best?.label)
        assertEquals(expected.best!!.score, answer.best!!.score, 0.02f)
    }

    @Test
    fun `other configurations are copied, and stay as they are`() = onDevice { client ->
        for (config in listOf(Bitmap.Config.RGB_565, Bitmap.Config.RGBA_F16)) {
            val bitmap = sample.bitmap().copy(config, false)
            assertEquals(sample.label, client.infer(bitmap).best?.label)
            assertFalse(bitmap.isRecycled)
        }
    }

    @Test
    fun `recycled bitmaps and regions outside are refused`() = onDevice { client ->
        val recycled = sample.bitmap().apply { recycle() }
        for (use in listOf<suspend () -> Any>({ client.infer(recycled) }, { client.stage(recycled) })) {
            assertThrows(DynoException.InvalidImage::class.java) { runBlocking { use() } }
        }
        val bitmap = sample.bitmap()
        for (region in listOf(Rect(0, 0, bitmap.width + 1, 9), Rect(-1, 0, 9, 9), Rect(5, 5, 5, 9))) {
            assertThrows(DynoException.InvalidImage::class.java) { runBlocking { client.infer(bitmap, region = region) } }
        }
        assertThrows(DynoException.InvalidArgument::class.java) { runBlocking { client.infer(bitmap, 45) } }
    }

    @Test
    fun `a bitmap may be recycled as soon as the call has suspended`() = onDevice { client ->
        val bitmap = sample.bitmap()
        val answer = client.inferAsync(bitmap)
        bitmap.recycle()
        assertEquals(sample.label, answer.get(60, TimeUnit.SECONDS).best?.label)
    }

    @Test
    fun `a staged bitmap can be inferred again`() = onDevice { client ->
        client.stage(sample.bitmap()).use { frame ->
            assertEquals(client.infer(frame).outputs, client.infer(frame).outputs)
        }
    }

    @Test
    fun `a closed client refuses bitmaps`() = onDevice { client ->
        client.close()
        assertThrows(IllegalStateException::class.java) { runBlocking { client.infer(sample.bitmap()) } }
    }

    /** A bitmap with odd sides, drawn rather than decoded. */
    private fun odd(of: Bitmap): Bitmap = Bitmap.createBitmap(of.width - 1, of.height - 3, Bitmap.Config.ARGB_8888).also {
        Canvas(it).drawBitmap(of, 0f, 0f, null)
    }

    private fun onDevice(test: suspend (DynoClient) -> Unit) = runBlocking {
        DynoClient.open(World.bundle) {
            mode = ExecutionMode.ONLY_ON_DEVICE
            rawOutputs = true
        }.use { test(it) }
    }
}
