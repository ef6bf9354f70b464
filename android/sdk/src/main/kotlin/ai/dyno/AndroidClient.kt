@file:JvmName("DynoAndroid")
@file:OptIn(DynoInternalApi::class)

package ai.dyno

import android.content.Context
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.future.future
import kotlinx.coroutines.withContext
import java.util.concurrent.CompletableFuture

/**
 * Opens a client for a bundle of the app, and keeps it told of the phone's network.
 *
 * ```
 * val client = DynoClient.open(context, "shapes12") {
 *     server("https://dyno.example.com") { token = BuildConfig.DYNO_TOKEN }
 * }
 * ```
 *
 * A bundle from the assets is copied to the app's storage once (`noBackupFilesDir`), because models
 * are read from files; another copy is made when an update of the app brings another bundle.
 *
 * @param bundle A folder in the app's assets, or the absolute path of a folder.
 * @param settings As in [DynoClient.Builder].
 * @throws DynoException.Io if there is no such folder, or no room for the copy.
 */
public suspend fun DynoClient.Companion.open(
    context: Context,
    bundle: String,
    settings: DynoClient.Builder.() -> Unit = {},
): DynoClient {
    val app = context.applicationContext
    val folder = withContext(Dispatchers.IO) {
        if (DynoNative.isLoaded) DynoNative.install(app)
        BundleFiles.folder(app, bundle)
    }
    return DynoClient.Builder(folder.path).apply(settings).open().also { NetworkWatch.start(app, it) }
}

/** [open] for callers without coroutines; Java calls `DynoAndroid.openAsync(DynoClient.Companion, context, bundle)`. */
@JvmOverloads
public fun DynoClient.Companion.openAsync(
    context: Context,
    bundle: String,
    settings: DynoClient.Builder.() -> Unit = {},
): CompletableFuture<DynoClient> =
    CoroutineScope(Dispatchers.IO).future { DynoClient.open(context, bundle, settings) }
