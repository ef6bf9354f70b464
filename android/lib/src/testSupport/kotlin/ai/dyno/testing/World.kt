package ai.dyno.testing

import java.io.File
import java.nio.file.Path
import kotlin.io.path.Path
import kotlin.io.path.isDirectory

/** What `scripts/test-kotlin.sh` prepared: bundles, programs and photos. */
object World {
    /** Folder of the bundle that is made of the repository's own model. */
    val bundle: String = needed("DYNO_SDK_BUNDLE")

    /** The folder around it, which a server serves. */
    val bundles: String = needed("DYNO_SDK_BUNDLES")

    /** The `dyno` command. */
    val dyno: String = needed("DYNO_BIN")

    /** Photos, labels and models that the repository does not hold; null where there are none. */
    val data: Path? = System.getenv("DYNO_TEST_DATA")?.takeIf { it.isNotEmpty() }?.let(::Path)?.takeIf { it.isDirectory() }

    /** The repository's photos and what they show. */
    val samples: List<Sample> by lazy {
        val folder = File("../../models/samples")
        folder.resolve("labels.csv").readLines().drop(1).map { line ->
            val (file, _, name) = line.split(',')
            Sample(folder.resolve(file), name)
        }
    }

    /** The value of an environment variable that the script sets. */
    fun needed(name: String): String =
        checkNotNull(System.getenv(name)) { "$name is not set: run the tests with scripts/test-kotlin.sh" }
}

/** A photo whose label is known. */
class Sample(val file: File, val label: String) {
    val bytes: ByteArray by lazy { file.readBytes() }

    override fun toString(): String = file.name
}
