package ai.dyno

import ai.dyno.testing.World
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.File

/**
 * Ten thousand inferences leave memory, threads and open files as they were. The test runs with a
 * heap of fixed size, so that what grows is not Java's.
 */
class LeakTest {
    @Test
    fun `ten thousand inferences leak nothing`() = runBlocking {
        open { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val photo = Photo.of(World.samples.first())
            val pixels = photo.rgba().direct()
            repeat(2_000) { client.infer(pixels, photo.layout()) }
            System.gc()
            val before = Process.now()
            repeat(10_000) { client.infer(pixels, photo.layout()) }
            System.gc()
            val after = Process.now()
            println("before 10,000 inferences: $before; after: $after")
            assertTrue(after.residentKb - before.residentKb < 32 * 1024) { "$before, then $after" }
            assertTrue(after.threads <= before.threads + 8) { "$before, then $after" }
            assertTrue(after.files <= before.files + 8) { "$before, then $after" }
        }
    }

    private data class Process(val residentKb: Long, val threads: Int, val files: Int) {
        companion object {
            fun now(): Process {
                val status = File("/proc/self/status").readLines().associate { it.substringBefore(':') to it.substringAfter(':').trim() }
                return Process(
                    residentKb = status.getValue("VmRSS").substringBefore(' ').toLong(),
                    threads = status.getValue("Threads").toInt(),
                    files = File("/proc/self/fd").list().orEmpty().size,
                )
            }
        }
    }
}
