package ai.dyno

import ai.dyno.testing.World
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.test.runTest
import org.junit.jupiter.api.AfterAll
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.TestInstance
import org.junit.jupiter.api.assertThrows
import java.nio.ByteBuffer
import kotlin.math.abs

/** Every way to hand a photo over leads to the same answer. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class InputsTest {
    private val client = open {
        mode = ExecutionMode.ONLY_ON_DEVICE
        rawOutputs = true
    }
    private val sample = World.samples.first()
    private val photo = Photo.of(sample)

    @AfterAll
    fun close() = client.close()

    @Test
    fun `encoded photos are recognised`() = runTest {
        val right = World.samples.count { client.infer(it.bytes).best?.label == it.label }
        assertEquals(World.samples.size, right)
    }

    @Test
    fun `an answer says everything about itself`() = runTest {
        val answer = client.infer(sample.bytes)
        assertEquals(RanOn.DEVICE, answer.ranOn)
        assertEquals(Plan.Device, answer.plan)
        assertEquals(client.model.lastCut, answer.cut)
        assertEquals(0, answer.bytesUp)
        assertEquals(null, answer.fallback)
        assertEquals(5, answer.top.size)
        assertEquals(12, client.model.labels.size)
        assertTrue(answer.reason.isNotEmpty())
        assertTrue(answer.times.totalMs > 0)
        val output = answer.outputs.single()
        assertEquals(listOf(1, 12), output.shape)
        assertEquals(ElementType.F32, output.element)
        val best = answer.logits().withIndex().maxBy { it.value }.index
        assertEquals(answer.best?.index, best)
    }

    @Test
    fun `a direct buffer is read without moving its position`() = runTest {
        val pixels = photo.rgba().direct()
        val answer = client.infer(pixels, photo.layout())
        assertEquals(sample.label, answer.best?.label)
        assertEquals(0, pixels.position())
        assertEquals(photo.width * photo.height * 4, pixels.remaining())
    }

    @Test
    fun `heap, sliced, offset and read-only buffers give the same tensor`() = runTest {
        val rgba = photo.rgba()
        val expected = client.infer(rgba.direct(), photo.layout()).logits()
        val offset = ByteBuffer.allocateDirect(rgba.size + 100).apply { position(100); put(rgba); position(100) }
        val buffers = listOf(
            ByteBuffer.wrap(rgba),
            ByteBuffer.wrap(ByteArray(7) + rgba).apply { position(7) },
            offset,
            offset.slice(),
            rgba.direct().asReadOnlyBuffer(),
            ByteBuffer.wrap(rgba).asReadOnlyBuffer(),
        )
        for (buffer in buffers) {
            val position = buffer.position()
            assertEquals(expected, client.infer(buffer, photo.layout()).logits())
            assertEquals(position, buffer.position())
        }
    }

    @Test
    fun `every order of channels gives the same tensor`() = runTest {
        val expected = client.infer(photo.rgba().direct(), photo.layout()).logits()
        assertEquals(expected, client.infer(photo.bgra().direct(), photo.layout(PixelFormat.BGRA8)).logits())
        assertEquals(expected, client.infer(photo.rgb().direct(), photo.layout(PixelFormat.RGB8)).logits())
    }

    @Test
    fun `rows may have gaps`() = runTest {
        val (tight, stride) = photo.width * 4 to photo.width * 4 + 64
        val padded = ByteArray(stride * photo.height) { 0x5a }
        val rgba = photo.rgba()
        repeat(photo.height) { row -> rgba.copyInto(padded, row * stride, row * tight, (row + 1) * tight) }
        val expected = client.infer(rgba.direct(), photo.layout()).logits()
        assertEquals(expected, client.infer(padded.direct(), photo.layout().copy(rowStrideBytes = stride)).logits())
    }

    @Test
    fun `a turned buffer gives the tensor of the upright one`() = runTest {
        val expected = client.infer(photo.rgba().direct(), photo.layout()).logits()
        val turned = photo.turnedCounterClockwise()
        val layout = turned.layout().copy(orientation = Orientation.ofDegrees(90))
        assertClose(expected, client.infer(turned.rgba().direct(), layout).logits())
    }

    @Test
    fun `a region gives the tensor of the picture cut out by hand`() = runTest {
        val region = Region(left = 8, top = 16, width = 96, height = 80)
        val rgba = photo.rgba()
        val cut = ByteArray(region.width * region.height * 4)
        repeat(region.height) { row ->
            val from = ((region.top + row) * photo.width + region.left) * 4
            rgba.copyInto(cut, row * region.width * 4, from, from + region.width * 4)
        }
        val expected = client.infer(cut.direct(), PixelLayout(region.width, region.height)).logits()
        assertEquals(expected, client.infer(rgba.direct(), photo.layout().copy(region = region)).logits())
    }

    @Test
    fun `planar and interleaved YUV give the same tensor, and the right label`() = runTest {
        val (y, u, v) = photo.yuv()
        val planar = client.infer(y.direct(), u.direct(), v.direct(), YuvLayout(photo.width, photo.height))
        assertEquals(sample.label, planar.best?.label)
        // NV21: V first, and U one byte into the same plane, as Android's cameras hand it over.
        val vu = ByteArray(u.size * 2) { at -> if (at % 2 == 0) v[at / 2] else u[at / 2] }
        val layout = YuvLayout(photo.width, photo.height, uvRowStrideBytes = photo.width, uvPixelStrideBytes = 2)
        val plane = vu.direct()
        val uPlane = plane.duplicate().apply { position(1) }
        val interleaved = client.infer(y.direct(), uPlane, plane, layout)
        assertEquals(planar.logits(), interleaved.logits())
    }

    @Test
    fun `a staged frame can be inferred again`() = runTest {
        client.stage(sample.bytes).use { frame ->
            assertEquals(client.infer(frame).logits(), client.infer(frame).logits())
        }
    }

    @Test
    fun `a closed frame is refused`() = runTest {
        val frame = client.stage(sample.bytes)
        frame.close()
        frame.close()
        val failure = assertThrows<IllegalStateException> { client.infer(frame) }
        assertTrue("stage" in failure.message.orEmpty()) { failure.message }
    }

    @Test
    fun `a frame may be closed while it is inferred`() = runBlocking {
        repeat(50) {
            val frame = client.stage(sample.bytes)
            val calls = List(4) { async(Dispatchers.Default) { runCatching { client.infer(frame) } } }
            frame.close()
            for (call in calls) {
                call.await().onSuccess { assertEquals(sample.label, it.best?.label) }
                    .onFailure { assertTrue(it is IllegalStateException) { "$it" } }
            }
        }
    }

    @Test
    fun `pixels that do not add up are refused`() = runTest {
        val short = ByteBuffer.allocateDirect(photo.width * photo.height * 4 - 1)
        assertThrows<DynoException.InvalidImage> { client.infer(short, photo.layout()) }
        assertThrows<DynoException.InvalidImage> { client.infer(short, PixelLayout(0, 0)) }
        assertThrows<DynoException.InvalidImage> { client.infer(short, PixelLayout(-1, 8)) }
        assertThrows<DynoException.InvalidImage> { client.infer(short, PixelLayout(4, 4, region = Region(2, 2, 3, 3))) }
        assertThrows<DynoException.InvalidImage> { client.infer("not a photo".toByteArray()) }
        assertThrows<DynoException.InvalidImage> { client.infer(ByteArray(0)) }
        assertThrows<DynoException.InvalidArgument> { Orientation.ofDegrees(45) }
        assertThrows<DynoException.InvalidArgument> { Orientation.ofExif(9) }
    }

    private fun assertClose(expected: List<Float>, actual: List<Float>) {
        val largest = expected.zip(actual).maxOf { (a, b) -> abs(a - b) }
        // Rows and columns are resampled in the other order, and rounded between.
        assertTrue(largest < 0.05f) { "logits differ by $largest" }
    }
}
