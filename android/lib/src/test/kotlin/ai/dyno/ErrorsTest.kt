package ai.dyno

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import kotlin.time.Duration.Companion.seconds

/** The kinds of errors are the native side's, and each has its exception. */
class ErrorsTest {
    @Test
    fun `the kinds are the native side's, in its order`() {
        assertEquals(ai.dyno.ffi.ErrorKind.entries.map { it.name }, ErrorKind.entries.map { it.name })
        assertEquals(ai.dyno.ffi.ErrorKind.entries.map { it.toPublic().name }, ErrorKind.entries.map { it.name })
    }

    @Test
    fun `each kind has an exception of its own, which is named like it`() {
        val exceptions = ErrorKind.entries.map { DynoException.of(it, "why", 7000) }
        assertEquals(ErrorKind.entries, exceptions.map { it.kind })
        assertEquals(ErrorKind.entries.map { it.code }, exceptions.map { snakeCase(it.javaClass.simpleName) })
        assertEquals(exceptions.size, DynoException::class.java.permittedOrNested().size)
    }

    @Test
    fun `an exception says why and for how long to wait`() {
        val failure = DynoException.of(ErrorKind.OVERLOADED, "no room", 7000)
        assertTrue(failure is DynoException.Overloaded)
        assertEquals("no room", failure.message)
        assertEquals(7.seconds, failure.retryAfter)
        assertNull(DynoException.Unreachable("no route").retryAfter)
    }

    @Test
    fun `modes, networks, metrics and formats are the native side's`() {
        assertEquals(ai.dyno.ffi.ExecutionMode.entries.map { it.name }, ExecutionMode.entries.map { it.toNative().name })
        assertEquals(ai.dyno.ffi.NetworkKind.entries.map { it.name }, NetworkKind.entries.map { it.toNative().name })
        assertEquals(ai.dyno.ffi.Metric.entries.map { it.name }, Metric.entries.map { it.name })
        assertEquals(ai.dyno.ffi.RanOn.entries.map { it.name }, RanOn.entries.map { it.name })
        assertEquals(ai.dyno.ffi.Keep.entries.map { it.name }, Keep.entries.map { it.name })
        assertEquals(ai.dyno.ffi.PixelFormat.entries.map { it.name }, PixelFormat.entries.map { it.name })
        assertEquals(ai.dyno.ffi.Orientation.entries.map { it.name }, Orientation.entries.map { it.name })
        assertEquals(ai.dyno.ffi.YuvColour.entries.map { it.name }, YuvColour.entries.map { it.name })
        assertEquals(ai.dyno.ffi.ElementType.entries.map { it.name }, ElementType.entries.map { it.name })
    }

    private fun snakeCase(name: String) = name.replace(Regex("(?<!^)([A-Z])"), "_$1").lowercase()

    private fun Class<*>.permittedOrNested() = declaredClasses.filter { it.superclass == this }
}
