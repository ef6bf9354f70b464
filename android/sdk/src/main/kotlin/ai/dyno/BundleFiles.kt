package ai.dyno

import android.content.Context
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.security.MessageDigest

/** Brings bundles from the assets to where they can be read as files. */
internal object BundleFiles {
    private const val MANIFEST = "bundle.json"
    private const val COPIES = "dyno"

    /** The folder of [bundle]: itself if it is an absolute path, otherwise a copy of the asset folder. */
    fun folder(context: Context, bundle: String): File {
        val given = File(bundle)
        if (given.isAbsolute) return given
        val assets = context.assets
        val source = Source({ assets.list(it).orEmpty().toList() }, { assets.open(it) })
        return copyOf(source, bundle.trimEnd('/'), File(context.noBackupFilesDir, COPIES))
    }

    /** Where files are copied from: assets, of which there is no class that a test could make. */
    class Source(val list: (String) -> List<String>, val open: (String) -> InputStream)

    /** The copy of [bundle] under [copies], made if it is not there yet. */
    @Synchronized
    fun copyOf(source: Source, bundle: String, copies: File): File =
        try {
            upToDate(source, bundle, File(copies, bundle))
        } catch (failed: IOException) {
            throw DynoException.Io(
                "the assets' folder $bundle could not be copied to the app's storage (${failed.message}): " +
                    "put what `dyno prepare` made into src/main/assets/$bundle",
            ).apply { initCause(failed) }
        }

    private fun upToDate(source: Source, bundle: String, copies: File): File {
        // The manifest holds the hashes of all other files: its own hash stands for all of them.
        val copy = File(copies, source.open("$bundle/$MANIFEST").use { it.sha256() })
        if (!copy.isDirectory) {
            // Whole or not at all: an app may be ended at any moment.
            val partial = File(copies, "partial")
            partial.deleteRecursively()
            copyFiles(source, bundle, partial)
            if (!partial.renameTo(copy)) throw IOException("$partial could not be renamed")
        }
        copies.listFiles().orEmpty().filter { it != copy }.forEach { it.deleteRecursively() }
        return copy
    }

    private fun copyFiles(source: Source, from: String, to: File) {
        if (!to.mkdirs()) throw IOException("$to could not be made")
        for (name in source.list(from)) {
            source.open("$from/$name").use { input -> File(to, name).outputStream().use { input.copyTo(it) } }
        }
    }

    private fun InputStream.sha256(): String =
        MessageDigest.getInstance("SHA-256").digest(readBytes()).joinToString("") { "%02x".format(it) }
}
