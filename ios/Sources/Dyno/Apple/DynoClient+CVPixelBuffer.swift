#if canImport(CoreVideo) && canImport(ImageIO)
import CoreVideo
import Foundation
import ImageIO

extension DynoClient {
    /// Brings a camera's or a video's frame to the model's size, in one pass over its memory.
    ///
    /// Takes `kCVPixelFormatType_32BGRA`, `kCVPixelFormatType_420YpCbCr8BiPlanarFullRange` and
    /// `kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange`. The buffer is locked while it is read and
    /// may go back to its pool when this returns.
    ///
    /// - Parameters:
    ///   - buffer: The frame.
    ///   - orientation: How it has to be turned to be upright.
    ///   - region: The part to look at, before it is turned; all of it if `nil`.
    /// - Returns: A frame for ``infer(_:)``.
    /// - Throws: ``DynoError`` of kind ``DynoError/Kind/invalidImage`` for other formats, and if
    ///   the buffer cannot be read.
    public func stage(
        _ buffer: CVPixelBuffer,
        orientation: CGImagePropertyOrientation = .up,
        region: PixelRegion? = nil
    ) throws -> DynoFrame {
        guard CVPixelBufferLockBaseAddress(buffer, .readOnly) == kCVReturnSuccess else {
            throw DynoError(.invalidImage, "the pixel buffer cannot be locked")
        }
        defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
        let placement = (orientation: PixelOrientation(orientation), region: region)
        let format = CVPixelBufferGetPixelFormatType(buffer)
        switch format {
        case kCVPixelFormatType_32BGRA:
            return try stageLockedBGRA(buffer, placement)
        case kCVPixelFormatType_420YpCbCr8BiPlanarFullRange:
            return try stageLockedYUV(buffer, isFullRange: true, placement)
        case kCVPixelFormatType_420YpCbCr8BiPlanarVideoRange:
            return try stageLockedYUV(buffer, isFullRange: false, placement)
        default:
            throw DynoError(
                .invalidImage,
                "pixel buffers of format \(format) are not taken: ask for 32BGRA or 420YpCbCr8BiPlanar"
            )
        }
    }

    /// Infers a camera's or a video's frame. It is read before the inference begins to wait.
    ///
    /// - Parameters:
    ///   - buffer: The frame.
    ///   - orientation: How it has to be turned to be upright.
    ///   - region: The part to look at, before it is turned; all of it if `nil`.
    /// - Returns: The answer, where it was computed, and why there.
    /// - Throws: Like `stage` and ``infer(_:)``.
    public func infer(
        _ buffer: CVPixelBuffer,
        orientation: CGImagePropertyOrientation = .up,
        region: PixelRegion? = nil
    ) async throws -> Inference {
        try await inferOnce(stage(buffer, orientation: orientation, region: region))
    }

    private typealias Placement = (orientation: PixelOrientation, region: PixelRegion?)

    private func stageLockedBGRA(_ buffer: CVPixelBuffer, _ placement: Placement) throws -> DynoFrame {
        let layout = PixelLayout(
            width: CVPixelBufferGetWidth(buffer),
            height: CVPixelBufferGetHeight(buffer),
            format: .bgra8,
            bytesPerRow: CVPixelBufferGetBytesPerRow(buffer),
            orientation: placement.orientation,
            region: placement.region
        )
        let start = CVPixelBufferGetBaseAddress(buffer)
        return try stage(memory(at: start, layout.bytesPerRow, layout.height), layout: layout)
    }

    private func stageLockedYUV(
        _ buffer: CVPixelBuffer,
        isFullRange: Bool,
        _ placement: Placement
    ) throws -> DynoFrame {
        let uv = try lockedPlane(1, of: buffer)
        let planes = YUVPlanes(
            y: borrowed(try lockedPlane(0, of: buffer)),
            u: borrowed(uv),
            v: borrowed(UnsafeRawBufferPointer(rebasing: uv.dropFirst()))
        )
        let layout = YUVLayout(
            width: CVPixelBufferGetWidth(buffer),
            height: CVPixelBufferGetHeight(buffer),
            yBytesPerRow: CVPixelBufferGetBytesPerRowOfPlane(buffer, 0),
            uvBytesPerRow: CVPixelBufferGetBytesPerRowOfPlane(buffer, 1),
            uvBytesPerPixel: 2,
            colour: colour(of: buffer, isFullRange: isFullRange),
            orientation: placement.orientation,
            region: placement.region
        )
        return try stage(planes, layout: layout)
    }
}

private func lockedPlane(_ plane: Int, of buffer: CVPixelBuffer) throws -> UnsafeRawBufferPointer {
    try memory(
        at: CVPixelBufferGetBaseAddressOfPlane(buffer, plane),
        CVPixelBufferGetBytesPerRowOfPlane(buffer, plane),
        CVPixelBufferGetHeightOfPlane(buffer, plane)
    )
}

private func memory(
    at start: UnsafeMutableRawPointer?,
    _ bytesPerRow: Int,
    _ rows: Int
) throws -> UnsafeRawBufferPointer {
    guard let start else {
        throw DynoError(.invalidImage, "the pixel buffer has no memory to read")
    }
    return UnsafeRawBufferPointer(start: start, count: bytesPerRow * rows)
}

/// What the buffer says of itself; BT.601 where it says nothing.
private func colour(of buffer: CVPixelBuffer, isFullRange: Bool) -> YUVColour {
    let matrix = CVBufferCopyAttachment(buffer, kCVImageBufferYCbCrMatrixKey, nil)
    if let matrix, CFEqual(matrix, kCVImageBufferYCbCrMatrix_ITU_R_709_2) {
        return isFullRange ? .bt709Full : .bt709Video
    }
    return isFullRange ? .bt601Full : .bt601Video
}
#endif
