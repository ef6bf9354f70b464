package ai.dyno.testing

import java.io.DataInputStream
import java.io.OutputStream
import java.net.InetAddress
import java.net.ServerSocket
import java.net.Socket
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.CountDownLatch
import kotlin.concurrent.thread

/**
 * Stands between a client and a server, and keeps back the last piece of every request's body: a
 * request that comes through it has begun, and cannot be answered. It tells which streams the client
 * reset, and passes the resets on.
 *
 * It reads the frames of HTTP/2 (RFC 9113, section 4.1).
 */
class HoldingProxy(private val serverPort: Int) : AutoCloseable {
    private val listener = ServerSocket(0, 50, InetAddress.getLoopbackAddress())
    private val sockets = CopyOnWriteArrayList<Socket>()

    /** Counted down when the last piece of a body has come. */
    val held = CountDownLatch(1)

    /** Counted down when the client has reset a stream. */
    val reset = CountDownLatch(1)

    val url: String get() = "http://127.0.0.1:${listener.localPort}"

    init {
        thread(isDaemon = true) {
            while (!listener.isClosed) serve(runCatching { listener.accept() }.getOrNull() ?: break)
        }
    }

    private fun serve(client: Socket) {
        val server = Socket(InetAddress.getLoopbackAddress(), serverPort)
        sockets += listOf(client, server)
        relay(client, server) { requests(DataInputStream(client.getInputStream()), server.getOutputStream()) }
        relay(client, server) { server.getInputStream().copyTo(client.getOutputStream()) }
    }

    private fun relay(one: Socket, other: Socket, copy: () -> Unit) {
        thread(isDaemon = true) {
            // Whichever side ends, ends both.
            runCatching(copy)
            one.close()
            other.close()
        }
    }

    private fun requests(from: DataInputStream, to: OutputStream) {
        to.write(from.readNBytes(PREFACE_BYTES))
        while (true) {
            val header = from.readNBytes(HEADER_BYTES)
            if (header.size < HEADER_BYTES) return
            val length = (header[0].toInt() and 0xff shl 16) or (header[1].toInt() and 0xff shl 8) or (header[2].toInt() and 0xff)
            val payload = from.readNBytes(length)
            val (type, flags) = header[3].toInt() to header[4].toInt()
            if (type == DATA && flags and END_STREAM != 0) {
                held.countDown()
                continue
            }
            to.write(header + payload)
            to.flush()
            if (type == RST_STREAM) reset.countDown()
        }
    }

    override fun close() {
        listener.close()
        sockets.forEach { it.close() }
    }

    private companion object {
        const val PREFACE_BYTES = 24
        const val HEADER_BYTES = 9
        const val DATA = 0x0
        const val RST_STREAM = 0x3
        const val END_STREAM = 0x1
    }
}
