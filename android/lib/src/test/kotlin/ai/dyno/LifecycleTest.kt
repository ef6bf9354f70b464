package ai.dyno

import ai.dyno.ffi.FfiConverterTypeStatsListener
import ai.dyno.testing.TestServer
import ai.dyno.testing.World
import ai.dyno.testing.eventually
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import java.lang.ref.WeakReference
import kotlin.concurrent.thread

/** Opening, sharing, closing and forgetting clients. */
class LifecycleTest {
    private val sample = World.samples.first()

    @Test
    fun `two hundred calls at once are all answered rightly`() = runBlocking {
        TestServer().use { server ->
            open { server(server.url) }.use { client ->
                val calls = List(200) { at ->
                    val sample = World.samples[at % World.samples.size]
                    async(Dispatchers.Default) { client.infer(sample.bytes).best?.label to sample.label }
                }
                for ((actual, expected) in calls.awaitAll()) assertEquals(expected, actual)
                assertEquals(200, client.stats.value.inferences)
            }
        }
    }

    @Test
    fun `a closed client says what to do`() = runBlocking<Unit> {
        val client = open()
        val frame = client.stage(sample.bytes)
        client.close()
        client.close()
        val uses = listOf<suspend () -> Any?>(
            { client.infer(sample.bytes) },
            { client.infer(frame) },
            { client.stage(sample.bytes) },
            { client.explain() },
            { client.warmUp() },
            { client.stats },
            { client.onNetworkChanged(NetworkKind.WIFI, metered = false) },
        )
        for (use in uses) {
            val failure = assertThrows<IllegalStateException> { use() }
            assertTrue("DynoClient.open" in failure.message.orEmpty()) { failure.message }
        }
        frame.close()
    }

    @Test
    fun `a client derived from another starts from its settings`() = runBlocking {
        open {
            mode = ExecutionMode.ONLY_ON_DEVICE
            topK = 2
        }.use { first ->
            first.newBuilder().apply { rawOutputs = true }.open().use { second ->
                first.close()
                val answer = second.infer(sample.bytes)
                assertEquals(2, answer.top.size)
                assertEquals(1, answer.outputs.size)
            }
        }
    }

    @Test
    fun `settings that make no sense are refused`() {
        assertThrows<DynoException.InvalidArgument> { open { topK = 0 } }
        assertThrows<DynoException.InvalidArgument> { open { topK = -1 } }
        assertThrows<DynoException.InvalidArgument> { open { threads = 17 } }
        assertThrows<DynoException.InvalidArgument> { open { remoteDeadlineMaxMs = 0 } }
        assertThrows<DynoException.InvalidArgument> { open { server("ftp://example.com") } }
        assertThrows<DynoException.InvalidArgument> { open { objective = Objective.minimise() } }
        assertThrows<DynoException.InvalidArgument> { open { plan = Plan.Photo("gif") } }
    }

    @Test
    fun `a folder without a bundle is refused`() = runBlocking<Unit> {
        val failure = assertThrows<DynoException> { DynoClient.open("/nowhere") }
        assertTrue(failure.kind == ErrorKind.IO || failure.kind == ErrorKind.INVALID_BUNDLE) { "$failure" }
    }

    @Test
    fun `forgotten clients and frames are freed`() {
        val listeners = FfiConverterTypeStatsListener.handleMap.size
        val forgotten = mutableListOf<WeakReference<DynoClient>>()
        // On a thread that ends: the stack of this one could remember.
        thread { repeat(10) { forgotten += runBlocking { useAndForget() } } }.join()
        eventually("every client is collected") {
            System.gc()
            forgotten.all { it.get() == null }
        }
        eventually("their listeners are let go by the native side") {
            System.gc()
            FfiConverterTypeStatsListener.handleMap.size <= listeners
        }
    }

    private suspend fun useAndForget(): WeakReference<DynoClient> {
        val client = DynoClient.open(World.bundle)
        val frame = client.stage(sample.bytes)
        client.infer(frame)
        client.stats.value
        return WeakReference(client)
    }
}
