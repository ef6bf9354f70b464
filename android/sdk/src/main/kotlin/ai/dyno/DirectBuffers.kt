package ai.dyno

import java.nio.ByteBuffer

/**
 * Direct buffers that are used again: the system frees them late, and a camera's worth of them fast
 * is a lot of memory.
 *
 * Holds two at most, and none that is much larger than what was last asked for.
 */
internal object DirectBuffers {
    private const val MOST = 2
    private const val MUCH_LARGER = 4

    private val free = ArrayDeque<ByteBuffer>()

    /** Runs [use] with an empty buffer with room for [bytes], which is its own until it ends. */
    inline fun <T> borrow(bytes: Int, use: (ByteBuffer) -> T): T {
        val buffer = take(bytes)
        try {
            return use(buffer)
        } finally {
            giveBack(buffer)
        }
    }

    fun take(bytes: Int): ByteBuffer {
        val found = synchronized(free) {
            free.removeAll { it.capacity() / MUCH_LARGER > bytes }
            free.firstOrNull { it.capacity() >= bytes }?.also { free.remove(it) }
        }
        val buffer = found ?: ByteBuffer.allocateDirect(bytes)
        buffer.clear()
        buffer.limit(bytes)
        return buffer
    }

    fun giveBack(buffer: ByteBuffer) {
        synchronized(free) {
            if (free.size == MOST) free.removeFirst()
            free.addLast(buffer)
        }
    }
}
