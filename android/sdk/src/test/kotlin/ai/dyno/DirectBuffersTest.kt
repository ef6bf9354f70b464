package ai.dyno

import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotSame
import org.junit.Assert.assertSame
import org.junit.Assert.assertTrue
import org.junit.Test

/** Buffers are lent to one user at a time, and used again. */
class DirectBuffersTest {
    @Test
    fun `no two users have the same buffer, even if its bytes are the same`() {
        val first = DirectBuffers.take(64)
        val second = DirectBuffers.take(64)
        assertNotSame(first, second)
        DirectBuffers.giveBack(first)
        DirectBuffers.giveBack(second)
        val (third, fourth) = DirectBuffers.take(64) to DirectBuffers.take(64)
        assertNotSame(third, fourth)
        DirectBuffers.giveBack(third)
        DirectBuffers.giveBack(fourth)
    }

    @Test
    fun `a buffer is used again, from its start, with the bytes asked for`() {
        val first = DirectBuffers.take(100)
        first.position(50)
        DirectBuffers.giveBack(first)
        val again = DirectBuffers.take(90)
        assertSame(first, again)
        assertEquals(0 to 90, again.position() to again.limit())
        assertTrue(again.isDirect)
        DirectBuffers.giveBack(again)
    }

    @Test
    fun `buffers that are much too large are let go`() {
        val large = DirectBuffers.take(10_000)
        DirectBuffers.giveBack(large)
        val small = DirectBuffers.take(10)
        assertNotSame(large, small)
        assertTrue(small.capacity() < 10_000)
        DirectBuffers.giveBack(small)
    }
}
