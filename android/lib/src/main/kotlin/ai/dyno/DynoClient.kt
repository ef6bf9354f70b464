package ai.dyno

import ai.dyno.ffi.NativeClient
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.future.future
import kotlinx.coroutines.withContext
import java.nio.ByteBuffer
import java.util.concurrent.CompletableFuture
import java.util.concurrent.atomic.AtomicBoolean
import java.util.concurrent.atomic.AtomicReference

/**
 * Runs inferences of one model, on this device, on a server, or the first layers here and the rest
 * there.
 *
 * ```
 * val client = DynoClient.open(bundleFolder) {
 *     server("https://dyno.example.com") { token = "…" }
 * }
 * val answer = client.infer(jpegBytes)
 * println("${answer.best?.label} from ${answer.ranOn}: ${answer.reason}")
 * ```
 *
 * Keep one client for as long as the app needs the model, and share it: every member may be called
 * from any thread, and calls run at once. The `infer` functions never block on the model or the
 * network. Those that take pixels read them on the calling thread before they first suspend, so
 * that a camera's buffer can be given back as soon as the call has suspended or returned.
 *
 * Cancelling the coroutine stops the work: the run on the device ends at the next operator, and the
 * request's stream is reset.
 *
 * Members throw [DynoException]; after [close] they throw [IllegalStateException].
 */
public class DynoClient internal constructor(
    private val native: NativeClient,
    private val config: DynoConfig,
) : AutoCloseable {

    private val closed = AtomicBoolean(false)
    private val whenClosed = AtomicReference<(() -> Unit)?>()
    private val door by lazy { native.door().toLong() }
    private val statistics by lazy {
        val flow = MutableStateFlow(native.stats().toPublic())
        native.setStatsListener(StatsFeed(flow))
        flow.asStateFlow()
    }

    /** What this client knows of its model. */
    public val model: ModelInfo = translating { native.model().toPublic() }

    /**
     * What this client has done so far. Changes after inferences, at most ten times a second; costs
     * nothing until it is first looked at.
     */
    public val stats: StateFlow<DynoStats> get() = calling { statistics }

    /**
     * Infers interleaved pixels, from the buffer's position to its limit, which stay as they are.
     *
     * A direct buffer is read where it lies, in one pass that crops, turns, resizes and converts; a
     * heap buffer is copied into a direct one first. The pass takes about as long as copying the
     * pixels (a millisecond or two for 1080p), on the calling thread.
     */
    public suspend fun infer(pixels: ByteBuffer, layout: PixelLayout): Inference =
        stage(pixels, layout).use { infer(it) }

    /** Infers a YUV 4:2:0 picture from its three planes, read as [infer] reads interleaved pixels. */
    public suspend fun infer(y: ByteBuffer, u: ByteBuffer, v: ByteBuffer, layout: YuvLayout): Inference =
        stage(y, u, v, layout).use { infer(it) }

    /**
     * Infers a JPEG, PNG or WebP file's bytes. They are copied before the call suspends; decoding
     * happens on another thread.
     */
    public suspend fun infer(encoded: ByteArray): Inference {
        val bytes = encoded.toDirectBuffer()
        // Inferred inside, so that no frame is on its way when a call is cancelled.
        return withContext(Dispatchers.Default) { stageEncoded(bytes).use { infer(it) } }
    }

    /** Infers a staged frame, which stays open. */
    public suspend fun infer(frame: DynoFrame): Inference =
        calling { frame.pinned { native.infer(it).toPublic() } }

    /** Brings pixels to the model's size on the calling thread, for one or several [infer] calls. */
    public fun stage(pixels: ByteBuffer, layout: PixelLayout): DynoFrame = calling {
        DynoFrame(pixels.forBoundary().kept { native.stage(it, layout.toNative()) })
    }

    /** The same from the three planes of a YUV 4:2:0 picture. */
    public fun stage(y: ByteBuffer, u: ByteBuffer, v: ByteBuffer, layout: YuvLayout): DynoFrame = calling {
        y.forBoundary().kept { luma ->
            u.forBoundary().kept { blue ->
                v.forBoundary().kept { red -> DynoFrame(native.stageYuv(luma, blue, red, layout.toNative())) }
            }
        }
    }

    /** The same from a JPEG, PNG or WebP file's bytes; decodes, so off the main thread. */
    public fun stage(encoded: ByteArray): DynoFrame = calling { stageEncoded(encoded.toDirectBuffer()) }

    /** [infer] for callers without coroutines. Cancelling the future cancels the inference. */
    public fun inferAsync(pixels: ByteBuffer, layout: PixelLayout): CompletableFuture<Inference> =
        asFuture { infer(pixels, layout) }

    /** [infer] for callers without coroutines. */
    public fun inferAsync(y: ByteBuffer, u: ByteBuffer, v: ByteBuffer, layout: YuvLayout): CompletableFuture<Inference> =
        asFuture { infer(y, u, v, layout) }

    /** [infer] for callers without coroutines. */
    public fun inferAsync(encoded: ByteArray): CompletableFuture<Inference> = asFuture { infer(encoded) }

    /** [infer] for callers without coroutines. */
    public fun inferAsync(frame: DynoFrame): CompletableFuture<Inference> = asFuture { infer(frame) }

    /**
     * Opens the connection and builds what the first inference needs, so that it waits for neither.
     *
     * Fails if the model cannot be run; if the server cannot be reached, only in modes in which
     * nothing else answers.
     */
    public suspend fun warmUp(): Unit = calling { native.warmUp() }

    /** [warmUp] for callers without coroutines. */
    public fun warmUpAsync(): CompletableFuture<Unit> = asFuture { warmUp() }

    /** The plan that a call would follow now, every plan it was chosen from, and why. */
    public fun explain(): Explanation = calling { native.explain().toPublic() }

    /**
     * Tells the client which network carries the default route now, and whether bytes cost money
     * there. The next request opens a new connection; requests under way are left to the device.
     * Clients that were opened with a `Context` do this themselves; those of a [newBuilder] do not.
     */
    public fun onNetworkChanged(kind: NetworkKind, metered: Boolean): Unit =
        calling { native.onNetworkChanged(kind.toNative(), metered) }

    /**
     * Settings for another client that start from this one's. The other one loads the model again
     * and learns about networks anew.
     */
    public fun newBuilder(): Builder = Builder(config)

    /**
     * Ends every call with [DynoException.Cancelled] and frees the model's memory, in the background.
     * Closing twice changes nothing. A client that is forgotten is freed when it is collected.
     */
    override fun close() {
        if (closed.compareAndSet(false, true)) {
            try {
                translating { native.shutdown() }
            } finally {
                native.close()
                whenClosed.getAndSet(null)?.invoke()
            }
        }
    }

    /** Has [action] run once, when this client is closed; at once if it is closed already. */
    @DynoInternalApi
    public fun onClose(action: () -> Unit) {
        whenClosed.set(action)
        if (closed.get()) whenClosed.getAndSet(null)?.invoke()
    }

    /** The number by which [DynoNative] finds this client. */
    @DynoInternalApi
    public fun door(): Long = calling { door }

    /** Infers a frame that [DynoNative] staged. */
    @DynoInternalApi
    public suspend fun inferTicket(ticket: Long): Inference =
        calling { native.inferTicket(ticket.toULong()).toPublic() }

    internal fun openStream(keep: Keep, maxInFlight: Int) =
        calling { native.openStream(keep.toOptions(maxInFlight)) }

    /** Runs [call] as a future, up to its first suspension on the calling thread. */
    private fun <T> asFuture(call: suspend () -> T): CompletableFuture<T> =
        CoroutineScope(Dispatchers.Default).future(start = CoroutineStart.UNDISPATCHED) { call() }

    private fun stageEncoded(bytes: ByteBuffer) = calling { DynoFrame(bytes.kept { native.stageEncoded(it) }) }

    private fun checkOpen() = check(!closed.get()) { CLOSED }

    private inline fun <T> calling(call: () -> T): T {
        checkOpen()
        return translating(call)
    }

    /** Settings of a client that is to be opened; Kotlin sets them in the block of [DynoClient.open]. */
    @DynoDsl
    public class Builder internal constructor(from: DynoConfig) {

        /** Settings for the bundle in the folder [bundle], which `dyno prepare` made. */
        public constructor(bundle: String) : this(DynoConfig(bundle))

        /** Folder of the bundle. */
        public var bundle: String = from.bundle

        /** Where an inference may run. */
        public var mode: ExecutionMode = from.mode

        /** What is optimised, and the limits to keep; null for least server time within 100 ms. */
        public var objective: Objective? = from.objective

        /** This plan instead of the planner's choice: for tests and measurements. */
        public var plan: Plan? = from.plan

        /** Labels in an answer, 1 to 100. */
        public var topK: Int = from.topK

        /** Threads that run one inference together, 1 to 16. */
        public var threads: Int = from.threads

        /** Whether classifiers return their output tensors as well. Other models always do. */
        public var rawOutputs: Boolean = from.rawOutputs

        /** Longest time that any one request is given, in milliseconds, 1 to 60000. */
        public var remoteDeadlineMaxMs: Int = from.remoteDeadlineMaxMs

        /** Path of ONNX Runtime's library; by its usual name if null. The first client of a process decides. */
        public var onnxRuntime: String? = from.onnxRuntime

        private var server: ServerSettings? = from.server?.snapshot()

        /** Gives the client a server, instead of any given before; returns its settings, for Java. */
        @JvmOverloads
        public fun server(url: String, settings: ServerSettings.() -> Unit = {}): ServerSettings =
            ServerSettings(url).apply(settings).also { server = it }

        /** Leaves everything to the device, as if no server had been given. */
        public fun noServer() {
            server = null
        }

        /**
         * Opens the client: reads the bundle and loads ONNX Runtime, on a thread for such work.
         * Connects to nothing.
         *
         * Fails with [DynoException.InvalidBundle] or [DynoException.Io] if the bundle cannot be
         * read, [DynoException.Runtime] if ONNX Runtime cannot be loaded,
         * [DynoException.InvalidArgument] if the settings make no sense.
         */
        public suspend fun open(): DynoClient {
            val config = build()
            var opened: DynoClient? = null
            try {
                return withContext(Dispatchers.IO) { openNow(config).also { opened = it } }
            } catch (cancelled: CancellationException) {
                opened?.close()
                throw cancelled
            }
        }

        /** [open] on the calling thread, which it holds up for some 100 ms. */
        public fun openBlocking(): DynoClient = openNow(build())

        /** [open] for callers without coroutines. */
        public fun openAsync(): CompletableFuture<DynoClient> {
            val settled = Builder(build())
            return CoroutineScope(Dispatchers.IO).future { settled.open() }
        }

        private fun build() = DynoConfig(
            bundle, server?.snapshot(), mode, objective, plan, topK, threads, rawOutputs, remoteDeadlineMaxMs, onnxRuntime,
        )

        private fun openNow(config: DynoConfig): DynoClient =
            translating { DynoClient(NativeClient.open(config.toNative()), config) }
    }

    /** Opens clients. */
    public companion object {
        /** Opens a client for the bundle in the folder [bundle]; see [Builder.open]. */
        public suspend fun open(bundle: String, settings: Builder.() -> Unit = {}): DynoClient =
            Builder(bundle).apply(settings).open()
    }
}
