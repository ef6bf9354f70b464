package ai.dyno.sample

import ai.dyno.DynoClient
import ai.dyno.DynoException
import ai.dyno.Inference
import ai.dyno.infer
import ai.dyno.open
import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Build
import android.os.Bundle
import android.provider.MediaStore
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import java.io.IOException

/** Takes or picks a photo and shows what is on it, where that was computed, and what it cost. */
class MainActivity : Activity(), CoroutineScope by MainScope() {
    private lateinit var screen: Screen
    private var client: DynoClient? = null
    private var running: Job? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        screen = Screen(this, onCamera = ::takePhoto, onGallery = ::pickPhoto)
        setContentView(screen.view)
        launch { openClient() }
    }

    override fun onDestroy() {
        cancel()
        client?.close()
        super.onDestroy()
    }

    private suspend fun openClient() {
        try {
            val opened = DynoClient.open(this, BUNDLE) {
                server(SERVER)
            }
            client = opened
            opened.warmUp()
            screen.say("Ready: take or pick a photo.")
        } catch (failed: DynoException) {
            screen.say("The model could not be opened: ${failed.message}")
        }
    }

    private fun takePhoto() = startActivityForResult(Intent(MediaStore.ACTION_IMAGE_CAPTURE), CAMERA)

    private fun pickPhoto() = startActivityForResult(Intent(Intent.ACTION_GET_CONTENT).setType("image/*"), GALLERY)

    @Deprecated("AndroidX has a newer way; this sample does without it.")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        if (resultCode != RESULT_OK || data == null) return
        running?.cancel()
        running = launch {
            val photo = try {
                if (requestCode == CAMERA) data.thumbnail() else data.data?.let { read(it) }
            } catch (failed: IOException) {
                return@launch screen.say("The photo could not be read: ${failed.message}")
            }
            if (photo != null) inferAgainAndAgain(photo)
        }
    }

    /** Infers the photo every now and then, so that the plot shows what the network does. */
    private suspend fun inferAgainAndAgain(photo: Bitmap) {
        val client = client ?: return screen.say("The model is not open yet.")
        screen.showPhoto(photo)
        while (true) {
            try {
                val answer: Inference = client.infer(photo)
                screen.showAnswer(answer)
            } catch (failed: DynoException) {
                screen.say("No answer: ${failed.message}")
            }
            delay(PAUSE_MS)
        }
    }

    private suspend fun read(photo: Uri): Bitmap = withContext(Dispatchers.IO) {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) {
            ImageDecoder.decodeBitmap(ImageDecoder.createSource(contentResolver, photo)) { decoder, info, _ ->
                // A bitmap whose pixels can be read where they lie, no larger than the screen needs.
                decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
                decoder.setTargetSampleSize(maxOf(1, maxOf(info.size.width, info.size.height) / MAX_SIDE_PX))
            }
        } else {
            @Suppress("DEPRECATION")
            MediaStore.Images.Media.getBitmap(contentResolver, photo)
        }
    }

    @Suppress("DEPRECATION")
    private fun Intent.thumbnail(): Bitmap? = getParcelableExtra("data")

    private companion object {
        /** The folder in the app's assets that `dyno prepare` made. */
        const val BUNDLE = "shapes12"

        /** The developer's machine, as the emulator sees it; see README.md for a phone. */
        const val SERVER = "http://10.0.2.2:8477"

        const val CAMERA = 1
        const val GALLERY = 2
        const val PAUSE_MS = 500L
        const val MAX_SIDE_PX = 1024
    }
}
