package ai.dyno

import java.nio.Buffer
import java.nio.ByteBuffer

/**
 * The bytes between position and limit, as the boundary can read them: direct, and at the start of
 * their buffer, because what crosses it is the buffer's first address.
 */
internal fun ByteBuffer.forBoundary(): ByteBuffer = when {
    !isDirect -> ByteBuffer.allocateDirect(remaining()).put(duplicate()).flipped()
    position() == 0 -> this
    else -> slice()
}

internal fun ByteArray.toDirectBuffer(): ByteBuffer = ByteBuffer.allocateDirect(size).put(this).flipped()

/**
 * Runs [call] with this buffer, which is reachable until it has returned: what crosses the boundary is
 * an address, and a buffer that nothing refers to may be freed while the other side reads it.
 */
internal inline fun <T> ByteBuffer.kept(call: (ByteBuffer) -> T): T {
    try {
        return call(this)
    } finally {
        Reachable.until(this)
    }
}

/** What `Reference.reachabilityFence` does, which came to Android with API 28. */
internal object Reachable {
    @Volatile
    private var seen: Any? = null

    /** [buffer] is in use until here. */
    fun until(buffer: ByteBuffer) {
        seen = buffer
        seen = null
    }
}

/**
 * Flips the buffer by the method that every Android has: Java 9 gave [ByteBuffer] one of its own,
 * which came to Android with API 28.
 */
private fun ByteBuffer.flipped(): ByteBuffer {
    val buffer: Buffer = this
    buffer.flip()
    return this
}
