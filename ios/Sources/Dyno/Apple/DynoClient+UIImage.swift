#if canImport(UIKit)
import ImageIO
import UIKit

extension DynoClient {
    /// Infers an image, turned as it says itself. It is read before the inference begins to wait.
    ///
    /// - Parameter image: The image.
    /// - Returns: The answer, where it was computed, and why there.
    /// - Throws: ``DynoError`` of kind ``DynoError/Kind/invalidImage`` if it holds no pixels (it was
    ///   made of a `CIImage`: render that first), else like ``infer(_:)``.
    public func infer(_ image: UIImage) async throws -> Inference {
        guard let pixels = image.cgImage else {
            throw DynoError(.invalidImage, "the image holds no pixels: render its CIImage first")
        }
        return try await infer(pixels, orientation: CGImagePropertyOrientation(image.imageOrientation))
    }
}

extension CGImagePropertyOrientation {
    fileprivate init(_ orientation: UIImage.Orientation) {
        switch orientation {
        case .up: self = .up
        case .upMirrored: self = .upMirrored
        case .down: self = .down
        case .downMirrored: self = .downMirrored
        case .leftMirrored: self = .leftMirrored
        case .right: self = .right
        case .rightMirrored: self = .rightMirrored
        case .left: self = .left
        @unknown default: self = .up
        }
    }
}
#endif
