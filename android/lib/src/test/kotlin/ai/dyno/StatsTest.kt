package ai.dyno

import ai.dyno.testing.PATIENCE_SECONDS
import ai.dyno.testing.TestServer
import ai.dyno.testing.World
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotNull
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows

/** What a client tells of itself: statistics and explanations. */
class StatsTest {
    private val sample = World.samples.first()

    @Test
    fun `statistics begin at nothing and follow the answers`() = runBlocking {
        open { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            val before = client.stats.value
            assertEquals(0, before.inferences)
            assertNull(before.latencyP50Ms)
            repeat(3) { client.infer(sample.bytes) }
            val after = withTimeout(PATIENCE_SECONDS * 1000) { client.stats.first { it.inferences == 3L } }
            assertEquals(3, after.onDevice)
            assertEquals(0, after.failures)
            assertNotNull(after.latencyP50Ms)
            assertEquals(Plan.Device, after.plan)
        }
    }

    @Test
    fun `statistics count failures and bytes`() = runBlocking {
        TestServer().use { server ->
            open {
                mode = ExecutionMode.ONLY_CLOUD
                server(server.url)
            }.use { client ->
                val sent = client.infer(sample.bytes).bytesUp
                assertTrue(sent > 0)
                client.onNetworkChanged(NetworkKind.NONE, metered = false)
                assertThrows<DynoException> { client.infer(sample.bytes) }
                val stats = withTimeout(PATIENCE_SECONDS * 1000) { client.stats.first { it.failures == 1L } }
                assertEquals(1, stats.onServer)
                assertEquals(sent, stats.bytesUp)
                assertEquals(NetworkKind.NONE, stats.network)
            }
        }
    }

    @Test
    fun `an explanation holds every plan and why one was chosen`() {
        open {
            server("http://127.0.0.1:1")
            objective = Objective.minimise(Metric.LATENCY, limits = Limits(meteredBytesPerDay = 1_000_000))
        }.use { client ->
            client.onNetworkChanged(NetworkKind.CELLULAR, metered = true)
            val explanation = client.explain()
            assertEquals(NetworkKind.CELLULAR, explanation.network)
            assertTrue(explanation.metered)
            assertTrue(explanation.reason.isNotEmpty())
            assertTrue("latency" in explanation.objective)
            assertTrue(explanation.plans.any { it.plan == Plan.Device })
            assertTrue(explanation.plans.any { it.plan is Plan.Split })
            assertTrue(explanation.plans.all { it.verdict.isNotEmpty() })
            assertTrue(explanation.plans.any { it.plan == explanation.chosen })
        }
    }
}
