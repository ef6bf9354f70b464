#if canImport(CoreGraphics) && canImport(ImageIO)
import CoreGraphics
import Foundation
import ImageIO

extension DynoClient {
    /// Brings an image to the model's size.
    ///
    /// The image is drawn once in sRGB, at its own size: four bytes a pixel, freed when this
    /// returns. For frames of a camera, ``stage(_:orientation:region:)`` of a pixel buffer needs no
    /// such copy.
    ///
    /// - Parameters:
    ///   - image: The image.
    ///   - orientation: How it has to be turned to be upright.
    /// - Returns: A frame for ``infer(_:)``.
    /// - Throws: ``DynoError`` of kind ``DynoError/Kind/invalidImage`` if it cannot be drawn.
    public func stage(
        _ image: CGImage,
        orientation: CGImagePropertyOrientation = .up
    ) throws -> DynoFrame {
        let layout = PixelLayout(
            width: image.width,
            height: image.height,
            format: .rgba8,
            orientation: PixelOrientation(orientation)
        )
        let context = CGContext(
            data: nil,
            width: image.width,
            height: image.height,
            bitsPerComponent: 8,
            bytesPerRow: layout.bytesPerRow,
            space: CGColorSpace(name: CGColorSpace.sRGB) ?? CGColorSpaceCreateDeviceRGB(),
            bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue
        )
        guard let context, let memory = context.data else {
            throw DynoError(.invalidImage, "an image of \(image.width) x \(image.height) cannot be drawn")
        }
        context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
        let bytes = UnsafeRawBufferPointer(start: memory, count: layout.bytesPerRow * image.height)
        // The context owns the memory, and must outlive the pass over it.
        return try withExtendedLifetime(context) { try stage(bytes, layout: layout) }
    }

    /// Infers an image. It is read before the inference begins to wait.
    ///
    /// - Parameters:
    ///   - image: The image.
    ///   - orientation: How it has to be turned to be upright.
    /// - Returns: The answer, where it was computed, and why there.
    /// - Throws: Like `stage` and ``infer(_:)``.
    public func infer(
        _ image: CGImage,
        orientation: CGImagePropertyOrientation = .up
    ) async throws -> Inference {
        try await inferOnce(stage(image, orientation: orientation))
    }
}

extension PixelOrientation {
    /// The same orientation: both are EXIF's, with its numbers.
    public init(_ orientation: CGImagePropertyOrientation) {
        self = PixelOrientation(rawValue: Int(orientation.rawValue)) ?? .up
    }
}
#endif
