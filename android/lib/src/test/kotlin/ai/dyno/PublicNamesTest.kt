package ai.dyno

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import java.io.File

/**
 * What the compiler's explicit API mode would check, which the generated code beside these files does
 * not pass: every declaration says whether it is public, and every public one says what it is for.
 */
class PublicNamesTest {
    private val sources = listOf("../lib", "../sdk").flatMap { module ->
        File("$module/src/main/kotlin").walk().filter { it.extension == "kt" && "ffi" !in it.path.split('/') }
    }

    @Test
    fun `every declaration says whether it is public, and why it is there if it is`() {
        assertTrue(sources.size > 15)
        assertEquals(emptyList<String>(), sources.flatMap { complaints(it) })
    }

    private fun complaints(file: File): List<String> {
        val lines = file.readLines()
        val complaints = mutableListOf<String>()
        // For each open brace: whether declarations in it can be seen from outside.
        val visible = ArrayDeque(listOf(true))
        var parentheses = 0
        var statement = ""
        for ((at, line) in lines.withIndex()) {
            val code = line.trim()
            if (code.startsWith("*") || code.startsWith("/*") || code.startsWith("//")) continue
            val declaration = DECLARATION.find(code)
            if (parentheses == 0 && visible.last() && declaration != null && "override" !in declaration.value) {
                val where = "${file.name}:${at + 1}: $code"
                if (!VISIBILITY.containsMatchIn(code)) complaints += "$where: no visibility"
                if (code.startsWith("public") && !documented(lines, at)) complaints += "$where: no KDoc"
            }
            if (parentheses > 0 && visible.last()) {
                val property = PARAMETER.find(code)?.groupValues?.get(1)
                if (property != null && lines.none { "@property $property " in it }) complaints += "${file.name}:${at + 1}: no @property $property"
            }
            if (parentheses == 0 && declaration != null) statement = code
            for (char in code) when (char) {
                '(' -> parentheses++
                ')' -> parentheses--
                '{' -> visible.addLast(visible.last() && parentheses == 0 && CONTAINER.containsMatchIn(statement)).also { statement = "" }
                '}' -> visible.removeLast()
            }
        }
        return complaints
    }

    private fun documented(lines: List<String>, at: Int): Boolean =
        lines.subList(0, at).asReversed().first { !it.trim().startsWith("@") }.trim().endsWith("*/")

    private companion object {
        const val MODIFIERS = "(?:(?:public|internal|private|protected|override|sealed|abstract|open|data|enum|annotation|inline|suspend|external|const|companion|lateinit) )*"
        val DECLARATION = Regex("^$MODIFIERS(?:class|object|interface|fun|val|var|typealias|constructor)\\b")
        val VISIBILITY = Regex("^(public|internal|private|protected)\\b")
        val CONTAINER = Regex("^public (?:(?:sealed|abstract|open|data|enum|annotation|companion) )*(?:class|object|interface)\\b")
        val PARAMETER = Regex("^public va[lr] (\\w+)")
    }
}
