package ai.dyno

import ai.dyno.testing.World
import android.graphics.BitmapFactory
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import java.io.File
import java.util.concurrent.TimeUnit

/** A well-known network on real photos, where `DYNO_TEST_DATA` has them: it says what `dyno infer` says. */
@RunWith(RobolectricTestRunner::class)
class RealPhotosTest {
    @get:Rule
    val scratch = TemporaryFolder()

    @Test
    fun `photos and their bitmaps are called what the command calls them`() = runBlocking {
        assumeTrue("DYNO_TEST_DATA names no folder", World.data != null)
        val data = World.data!!.toFile()
        val bundle = File(scratch.root, "squeezenet")
        dyno(
            "prepare", File(data, "models/squeezenet1.1.onnx").path, "--out", bundle.path, "--quiet",
            "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--crop-fraction", "0.98678414",
            "--labels", File(data, "images/classes.txt").path,
        )
        val truth = File(data, "images/labels.csv").readLines().drop(1).associate { it.split(',').let { (file, index) -> File(file).name to index.toInt() } }
        val photos = File(data, "images/val").listFiles()!!.sortedBy { it.name }.take(PHOTOS)
        val expected = dyno("infer", "--bundle", bundle.path, "--mode", "ONLY_ON_DEVICE", "--json", *photos.map { it.path }.toTypedArray()).lines()
            .filter { it.startsWith("{") }.map { BEST.find(it)!!.groupValues[1].toInt() }
        assertEquals(PHOTOS, expected.size)

        DynoClient.open(bundle.path) { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val encoded = photos.map { client.infer(it.readBytes()).best!!.index }
            assertEquals(expected, encoded)
            // Android's JPEG decoder is not the command's: a value may differ by one here and there.
            val bitmaps = photos.map { client.infer(BitmapFactory.decodeFile(it.path).asOnAndroid()).best!!.index }
            assertTrue("$expected, and from bitmaps $bitmaps", expected.zip(bitmaps).count { (a, b) -> a == b } >= PHOTOS - 1)
            val right = photos.zip(bitmaps).count { (photo, index) -> truth[photo.name] == index }
            assertTrue("$right of $PHOTOS are right", right >= MIN_RIGHT)
        }
    }

    private fun dyno(vararg arguments: String): String {
        val process = ProcessBuilder(World.dyno, *arguments).redirectError(ProcessBuilder.Redirect.INHERIT).start()
        val output = process.inputStream.bufferedReader().readText()
        assertTrue(process.waitFor(60, TimeUnit.SECONDS))
        assertEquals(arguments.first(), 0, process.exitValue())
        return output
    }

    private companion object {
        const val PHOTOS = 20
        const val MIN_RIGHT = 12
        val BEST = Regex("\"top\":\\[\\{\"index\":(\\d+)")
    }
}
