internal import DynoFFI

/// Order of the bytes of a pixel.
public enum PixelFormat: Sendable, Hashable, CaseIterable {
    /// Four bytes, the last ignored.
    case rgba8
    /// Four bytes, the last ignored (`kCVPixelFormatType_32BGRA`).
    case bgra8
    /// Three bytes.
    case rgb8

    /// Bytes of one pixel.
    public var bytesPerPixel: Int { self == .rgb8 ? 3 : 4 }
}

/// How interleaved pixels lie in memory, and which of them to look at.
public struct PixelLayout: Sendable, Hashable {
    /// Pixels of a row.
    public var width: Int
    /// Rows.
    public var height: Int
    /// Order of the bytes of a pixel.
    public var format: PixelFormat
    /// Bytes from one row to the next.
    public var bytesPerRow: Int
    /// How the picture has to be turned to be upright.
    public var orientation: PixelOrientation
    /// The part to look at, before it is turned; all of it if `nil`.
    public var region: PixelRegion?

    /// A layout. Unless said otherwise, row follows row without a gap, the picture is upright, and
    /// all of it is looked at.
    public init(
        width: Int,
        height: Int,
        format: PixelFormat,
        bytesPerRow: Int? = nil,
        orientation: PixelOrientation = .up,
        region: PixelRegion? = nil
    ) {
        self.width = width
        self.height = height
        self.format = format
        // A width that overflows is no width: the library refuses it.
        let tightlyPacked = width.multipliedReportingOverflow(by: format.bytesPerPixel).partialValue
        self.bytesPerRow = bytesPerRow ?? tightlyPacked
        self.orientation = orientation
        self.region = region
    }
}

/// How a stored picture has to be turned to be upright: EXIF's eight orientations, in their order.
public enum PixelOrientation: Int, Sendable, Hashable, CaseIterable {
    /// It is upright.
    case up = 1
    /// Mirrored left to right.
    case upMirrored
    /// By half a turn.
    case down
    /// By half a turn, mirrored.
    case downMirrored
    /// Mirrored, then by a quarter turn.
    case leftMirrored
    /// By a quarter turn clockwise.
    case right
    /// Mirrored, then by a quarter turn.
    case rightMirrored
    /// By a quarter turn counter-clockwise.
    case left
}

/// A part of a stored picture, in its pixels, before it is turned.
public struct PixelRegion: Sendable, Hashable {
    /// First column.
    public var left: Int
    /// First row.
    public var top: Int
    /// Columns, at least 1.
    public var width: Int
    /// Rows, at least 1.
    public var height: Int

    /// A part of a picture.
    public init(left: Int, top: Int, width: Int, height: Int) {
        self.left = left
        self.top = top
        self.width = width
        self.height = height
    }
}

extension PixelLayout {
    func forNative() throws -> DynoFFI.PixelLayout {
        DynoFFI.PixelLayout(
            width: try side(width, "width"),
            height: try side(height, "height"),
            rowStrideBytes: try side(bytesPerRow, "bytesPerRow"),
            format: format.native,
            orientation: orientation.native,
            region: try region?.forNative()
        )
    }
}

extension PixelRegion {
    func forNative() throws -> DynoFFI.Region {
        DynoFFI.Region(
            left: try side(left, "left"),
            top: try side(top, "top"),
            width: try side(width, "width"),
            height: try side(height, "height")
        )
    }
}

extension PixelFormat {
    fileprivate var native: DynoFFI.PixelFormat {
        switch self {
        case .rgba8: .rgba8
        case .bgra8: .bgra8
        case .rgb8: .rgb8
        }
    }
}

extension PixelOrientation {
    var native: DynoFFI.Orientation {
        switch self {
        case .up: .up
        case .upMirrored: .upMirrored
        case .down: .down
        case .downMirrored: .downMirrored
        case .leftMirrored: .leftMirrored
        case .right: .right
        case .rightMirrored: .rightMirrored
        case .left: .left
        }
    }
}

/// A length of a picture as the library takes it.
func side(_ length: Int, _ name: String) throws -> UInt32 {
    guard let length = UInt32(exactly: length) else {
        throw DynoError(.invalidImage, "\(name) of a picture cannot be \(length)")
    }
    return length
}
