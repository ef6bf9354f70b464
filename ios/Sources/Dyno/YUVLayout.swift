import Foundation
internal import DynoFFI

/// The three planes of a YUV 4:2:0 picture.
public struct YUVPlanes: Sendable {
    /// Brightness, one value a pixel.
    public var y: Data
    /// Blue difference (Cb), one value for four pixels.
    public var u: Data
    /// Red difference (Cr), one value for four pixels.
    public var v: Data

    /// Planes as they lie in memory. Where U and V are interleaved, both begin in the same memory,
    /// one byte apart.
    public init(y: Data, u: Data, v: Data) {
        self.y = y
        self.u = u
        self.v = v
    }
}

/// How Y, U and V become colours.
public enum YUVColour: Sendable, Hashable, CaseIterable {
    /// BT.601, 0 to 255: JPEG's.
    case bt601Full
    /// BT.601, 16 to 235.
    case bt601Video
    /// BT.709, 0 to 255.
    case bt709Full
    /// BT.709, 16 to 235: HD video.
    case bt709Video
}

/// How a YUV 4:2:0 picture lies in its three planes, and which part of it to look at.
public struct YUVLayout: Sendable, Hashable {
    /// Pixels of a row.
    public var width: Int
    /// Rows.
    public var height: Int
    /// Bytes from one row of Y to the next.
    public var yBytesPerRow: Int
    /// Bytes from one row of U (and of V) to the next.
    public var uvBytesPerRow: Int
    /// Bytes from one value of U (and of V) to the next: 1, or 2 where they are interleaved.
    public var uvBytesPerPixel: Int
    /// How the values become colours.
    public var colour: YUVColour
    /// How the picture has to be turned to be upright.
    public var orientation: PixelOrientation
    /// The part to look at, before it is turned; all of it if `nil`.
    public var region: PixelRegion?

    /// A layout.
    public init(
        width: Int,
        height: Int,
        yBytesPerRow: Int,
        uvBytesPerRow: Int,
        uvBytesPerPixel: Int,
        colour: YUVColour,
        orientation: PixelOrientation = .up,
        region: PixelRegion? = nil
    ) {
        self.width = width
        self.height = height
        self.yBytesPerRow = yBytesPerRow
        self.uvBytesPerRow = uvBytesPerRow
        self.uvBytesPerPixel = uvBytesPerPixel
        self.colour = colour
        self.orientation = orientation
        self.region = region
    }
}

extension YUVLayout {
    func forNative() throws -> YuvLayout {
        YuvLayout(
            width: try side(width, "width"),
            height: try side(height, "height"),
            yRowStrideBytes: try side(yBytesPerRow, "yBytesPerRow"),
            uvRowStrideBytes: try side(uvBytesPerRow, "uvBytesPerRow"),
            uvPixelStrideBytes: try side(uvBytesPerPixel, "uvBytesPerPixel"),
            colour: colour.native,
            orientation: orientation.native,
            region: try region?.forNative()
        )
    }
}

extension YUVColour {
    fileprivate var native: YuvColour {
        switch self {
        case .bt601Full: .bt601Full
        case .bt601Video: .bt601Video
        case .bt709Full: .bt709Full
        case .bt709Video: .bt709Video
        }
    }
}
