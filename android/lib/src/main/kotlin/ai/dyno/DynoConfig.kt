package ai.dyno

import ai.dyno.ffi.ClientConfig as NativeConfig
import ai.dyno.ffi.ServerConfig as NativeServer

/** Keeps settings of a server from being read as settings of the client around it. */
@DslMarker
@Target(AnnotationTarget.CLASS)
public annotation class DynoDsl

/**
 * Where the server is, and what lets this client in. Part of [DynoClient.Builder].
 *
 * @property url `https://host[:port]`, or `http://` by prior knowledge of HTTP/2, for tests.
 */
@DynoDsl
public class ServerSettings internal constructor(public val url: String) {
    /** Name of the model on the server, if it is not the bundle's. */
    public var model: String? = null

    /** Sent as `Authorization: Bearer`. */
    public var token: String? = null

    /** Certificate (PEM) of the only authority that is trusted; the system's if null. */
    public var rootCertificatePem: String? = null

    internal fun snapshot(): ServerSettings = ServerSettings(url).also {
        it.model = model
        it.token = token
        it.rootCertificatePem = rootCertificatePem
    }

    internal fun toNative(): NativeServer = NativeServer(url, model, token, rootCertificatePem)
}

/** What a client was opened with; never changes. */
internal class DynoConfig(
    val bundle: String,
    val server: ServerSettings? = null,
    val mode: ExecutionMode = ExecutionMode.AUTO,
    val objective: Objective? = null,
    val plan: Plan? = null,
    val topK: Int = 5,
    val threads: Int = 2,
    val rawOutputs: Boolean = false,
    val remoteDeadlineMaxMs: Int = 5000,
    val onnxRuntime: String? = null,
) {
    fun toNative(): NativeConfig = NativeConfig(
        bundle = bundle,
        server = server?.toNative(),
        mode = mode.toNative(),
        objective = objective?.toNative(),
        plan = plan?.toNative(),
        topK = natural("topK", topK),
        threads = natural("threads", threads),
        rawOutputs = rawOutputs,
        remoteDeadlineMaxMs = natural("remoteDeadlineMaxMs", remoteDeadlineMaxMs),
        onnxruntime = onnxRuntime,
    )
}
