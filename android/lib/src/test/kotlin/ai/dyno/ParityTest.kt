package ai.dyno

import ai.dyno.testing.World
import ai.dyno.testing.World.needed
import kotlinx.coroutines.runBlocking
import org.json.JSONArray
import org.json.JSONObject
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.DynamicTest
import org.junit.jupiter.api.DynamicTest.dynamicTest
import org.junit.jupiter.api.TestFactory
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable
import java.io.File
import java.nio.ByteBuffer

/**
 * The scenarios that Rust, Kotlin and Swift play alike: `bindings/parity/scenarios.json`, in the world
 * that the bindings' example `sdk_world` makes.
 */
@EnabledIfEnvironmentVariable(named = "DYNO_SDK_SCENARIOS", matches = ".+")
class ParityTest {
    private val inputs by lazy { objects(JSONArray(File(needed("DYNO_SDK_INPUTS"), "inputs.json").readText())) }

    @TestFactory
    fun scenarios(): List<DynamicTest> {
        val rows = objects(JSONArray(File(needed("DYNO_SDK_SCENARIOS")).readText()))
        assertTrue(rows.isNotEmpty())
        return rows.mapIndexed { at, row ->
            dynamicTest(row.getString("name")) { runBlocking { play(row, inputs[at % inputs.size]) } }
        }
    }

    private suspend fun play(row: JSONObject, input: JSONObject, plays: Int = 1) {
        val expect = row.getJSONObject("expect")
        val opened = runCatching { open(row) }
        expect.text("open_error")?.let { return assertEquals(it, kindOf(opened)) }
        opened.getOrThrow().use { client ->
            if (row.getString("network") == "offline") client.onNetworkChanged(NetworkKind.NONE, metered = false)
            val answered = runCatching { client.infer(row.getString("input"), input) }
            // On a busy machine the device may be faster than the server, or the server still busy with such a play: not
            // what is asked.
            val late = answered.getOrNull()?.fallback?.kind in setOf(ErrorKind.DEADLINE_EXCEEDED, ErrorKind.OVERLOADED)
            if (late && expect.text("fallback") == null && plays < MAX_PLAYS) return play(row, input, plays + 1)
            expect.text("error")?.let { return assertEquals(it, kindOf(answered)) }
            val answer = answered.getOrThrow()
            assertEquals(expect.getString("ran_on"), answer.ranOn.name.lowercase(), answer.reason)
            assertEquals(expect.text("fallback"), answer.fallback?.kind?.code, answer.reason)
            assertEquals(input.getString("label"), answer.best?.label)
        }
    }

    private suspend fun open(row: JSONObject): DynoClient = DynoClient.open(World.bundle) {
        mode = ExecutionMode.valueOf(row.getString("mode"))
        plan = row.text("plan")?.let(::planOf)
        when (val network = row.getString("network")) {
            "none" -> noServer()
            "up", "offline" -> server(needed("DYNO_SDK_URL_UP"))
            "keyed" -> server(needed("DYNO_SDK_URL_KEYED")) { token = needed("DYNO_SDK_TOKEN") }
            "wrong_token" -> server(needed("DYNO_SDK_URL_KEYED")) { token = "wrong" }
            "dead" -> server(needed("DYNO_SDK_URL_DEAD"))
            "other" -> server(needed("DYNO_SDK_URL_OTHER"))
            "silent" -> {
                server(needed("DYNO_SDK_URL_SILENT"))
                remoteDeadlineMaxMs = 300
            }
            else -> error("the scenarios have a network that this test does not know: $network")
        }
    }

    private fun planOf(text: String): Plan = text.split(':', limit = 2).let { parts ->
        when (parts[0]) {
            "device" -> Plan.Device
            "photo" -> Plan.Photo(parts[1])
            "split" -> parts[1].split(':').let { (cut, levels, codec) -> Plan.Split(cut.toInt(), levels.toIntOrNull(), codec) }
            else -> error("the scenarios have a plan that this test does not know: $text")
        }
    }

    private suspend fun DynoClient.infer(kind: String, input: JSONObject): Inference {
        val (width, height) = input.getInt("width") to input.getInt("height")
        fun file(extension: String) = File(needed("DYNO_SDK_INPUTS"), "${input.getString("name")}.$extension").readBytes()
        fun layout(format: PixelFormat) = PixelLayout(width, height, format)
        return when (kind) {
            "rgba" -> infer(file("rgba").direct(), layout(PixelFormat.RGBA8))
            "bgra" -> infer(file("bgra").direct(), layout(PixelFormat.BGRA8))
            "rgb" -> infer(file("rgb").direct(), layout(PixelFormat.RGB8))
            "short_buffer" -> infer(file("rgba").dropLast(1).toByteArray().direct(), layout(PixelFormat.RGBA8))
            "encoded" -> infer(file("png"))
            "not_an_image" -> infer("no image".toByteArray())
            "i420" -> {
                val planes = file("i420").direct()
                val (luma, chroma) = width * height to (width + 1) / 2 * ((height + 1) / 2)
                val y = planes.part(0, luma)
                infer(y, planes.part(luma, chroma), planes.part(luma + chroma, chroma), YuvLayout(width, height))
            }
            "nv21" -> {
                val planes = file("nv21").direct()
                val (luma, stride) = width * height to (width + 1) / 2 * 2
                val chroma = stride * ((height + 1) / 2)
                val layout = YuvLayout(width, height, uvRowStrideBytes = stride, uvPixelStrideBytes = 2)
                infer(planes.part(0, luma), planes.part(luma + 1, chroma - 1), planes.part(luma, chroma), layout)
            }
            else -> error("the scenarios have an input that this test does not know: $kind")
        }
    }

    private fun ByteBuffer.part(from: Int, length: Int): ByteBuffer = duplicate().apply { position(from).limit(from + length) }.slice()

    private fun kindOf(result: Result<*>): String? = (result.exceptionOrNull() as? DynoException)?.kind?.code

    private fun JSONObject.text(name: String): String? = if (isNull(name)) null else getString(name)

    private companion object {
        /** How often a row is played whose server was late. */
        const val MAX_PLAYS = 10
    }

    private fun objects(array: JSONArray): List<JSONObject> = List(array.length(), array::getJSONObject)
}
