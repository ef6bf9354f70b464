import Foundation
internal import DynoFFI

/// A photo at the model's size, ready to be inferred.
///
/// It is small (the model's input, one byte a channel) and refers to no memory of the caller's. It can
/// be inferred any number of times, by several tasks at once.
public final class DynoFrame: Sendable {
    let native: Frame

    init(_ native: Frame) {
        self.native = native
    }
}

/// The most bytes that cross into the library at once.
private let maxBytes = Int(Int32.max)

extension DynoClient {
    /// Brings pixels to the model's size.
    ///
    /// Crops, turns, scales and converts in one pass over the caller's memory, on this thread, and
    /// copies nothing else: when it returns, the pixels may be reused.
    ///
    /// - Parameters:
    ///   - pixels: The pixels, valid until this returns.
    ///   - layout: How they lie in memory.
    /// - Returns: A frame for ``infer(_:)``.
    /// - Throws: ``DynoError`` of kind ``DynoError/Kind/invalidImage`` if the layout does not fit
    ///   the pixels.
    public func stage(_ pixels: UnsafeRawBufferPointer, layout: PixelLayout) throws -> DynoFrame {
        try stage(borrowed(pixels), layout: layout)
    }

    /// Brings pixels to the model's size.
    ///
    /// - Parameters:
    ///   - pixels: The pixels.
    ///   - layout: How they lie in memory.
    /// - Returns: A frame for ``infer(_:)``.
    /// - Throws: ``DynoError`` of kind ``DynoError/Kind/invalidImage`` if the layout does not fit
    ///   the pixels.
    public func stage(_ pixels: Data, layout: PixelLayout) throws -> DynoFrame {
        try check(pixels)
        let layout = try layout.forNative()
        return DynoFrame(try translatingErrors { try native.stage(pixels: pixels, layout: layout) })
    }

    /// Brings a YUV 4:2:0 picture to the model's size: I420, YV12, NV12 or NV21.
    ///
    /// - Parameters:
    ///   - planes: The three planes. In NV12 and NV21, U and V begin one byte apart.
    ///   - layout: How they lie in memory.
    /// - Returns: A frame for ``infer(_:)``.
    /// - Throws: ``DynoError`` of kind ``DynoError/Kind/invalidImage`` if the layout does not fit
    ///   the planes.
    public func stage(_ planes: YUVPlanes, layout: YUVLayout) throws -> DynoFrame {
        try check(planes.y)
        try check(planes.u)
        try check(planes.v)
        let layout = try layout.forNative()
        let frame = try translatingErrors {
            try native.stageYuv(y: planes.y, u: planes.u, v: planes.v, layout: layout)
        }
        return DynoFrame(frame)
    }

    /// Decodes a JPEG, PNG or WebP file, turns it as its EXIF says, and brings it to the model's size.
    ///
    /// - Parameter file: The file's bytes.
    /// - Returns: A frame for ``infer(_:)``.
    /// - Throws: ``DynoError`` of kind ``DynoError/Kind/invalidImage`` if they are no such image.
    public func stage(encoded file: Data) throws -> DynoFrame {
        try check(file)
        return DynoFrame(try translatingErrors { try native.stageEncoded(bytes: file) })
    }
}

/// A view of memory that someone else owns: nothing is copied, nothing is freed.
func borrowed(_ memory: UnsafeRawBufferPointer) -> Data {
    guard let start = memory.baseAddress, !memory.isEmpty else { return Data() }
    let memoryOfData = UnsafeMutableRawPointer(mutating: start)
    return Data(bytesNoCopy: memoryOfData, count: memory.count, deallocator: .none)
}

private func check(_ data: Data) throws {
    guard data.count <= maxBytes else {
        throw DynoError(.invalidImage, "the image has \(data.count) bytes; at most \(maxBytes) are taken")
    }
}
