package ai.dyno

import ai.dyno.ffi.Frame

/**
 * A photo at its model's size, ready to be inferred, with [DynoClient.infer], as often as you like.
 *
 * Made by [DynoClient.stage]. It holds the model's input, 8 bits a channel, and nothing of the
 * buffer it was made from. Close it when you are done; one that is forgotten is freed when it is
 * collected.
 */
public class DynoFrame internal constructor(internal val native: Frame) : AutoCloseable {

    /** Lets the pixels go. Inferences under way are not disturbed; closing twice changes nothing. */
    override fun close() {
        native.close()
    }
}
