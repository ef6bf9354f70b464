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
 * Flips the buffer by the method that every Android has: Java 9 gave [ByteBuffer] one of its own,
 * which came to Android with API 28.
 */
private fun ByteBuffer.flipped(): ByteBuffer {
    val buffer: Buffer = this
    buffer.flip()
    return this
}
