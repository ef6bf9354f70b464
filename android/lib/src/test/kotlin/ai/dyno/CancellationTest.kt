package ai.dyno

import ai.dyno.testing.HoldingProxy
import ai.dyno.testing.TestServer
import ai.dyno.testing.World
import ai.dyno.testing.awaitOr
import ai.dyno.testing.eventually
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeoutOrNull
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import java.util.concurrent.CompletionException

/**
 * Calls that are stopped from outside. The server is real; a proxy keeps back the end of each body, so
 * that no call ends by itself.
 */
class CancellationTest {
    private val sample = World.samples.first()

    @Test
    fun `a cancelled coroutine resets its stream, and the server drops the request`() = stuck { server, proxy, client ->
        val call = launch(Dispatchers.Default) { client.infer(sample.bytes) }
        proxy.held.awaitOr("the photo was sent")
        assertTrue(call.isActive)
        call.cancelAndJoin()
        proxy.reset.awaitOr("the stream was reset")
        eventually("the server logs a request that it did not answer") {
            server.log.any { "/infer\"" in it && "\"kind\":" in it && "\"status\":200" !in it }
        }
        eventually("the call is counted as one that failed") { client.stats.value.failures == 1L }
        assertEquals(0, client.stats.value.inferences)
    }

    @Test
    fun `a timeout ends a call`() = stuck { _, proxy, client ->
        assertNull(withTimeoutOrNull(2_000) { client.infer(sample.bytes) })
        proxy.reset.awaitOr("the stream was reset")
    }

    @Test
    fun `a cancelled future resets its stream`() = stuck { _, proxy, client ->
        val future = client.inferAsync(sample.bytes)
        proxy.held.awaitOr("the photo was sent")
        future.cancel(true)
        proxy.reset.awaitOr("the stream was reset")
    }

    @Test
    fun `closing ends calls under way with the kind cancelled`() = stuck { _, proxy, client ->
        val frame = client.stage(sample.bytes)
        val call = async(start = CoroutineStart.UNDISPATCHED) { runCatching { client.infer(frame) } }
        val future = client.inferAsync(frame)
        proxy.held.awaitOr("the photo was sent")
        client.close()
        val failure = assertThrows<DynoException.Cancelled> { call.await().getOrThrow() }
        assertEquals(ErrorKind.CANCELLED, failure.kind)
        val completion = assertThrows<CompletionException> { future.join() }
        assertTrue(completion.cause is DynoException.Cancelled)
        proxy.reset.awaitOr("the stream was reset")
    }

    @Test
    fun `many calls can be closed at once`() = stuck { _, proxy, client ->
        val calls = List(10) { async(Dispatchers.Default) { runCatching { client.infer(sample.bytes) } } }
        proxy.held.awaitOr("a photo was sent")
        client.close()
        for (call in calls) {
            val failure = call.await().exceptionOrNull()
            // Those that had not begun find the client closed.
            assertTrue(failure is DynoException.Cancelled || failure is IllegalStateException) { "$failure" }
        }
    }

    private fun stuck(test: suspend CoroutineScope.(TestServer, HoldingProxy, DynoClient) -> Unit) {
        TestServer().use { server ->
            HoldingProxy(server.port).use { proxy ->
                open {
                    mode = ExecutionMode.ONLY_CLOUD
                    server(proxy.url)
                    remoteDeadlineMaxMs = 60_000
                }.use { client -> runBlocking { test(server, proxy, client) } }
            }
        }
    }
}
