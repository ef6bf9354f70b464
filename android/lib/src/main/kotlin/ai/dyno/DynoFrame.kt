package ai.dyno

import ai.dyno.ffi.Frame
import java.util.concurrent.atomic.AtomicBoolean
import java.util.concurrent.atomic.AtomicInteger

/**
 * A photo at its model's size, ready to be inferred, with [DynoClient.infer], as often as you like.
 *
 * Made by [DynoClient.stage]. It holds the model's input, 8 bits a channel, and nothing of the
 * buffer it was made from. Close it when you are done; one that is forgotten is freed when it is
 * collected.
 */
public class DynoFrame internal constructor(private val native: Frame) : AutoCloseable {
    private val closed = AtomicBoolean(false)

    /** Calls that read the pixels, and one for this object until it is closed: the last one frees them. */
    private val uses = AtomicInteger(1)

    /** Lets the pixels go. Inferences under way are not disturbed; closing twice changes nothing. */
    override fun close() {
        if (closed.compareAndSet(false, true)) release()
    }

    /**
     * Runs [call] with the pixels, which stay until it has ended.
     *
     * The generated code checks this for the object that a method is called on, but not for one that
     * is handed to a method: without it, a frame that is closed too soon would crash the process.
     */
    internal inline fun <T> pinned(call: (Frame) -> T): T {
        pin()
        try {
            return call(native)
        } finally {
            release()
        }
    }

    private fun pin() {
        do {
            val now = uses.get()
            check(now > 0 && !closed.get()) { "this DynoFrame is closed: stage the photo again" }
        } while (!uses.compareAndSet(now, now + 1))
    }

    private fun release() {
        if (uses.decrementAndGet() == 0) native.close()
    }
}
