package ai.dyno

import ai.dyno.testing.PATIENCE_SECONDS
import ai.dyno.testing.TestServer
import ai.dyno.testing.World
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import java.util.concurrent.ExecutionException
import java.util.concurrent.TimeUnit

/** Callers without coroutines. */
class JavaCallerTest {
    private val sample = World.samples.first()

    @Test
    fun `Java opens a client and asks it for a label`() {
        TestServer().use { server ->
            JavaCaller.open(World.bundle, server.url, "a-token").get(PATIENCE_SECONDS, TimeUnit.SECONDS).use { client ->
                val label = JavaCaller.label(client, sample.bytes).get(PATIENCE_SECONDS, TimeUnit.SECONDS)
                assertEquals(sample.label, label)
            }
        }
    }

    @Test
    fun `a future fails with what the call throws`() {
        DynoClient.Builder(World.bundle).openBlocking().use { client ->
            client.warmUpAsync().get(PATIENCE_SECONDS, TimeUnit.SECONDS)
            val failure = assertThrows<ExecutionException> {
                client.inferAsync(ByteArray(3)).get(PATIENCE_SECONDS, TimeUnit.SECONDS)
            }
            assertEquals(DynoException.InvalidImage::class, failure.cause!!::class)
        }
    }
}
