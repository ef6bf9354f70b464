package ai.dyno

import java.nio.Buffer
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

    /**
     * Runs [use] with a buffer of [bytes], which is its own until it ends; from its start again,
     * whatever was written to it.
     */
    inline fun <F, T> filled(bytes: Int, fill: (ByteBuffer) -> F, use: (ByteBuffer) -> T): T {
        val buffer = take(bytes)
        try {
            fill(buffer)
            reset(buffer, bytes)
            return use(buffer)
        } finally {
            giveBack(buffer)
        }
    }

    fun take(bytes: Int): ByteBuffer {
        val found = synchronized(free) {
            free.removeAll { it.capacity() / MUCH_LARGER > bytes }
            // By its place: buffers are equal where their bytes are.
            val at = free.indexOfFirst { it.capacity() >= bytes }
            if (at >= 0) free.removeAt(at) else null
        }
        return (found ?: ByteBuffer.allocateDirect(bytes)).also { reset(it, bytes) }
    }

    fun giveBack(buffer: ByteBuffer) {
        synchronized(free) {
            if (free.size == MOST) free.removeFirst()
            free.addLast(buffer)
        }
    }

    /** By the methods of [Buffer], which every Android has; those of [ByteBuffer] came with API 28. */
    fun reset(buffer: Buffer, bytes: Int) {
        buffer.clear()
        buffer.limit(bytes)
    }
}
