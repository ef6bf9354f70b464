package ai.dyno

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File
import java.io.PrintWriter
import java.io.StringWriter
import java.util.spi.ToolProvider

/**
 * What a JVM has and an Android of API 24 has not, where the compiler here cannot tell.
 *
 * Java 9 gave [java.nio.ByteBuffer] its own `flip`, `clear` and the like, and code that is compiled
 * against it calls these; Android has them from API 28 on. A call has to go to [java.nio.Buffer]'s.
 */
class OldAndroidTest {
    @Test
    fun `no class calls what ByteBuffer got with API 28`() {
        val classes = listOf("../lib", ".").flatMap { module ->
            File("$module/target/classes").walk().filter { it.extension == "class" }
        }
        assertTrue("${classes.size} classes", classes.size > 50)
        val code = StringWriter()
        val javap = ToolProvider.findFirst("javap").get()
        val arguments = listOf("-p", "-c") + classes.map { it.path }
        assertEquals(0, javap.run(PrintWriter(code), PrintWriter(System.err), *arguments.toTypedArray()))
        assertEquals(emptyList<String>(), code.toString().lines().filter { TOO_NEW.containsMatchIn(it) })
    }

    private companion object {
        val TOO_NEW = Regex("java/nio/(\\w+)Buffer\\.(flip|clear|limit|position|rewind|mark|reset):\\(I?\\)Ljava/nio/\\1Buffer;")
    }
}
