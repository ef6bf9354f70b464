package ai.dyno

import ai.dyno.testing.World
import kotlinx.coroutines.runBlocking
import java.nio.ByteBuffer

/**
 * Prints what crossing the boundary costs on this machine: `scripts/test-kotlin.sh --bench`. It judges
 * nothing.
 */
fun main() = runBlocking {
    open { mode = ExecutionMode.ONLY_ON_DEVICE }.use { client ->
        val photo = Photo.of(World.samples.first())
        val pixels = photo.rgba().direct()
        repeat(WARM_UP) { client.infer(pixels, photo.layout()) }

        val added = List(ROUNDS) {
            val started = System.nanoTime()
            val answer = client.infer(pixels, photo.layout())
            Cost(inKotlinMs = millisSince(started), inRustMs = answer.times.totalMs)
        }
        println("infer(pixels), ${photo.width}x${photo.height} RGBA, the shipped model, median of $ROUNDS, in ms")
        println("  called from Kotlin      %.3f".format(added.map { it.inKotlinMs }.median()))
        println("  of it in Rust           %.3f".format(added.map { it.inRustMs }.median()))
        println("  added by the boundary   %.3f".format(added.map { it.inKotlinMs - it.inRustMs }.median()))

        val large = ByteBuffer.allocateDirect(1920 * 1080 * 4)
        val staged = List(ROUNDS / 10) {
            val started = System.nanoTime()
            val frame = client.stage(large, PixelLayout(1920, 1080))
            val inKotlinMs = millisSince(started)
            // Making the tensor of the small frame is in it as well: some hundredths of a millisecond.
            frame.use { Cost(inKotlinMs, inRustMs = client.infer(it).times.preprocessMs) }
        }
        println("stage(pixels), 1920x1080 RGBA in a direct buffer, median of ${staged.size}, in ms")
        println("  called from Kotlin      %.3f".format(staged.map { it.inKotlinMs }.median()))
        println("  in Rust                 %.3f".format(staged.map { it.inRustMs }.median()))
    }
}

private const val WARM_UP = 3_000
private const val ROUNDS = 3_000

private class Cost(val inKotlinMs: Double, val inRustMs: Double)

private fun millisSince(started: Long) = (System.nanoTime() - started) / 1e6

private fun List<Double>.median() = sorted()[size / 2]
