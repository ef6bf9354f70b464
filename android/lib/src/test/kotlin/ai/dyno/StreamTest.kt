package ai.dyno

import ai.dyno.testing.HoldingProxy
import ai.dyno.testing.TestServer
import ai.dyno.testing.World
import ai.dyno.testing.awaitOr
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.asFlow
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.flow
import kotlinx.coroutines.flow.map
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

/** Flows of frames. */
class StreamTest {
    private fun frames(client: DynoClient): Flow<DynoFrame> = World.samples.asFlow().map { client.stage(it.bytes) }

    @Test
    fun `all frames are answered in order`() = runBlocking {
        open { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val answers = frames(client).infer(client, Keep.ALL).toList()
            assertEquals(World.samples.map { it.label }, answers.map { it.inference?.best?.label })
            assertEquals(World.samples.indices.map { it.toLong() }, answers.map { it.seq })
            assertTrue(answers.all { it.droppedBefore == 0L && it.error == null })
        }
    }

    @Test
    fun `device and server share a stream, and answers stay in order`() = runBlocking {
        TestServer().use { server ->
            open {
                server(server.url)
                plan = Plan.Split(cut = 8, levels = 256, codec = "zstd")
            }.use { client ->
                val answers = frames(client).infer(client, Keep.ALL, maxInFlight = 4).toList()
                assertEquals(World.samples.map { it.label }, answers.map { it.inference?.best?.label })
            }
        }
    }

    @Test
    fun `where the latest is kept, the others are counted and the last one is answered`() = runBlocking {
        open { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val answers = frames(client).infer(client).toList()
            val numbers = answers.map { it.seq }
            assertEquals(numbers.sorted().distinct(), numbers)
            assertEquals(World.samples.size - 1L, numbers.last())
            assertEquals(World.samples.size.toLong(), answers.size + answers.sumOf { it.droppedBefore })
            for (answer in answers) {
                assertEquals(World.samples[answer.seq.toInt()].label, answer.inference?.best?.label)
            }
        }
    }

    @Test
    fun `a collector that has enough ends the stream`() = runBlocking {
        open { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val endless = flow { while (true) emit(client.stage(World.samples.first().bytes)) }
            assertEquals(0, endless.infer(client, Keep.ALL).first().seq)
            assertEquals(World.samples.first().label, client.infer(World.samples.first().bytes).best?.label)
        }
    }

    @Test
    fun `cancelling the collector resets the requests`() = runBlocking {
        TestServer().use { server ->
            HoldingProxy(server.port).use { proxy ->
                open {
                    mode = ExecutionMode.ONLY_CLOUD
                    server(proxy.url)
                    remoteDeadlineMaxMs = 60_000
                }.use { client ->
                    val collecting = launch(Dispatchers.Default) { frames(client).infer(client, Keep.ALL).collect {} }
                    proxy.held.awaitOr("a frame was sent")
                    collecting.cancelAndJoin()
                    proxy.reset.awaitOr("its stream was reset")
                }
            }
        }
    }

    @Test
    fun `a frame that fails does not end the stream`() = runBlocking {
        TestServer().use { server ->
            open {
                mode = ExecutionMode.ONLY_CLOUD
                server(server.url)
            }.use { client ->
                client.onNetworkChanged(NetworkKind.NONE, metered = false)
                val answers = frames(client).infer(client, Keep.ALL).toList()
                assertEquals(World.samples.size, answers.size)
                assertTrue(answers.all { it.error is DynoException.Unreachable && it.inference == null })
            }
        }
    }

    @Test
    fun `what fails in the frames' flow fails the answers' flow`() = runBlocking<Unit> {
        open { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val broken = flow<DynoFrame> { throw NoSuchElementException("the camera broke") }
            assertThrows<NoSuchElementException> { broken.infer(client).toList() }
            assertThrows<DynoException.InvalidArgument> { frames(client).infer(client, maxInFlight = 0).toList() }
        }
    }

    @Test
    fun `closing the client ends its streams`() = runBlocking<Unit> {
        open { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val staged = List(500) { client.stage(World.samples.first().bytes) }
            assertThrows<DynoException.Cancelled> {
                staged.asFlow().infer(client, Keep.ALL).collect { client.close() }
            }
        }
    }
}
