package ai.dyno

import android.content.Context
import android.graphics.Bitmap

/**
 * The JNI side of the SDK's library: what needs an object of Android rather than bytes. Apps do not
 * call it; it is public because its name is part of the library's exported symbols.
 */
@DynoInternalApi
public object DynoNative {
    /** Whether the library was loaded; without it, bitmaps go through a buffer. */
    @JvmField
    public val isLoaded: Boolean = try {
        System.loadLibrary("dyno_sdk")
        true
    } catch (_: UnsatisfiedLinkError) {
        false
    }

    /**
     * Hands the app's `Context` to the library: system certificates for TLS, and the log. Once for a
     * process; further calls change nothing.
     */
    @JvmStatic
    public external fun install(context: Context)

    /**
     * Stages a bitmap where its pixels lie. Returns a ticket for [DynoClient.inferTicket], or 0 if
     * the bitmap has to be staged from a buffer. A width of 0 stands for the whole bitmap.
     */
    @JvmStatic
    public external fun stageBitmap(
        client: Long,
        bitmap: Bitmap,
        exifOrientation: Int,
        left: Int,
        top: Int,
        width: Int,
        height: Int,
    ): Long
}
