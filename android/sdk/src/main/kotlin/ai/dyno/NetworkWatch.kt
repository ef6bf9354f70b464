@file:OptIn(DynoInternalApi::class)

package ai.dyno

import android.content.Context
import android.net.ConnectivityManager
import android.net.Network
import android.net.NetworkCapabilities
import android.os.Build
import android.util.Log
import java.lang.ref.WeakReference

/**
 * Tells a client of the network that carries the default route.
 *
 * The system holds the callback for as long as it is registered, so the callback does not hold the
 * client: one that is forgotten can be collected, and the callback goes at the next change.
 */
internal class NetworkWatch private constructor(
    private val connectivity: ConnectivityManager,
    client: DynoClient,
) : ConnectivityManager.NetworkCallback() {
    private val client = WeakReference(client)

    /** What the client was told of last. */
    internal var told: Triple<Network?, NetworkKind, Boolean>? = null
        private set

    override fun onAvailable(network: Network) {
        // From Android 8 on the capabilities follow by themselves.
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.O) look()
    }

    override fun onCapabilitiesChanged(network: Network, capabilities: NetworkCapabilities) {
        val metered = !capabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED) &&
            !(Build.VERSION.SDK_INT >= Build.VERSION_CODES.R &&
                capabilities.hasCapability(NetworkCapabilities.NET_CAPABILITY_TEMPORARILY_NOT_METERED))
        tell(network, kindOf(capabilities), metered)
    }

    override fun onLost(network: Network) {
        tell(null, NetworkKind.NONE, metered = false)
    }

    private fun tell(network: Network?, kind: NetworkKind, metered: Boolean) {
        val client = client.get() ?: return stop()
        // Capabilities change with the signal's strength as well, which is no other network; one Wi-Fi after another is.
        val now = Triple(network, kind, metered)
        if (told == now) return
        told = now
        try {
            client.onNetworkChanged(kind, metered)
        } catch (_: IllegalStateException) {
            // Closed; whoever closes it stops this watch.
        } catch (_: DynoException) {
            // Closed at this very moment.
        }
    }

    /** Tells of the network as it is now. */
    private fun look() {
        val network = connectivity.activeNetwork ?: return tell(null, NetworkKind.NONE, metered = false)
        connectivity.getNetworkCapabilities(network)?.let { onCapabilitiesChanged(network, it) }
    }

    private fun stop() {
        connectivity.unregisterNetworkCallback(this)
    }

    companion object {
        /** Watches until [client] is closed. */
        fun start(context: Context, client: DynoClient) {
            val connectivity = context.getSystemService(ConnectivityManager::class.java) ?: return
            val watch = NetworkWatch(connectivity, client)
            try {
                // Before the first callback comes: the first call may be on a network that costs money.
                watch.look()
                connectivity.registerDefaultNetworkCallback(watch)
            } catch (refused: RuntimeException) {
                // Android 11 throws SecurityException at random here, and any version when an app has too many callbacks.
                Log.w("dyno", "the network is not watched: tell the client with onNetworkChanged", refused)
                return
            }
            client.onClose { watch.stop() }
        }

        private fun kindOf(capabilities: NetworkCapabilities): NetworkKind = when {
            capabilities.hasTransport(NetworkCapabilities.TRANSPORT_WIFI) -> NetworkKind.WIFI
            capabilities.hasTransport(NetworkCapabilities.TRANSPORT_CELLULAR) -> NetworkKind.CELLULAR
            capabilities.hasTransport(NetworkCapabilities.TRANSPORT_ETHERNET) -> NetworkKind.ETHERNET
            else -> NetworkKind.OTHER
        }
    }
}
