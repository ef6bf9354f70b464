package ai.dyno

import ai.dyno.testing.World
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File
import java.io.IOException

/** Bundles that are copied out of the assets. */
class BundleFilesTest {
    @get:Rule
    val storage = TemporaryFolder()

    private val bundle = File(World.bundle)
    private val assets by lazy { storage.newFolder("assets").also { bundle.copyRecursively(File(it, "model")) } }
    private val copies by lazy { storage.newFolder("copies") }
    private var opened = 0
    private val source by lazy {
        BundleFiles.Source(
            list = { File(assets, it).list().orEmpty().toList() },
            open = { path -> File(assets, path).inputStream().also { opened++ } },
        )
    }

    @Test
    fun `a bundle is copied once`() {
        val copy = BundleFiles.copyOf(source, "model", copies)
        for (file in bundle.listFiles()!!) assertEquals(file.readBytes().toList(), File(copy, file.name).readBytes().toList())
        opened = 0
        assertEquals(copy, BundleFiles.copyOf(source, "model", copies))
        assertEquals("only the manifest is read again", 1, opened)
    }

    @Test
    fun `another bundle takes its place`() {
        val old = BundleFiles.copyOf(source, "model", copies)
        File(assets, "model/bundle.json").appendText("\n")
        val new = BundleFiles.copyOf(source, "model", copies)
        assertNotEquals(old, new)
        assertFalse(old.exists())
        assertEquals(listOf(new.name), new.parentFile!!.list()!!.toList())
    }

    @Test
    fun `a copy that was broken off is made again, and never taken for whole`() {
        val broken = BundleFiles.Source(source.list) { path ->
            if (path.endsWith("weights.bin")) throw IOException("no room") else source.open(path)
        }
        assertThrows(DynoException.Io::class.java) { BundleFiles.copyOf(broken, "model", copies) }
        val copy = BundleFiles.copyOf(source, "model", copies)
        assertTrue(File(copy, "weights.bin").length() == File(bundle, "weights.bin").length())
    }
}
