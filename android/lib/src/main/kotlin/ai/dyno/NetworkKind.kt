package ai.dyno

import ai.dyno.ffi.NetworkKind as Native

/** The kind of network that carries the default route. */
public enum class NetworkKind {
    /**
     * No network: nothing is sent until another kind is reported. Also what an app reports while it
     * is in the background.
     */
    NONE,

    /** Wi-Fi. */
    WIFI,

    /** A mobile network of any generation. */
    CELLULAR,

    /** A cable. */
    ETHERNET,

    /** Whatever else carries packets; what is assumed until the app says more. */
    OTHER,
}

internal fun NetworkKind.toNative(): Native = when (this) {
    NetworkKind.NONE -> Native.NONE
    NetworkKind.WIFI -> Native.WIFI
    NetworkKind.CELLULAR -> Native.CELLULAR
    NetworkKind.ETHERNET -> Native.ETHERNET
    NetworkKind.OTHER -> Native.OTHER
}

internal fun Native.toPublic(): NetworkKind = when (this) {
    Native.NONE -> NetworkKind.NONE
    Native.WIFI -> NetworkKind.WIFI
    Native.CELLULAR -> NetworkKind.CELLULAR
    Native.ETHERNET -> NetworkKind.ETHERNET
    Native.OTHER -> NetworkKind.OTHER
}
