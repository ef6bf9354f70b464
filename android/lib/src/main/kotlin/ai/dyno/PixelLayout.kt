package ai.dyno

import ai.dyno.ffi.Orientation as NativeOrientation
import ai.dyno.ffi.PixelFormat as NativeFormat
import ai.dyno.ffi.PixelLayout as NativeLayout
import ai.dyno.ffi.Region as NativeRegion
import ai.dyno.ffi.YuvColour as NativeColour
import ai.dyno.ffi.YuvLayout as NativeYuvLayout

/**
 * Order of the bytes of a pixel.
 *
 * @property bytes Bytes of one pixel.
 */
public enum class PixelFormat(public val bytes: Int) {
    /** Four bytes, the last ignored (Android's `ARGB_8888` bitmaps). */
    RGBA8(4),

    /** Four bytes, the last ignored. */
    BGRA8(4),

    /** Three bytes. */
    RGB8(3),
}

/** How a stored picture has to be turned to be upright: EXIF's eight orientations, in their order. */
public enum class Orientation {
    /** It is upright (EXIF 1). */
    UP,

    /** Mirrored left to right (2). */
    UP_MIRRORED,

    /** By half a turn (3). */
    DOWN,

    /** By half a turn, mirrored (4). */
    DOWN_MIRRORED,

    /** Mirrored, then by a quarter turn (5). */
    LEFT_MIRRORED,

    /** By a quarter turn clockwise (6): 90 degrees of Android. */
    RIGHT,

    /** Mirrored, then by a quarter turn (7). */
    RIGHT_MIRRORED,

    /** By a quarter turn counter-clockwise (8): 270 degrees of Android. */
    LEFT,

    ;

    /** The value of EXIF's tag `Orientation`, 1 to 8. */
    public val exif: Int get() = ordinal + 1

    /** Where orientations come from. */
    public companion object {
        /** The orientation of `ImageInfo.rotationDegrees`, `SENSOR_ORIENTATION` and the like: 0, 90, 180 or 270 clockwise. */
        @JvmStatic
        public fun ofDegrees(degrees: Int): Orientation = when (degrees) {
            0 -> UP
            90 -> RIGHT
            180 -> DOWN
            270 -> LEFT
            else -> throw DynoException.InvalidArgument("a rotation of $degrees degrees: use 0, 90, 180 or 270")
        }

        /** The orientation of EXIF's tag `Orientation`, 1 to 8. */
        @JvmStatic
        public fun ofExif(exif: Int): Orientation = entries.getOrNull(exif - 1)
            ?: throw DynoException.InvalidArgument("an EXIF orientation of $exif: use 1 to 8")
    }
}

/**
 * A part of the stored picture, in its pixels, before it is turned.
 *
 * @property left First column.
 * @property top First row.
 * @property width Columns, at least 1.
 * @property height Rows, at least 1.
 */
public data class Region(
    public val left: Int,
    public val top: Int,
    public val width: Int,
    public val height: Int,
)

/**
 * How interleaved pixels lie in their buffer.
 *
 * @property width Pixels of a row.
 * @property height Rows.
 * @property format Order of the bytes of a pixel.
 * @property rowStrideBytes Bytes from one row to the next; without gaps unless told.
 * @property orientation How it is to be turned.
 * @property region The part to look at; all of it if null.
 */
public data class PixelLayout @JvmOverloads constructor(
    public val width: Int,
    public val height: Int,
    public val format: PixelFormat = PixelFormat.RGBA8,
    public val rowStrideBytes: Int = width * format.bytes,
    public val orientation: Orientation = Orientation.UP,
    public val region: Region? = null,
)

/** How Y, U and V become colours. */
public enum class YuvColour {
    /** BT.601, 0 to 255: JPEG's, and Android's cameras'. */
    BT601_FULL,

    /** BT.601, 16 to 235. */
    BT601_VIDEO,

    /** BT.709, 0 to 255. */
    BT709_FULL,

    /** BT.709, 16 to 235: HD video. */
    BT709_VIDEO,
}

/**
 * How a YUV 4:2:0 picture lies in its three planes: I420, YV12, NV12, NV21.
 *
 * @property width Pixels of a row.
 * @property height Rows.
 * @property yRowStrideBytes Bytes from one row of Y to the next; without gaps unless told.
 * @property uvRowStrideBytes Bytes from one row of U (and of V) to the next.
 * @property uvPixelStrideBytes Bytes from one value of U (and of V) to the next: 1 or 2.
 * @property colour How the values become colours.
 * @property orientation How it is to be turned.
 * @property region The part to look at; all of it if null.
 */
public data class YuvLayout @JvmOverloads constructor(
    public val width: Int,
    public val height: Int,
    public val yRowStrideBytes: Int = width,
    public val uvRowStrideBytes: Int = (width + 1) / 2,
    public val uvPixelStrideBytes: Int = 1,
    public val colour: YuvColour = YuvColour.BT601_FULL,
    public val orientation: Orientation = Orientation.UP,
    public val region: Region? = null,
)

internal fun PixelLayout.toNative(): NativeLayout = NativeLayout(
    width = pixels("width", width),
    height = pixels("height", height),
    rowStrideBytes = pixels("rowStrideBytes", rowStrideBytes),
    format = when (format) {
        PixelFormat.RGBA8 -> NativeFormat.RGBA8
        PixelFormat.BGRA8 -> NativeFormat.BGRA8
        PixelFormat.RGB8 -> NativeFormat.RGB8
    },
    orientation = orientation.toNative(),
    region = region?.toNative(),
)

internal fun YuvLayout.toNative(): NativeYuvLayout = NativeYuvLayout(
    width = pixels("width", width),
    height = pixels("height", height),
    yRowStrideBytes = pixels("yRowStrideBytes", yRowStrideBytes),
    uvRowStrideBytes = pixels("uvRowStrideBytes", uvRowStrideBytes),
    uvPixelStrideBytes = pixels("uvPixelStrideBytes", uvPixelStrideBytes),
    colour = when (colour) {
        YuvColour.BT601_FULL -> NativeColour.BT601_FULL
        YuvColour.BT601_VIDEO -> NativeColour.BT601_VIDEO
        YuvColour.BT709_FULL -> NativeColour.BT709_FULL
        YuvColour.BT709_VIDEO -> NativeColour.BT709_VIDEO
    },
    orientation = orientation.toNative(),
    region = region?.toNative(),
)

private fun Region.toNative(): NativeRegion = NativeRegion(
    left = pixels("left", left),
    top = pixels("top", top),
    width = pixels("region width", width),
    height = pixels("region height", height),
)

private fun Orientation.toNative(): NativeOrientation = when (this) {
    Orientation.UP -> NativeOrientation.UP
    Orientation.UP_MIRRORED -> NativeOrientation.UP_MIRRORED
    Orientation.DOWN -> NativeOrientation.DOWN
    Orientation.DOWN_MIRRORED -> NativeOrientation.DOWN_MIRRORED
    Orientation.LEFT_MIRRORED -> NativeOrientation.LEFT_MIRRORED
    Orientation.RIGHT -> NativeOrientation.RIGHT
    Orientation.RIGHT_MIRRORED -> NativeOrientation.RIGHT_MIRRORED
    Orientation.LEFT -> NativeOrientation.LEFT
}

private fun pixels(name: String, value: Int): UInt {
    if (value < 0) throw DynoException.InvalidImage("$name is $value: it cannot be below 0")
    return value.toUInt()
}
