package ai.dyno.testing

import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.TimeUnit
import kotlin.concurrent.thread

/** A `dyno-server` of its own, which serves [World.bundles] (or [bundles]) until it is closed. */
class TestServer(bundles: String = World.bundles) : AutoCloseable {
    private val process: Process = ProcessBuilder(
        World.needed("DYNO_SERVER_BIN"), "--bundles", bundles, "--listen", "127.0.0.1:0", "--log-format", "json",
    ).apply { environment()["RUST_LOG"] = "info" }.start()

    private val lines = CopyOnWriteArrayList<String>()

    /** The lines of its log so far: one JSON object each. */
    val log: List<String> get() = lines

    /** Where it listens. */
    val port: Int

    val url: String get() = "http://127.0.0.1:$port"

    init {
        // Ends with an exception where the server is killed.
        thread(isDaemon = true) { runCatching { process.errorStream.bufferedReader().forEachLine { lines += it } } }
        val greeting = process.inputStream.bufferedReader().readLine()
        port = checkNotNull(greeting) { "the server did not start:\n${log.joinToString("\n")}" }.substringAfterLast(':').toInt()
    }

    /** Ends it at once, as a crash would. */
    fun kill() {
        process.destroyForcibly().waitFor(10, TimeUnit.SECONDS)
    }

    override fun close() {
        process.destroy()
        if (!process.waitFor(5, TimeUnit.SECONDS)) kill()
    }
}
