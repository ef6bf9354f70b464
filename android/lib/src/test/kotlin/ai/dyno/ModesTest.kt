package ai.dyno

import ai.dyno.testing.HoldingProxy
import ai.dyno.testing.TestServer
import ai.dyno.testing.World
import ai.dyno.testing.awaitOr
import ai.dyno.testing.deadUrl
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.EnumSource
import org.junit.jupiter.params.provider.EnumSource.Mode.EXCLUDE

/** What each mode does with a server, without one, and when it goes away: the table of docs/modes.md. */
class ModesTest {
    private val sample = World.samples.first()

    @ParameterizedTest
    @EnumSource(names = ["ONLY_CLOUD"], mode = EXCLUDE)
    fun `without a server the device answers`(mode: ExecutionMode) = runBlocking {
        open { this.mode = mode }.use { client ->
            val answer = client.infer(sample.bytes)
            assertEquals(RanOn.DEVICE, answer.ranOn)
            assertNull(answer.fallback)
            assertEquals(sample.label, answer.best?.label)
        }
    }

    @Test
    fun `without a server there is no client that needs one`() {
        assertThrows<DynoException.InvalidArgument> { open { mode = ExecutionMode.ONLY_CLOUD } }
    }

    @ParameterizedTest
    @EnumSource(names = ["ONLY_CLOUD"], mode = EXCLUDE)
    fun `while the server is unreachable the device answers`(mode: ExecutionMode) = runBlocking {
        open {
            this.mode = mode
            server(deadUrl())
        }.use { client ->
            val answer = client.infer(sample.bytes)
            assertEquals(RanOn.DEVICE, answer.ranOn)
            assertEquals(sample.label, answer.best?.label)
            if (mode == ExecutionMode.PREFER_CLOUD) {
                assertEquals(ErrorKind.UNREACHABLE, answer.fallback?.kind)
            }
        }
    }

    @Test
    fun `while the server is unreachable, only the cloud is an error`() = runBlocking<Unit> {
        open {
            mode = ExecutionMode.ONLY_CLOUD
            server(deadUrl())
        }.use { client -> assertThrows<DynoException.Unreachable> { client.infer(sample.bytes) } }
    }

    @ParameterizedTest
    @EnumSource(names = ["ONLY_CLOUD"], mode = EXCLUDE)
    fun `without a network the device answers, and the server when it is back`(mode: ExecutionMode) = runBlocking {
        TestServer().use { server ->
            open {
                this.mode = mode
                server(server.url)
            }.use { client ->
                client.onNetworkChanged(NetworkKind.NONE, metered = false)
                val answer = client.infer(sample.bytes)
                assertEquals(RanOn.DEVICE, answer.ranOn)
                assertEquals(sample.label, answer.best?.label)
                client.onNetworkChanged(NetworkKind.WIFI, metered = false)
                if (mode == ExecutionMode.PREFER_CLOUD) {
                    // One of them: on a busy machine an answer may come too late.
                    assertTrue((1..50).any { client.infer(sample.bytes).ranOn == RanOn.SERVER })
                }
            }
        }
    }

    @Test
    fun `without a network, only the cloud is an error`() = runBlocking<Unit> {
        TestServer().use { server ->
            open {
                mode = ExecutionMode.ONLY_CLOUD
                server(server.url)
            }.use { client ->
                client.onNetworkChanged(NetworkKind.NONE, metered = false)
                assertThrows<DynoException.Unreachable> { client.infer(sample.bytes) }
            }
        }
    }

    @Test
    fun `a pinned split runs the head here and the tail there`() = runBlocking {
        TestServer().use { server ->
            open {
                mode = ExecutionMode.ONLY_CLOUD
                server(server.url)
                plan = Plan.Split(cut = 8, levels = 256, codec = "zstd")
            }.use { client ->
                client.warmUp()
                val answer = client.infer(sample.bytes)
                assertEquals(RanOn.SPLIT, answer.ranOn, answer.reason)
                assertEquals(Plan.Split(8, 256, "zstd"), answer.plan)
                assertEquals(sample.label, answer.best?.label)
            }
        }
    }

    @Test
    fun `a server that is killed in the middle of a call leaves the answer to the device`() = runBlocking {
        TestServer().use { server ->
            HoldingProxy(server.port).use { proxy ->
                throughTheServer(ExecutionMode.PREFER_CLOUD, proxy.url).use { client ->
                    val answer = async(Dispatchers.Default) { client.infer(sample.bytes) }
                    proxy.held.awaitOr("the photo was sent")
                    server.kill()
                    assertEquals(RanOn.DEVICE, answer.await().ranOn)
                    // On a busy machine the device may have lost its patience before.
                    val kind = answer.await().fallback?.kind
                    assertTrue(kind == ErrorKind.UNREACHABLE || kind == ErrorKind.DEADLINE_EXCEEDED) { "$kind" }
                    assertEquals(sample.label, answer.await().best?.label)
                }
            }
        }
    }

    @Test
    fun `a server that is killed in the middle of a call is an error where only it may answer`() = runBlocking<Unit> {
        TestServer().use { server ->
            HoldingProxy(server.port).use { proxy ->
                throughTheServer(ExecutionMode.ONLY_CLOUD, proxy.url).use { client ->
                    val answer = async(Dispatchers.Default) { runCatching { client.infer(sample.bytes) } }
                    proxy.held.awaitOr("the photo was sent")
                    server.kill()
                    assertThrows<DynoException.Unreachable> { answer.await().getOrThrow() }
                }
            }
        }
    }

    private fun throughTheServer(mode: ExecutionMode, url: String) = open {
        this.mode = mode
        server(url)
        remoteDeadlineMaxMs = 60_000
    }
}
