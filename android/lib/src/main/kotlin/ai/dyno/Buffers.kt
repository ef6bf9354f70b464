package ai.dyno

import java.nio.ByteBuffer

/**
 * The bytes between position and limit, as the boundary can read them: direct, and at the start of
 * their buffer, because what crosses it is the buffer's first address.
 */
internal fun ByteBuffer.forBoundary(): ByteBuffer = when {
    !isDirect -> ByteBuffer.allocateDirect(remaining()).also { it.put(duplicate()).flip() }
    position() == 0 -> this
    else -> slice()
}

internal fun ByteArray.toDirectBuffer(): ByteBuffer =
    ByteBuffer.allocateDirect(size).also { it.put(this).flip() }
