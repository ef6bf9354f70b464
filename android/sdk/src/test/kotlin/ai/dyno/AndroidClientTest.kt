package ai.dyno

import ai.dyno.testing.World
import android.content.Context
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import kotlinx.coroutines.runBlocking
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.shadows.ShadowNetwork
import org.robolectric.shadows.ShadowNetworkCapabilities
import java.util.concurrent.TimeUnit

/** Clients that are opened with a context: where their bundle comes from, and which network they know of. */
@RunWith(RobolectricTestRunner::class)
class AndroidClientTest {
    private val app: Context get() = RuntimeEnvironment.getApplication()
    private val connectivity get() = app.getSystemService(ConnectivityManager::class.java)!!
    private val callbacks get() = shadowOf(connectivity).networkCallbacks
    private val sample = World.samples.first()

    @Test
    fun `a folder is used where it lies`() = runBlocking {
        DynoClient.open(app, World.bundle) { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
            assertEquals(sample.label, client.infer(sample.bytes).best?.label)
        }
        assertEquals(World.bundle, BundleFiles.folder(app, World.bundle).path)
    }

    @Test
    fun `a future opens a client as well`() {
        DynoClient.openAsync(app, World.bundle).get(60, TimeUnit.SECONDS).close()
    }

    @Test
    fun `a bundle that is not there is an error that says where to put it`() {
        val failure = assertThrows(DynoException.Io::class.java) { runBlocking { DynoClient.open(app, "nothing") } }
        assertTrue(failure.message, "src/main/assets/nothing" in failure.message)
    }

    @Test
    fun `the client is told of the network until it is closed`() = runBlocking<Unit> {
        val before = callbacks.size
        val client = DynoClient.open(app, World.bundle)
        assertEquals(before + 1, callbacks.size)
        val callback = callbacks.single { it is NetworkWatch } as NetworkWatch
        val network = checkNotNull(connectivity.activeNetwork)

        callback.onCapabilitiesChanged(network, capabilities(NetworkCapabilities.TRANSPORT_CELLULAR, metered = true))
        assertEquals(NetworkKind.CELLULAR to true, client.network())
        callback.onCapabilitiesChanged(network, capabilities(NetworkCapabilities.TRANSPORT_WIFI, metered = false))
        assertEquals(NetworkKind.WIFI to false, client.network())
        // Another network of the same kind has another link, and the old connection is gone.
        val other = ShadowNetwork.newInstance(network.hashCode() + 1)
        callback.onCapabilitiesChanged(other, capabilities(NetworkCapabilities.TRANSPORT_WIFI, metered = false))
        assertEquals(Triple(other, NetworkKind.WIFI, false), callback.told)
        callback.onCapabilitiesChanged(network, capabilities(NetworkCapabilities.TRANSPORT_ETHERNET, metered = false))
        assertEquals(NetworkKind.ETHERNET to false, client.network())
        callback.onLost(network)
        assertEquals(NetworkKind.NONE to false, client.network())

        client.close()
        assertEquals(before, callbacks.size)
        callback.onCapabilitiesChanged(network, capabilities(NetworkCapabilities.TRANSPORT_WIFI, metered = false))
    }

    private fun DynoClient.network() = explain().let { it.network to it.metered }

    private fun capabilities(transport: Int, metered: Boolean): NetworkCapabilities =
        ShadowNetworkCapabilities.newInstance().also {
            shadowOf(it).addTransportType(transport)
            if (!metered) shadowOf(it).addCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
        }
}
