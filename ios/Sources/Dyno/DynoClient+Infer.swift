import Foundation
internal import DynoFFI

extension DynoClient {
    /// Infers a frame that was staged.
    ///
    /// Cancelling the task stops the inference, on the device and on the server; other inferences of
    /// the frame go on.
    ///
    /// - Parameter frame: What one of the `stage` methods returned.
    /// - Returns: The answer, where it was computed, and why there.
    /// - Throws: `CancellationError` if the task was cancelled. ``DynoError`` where the mode leaves
    ///   no way to an answer, and of kind ``DynoError/Kind/cancelled`` if the client is closed.
    public func infer(_ frame: DynoFrame) async throws -> Inference {
        // What is cancelled is a frame: each call has one of its own.
        try await inferOnce(DynoFrame(translatingErrors { try frame.native.again() }))
    }

    /// Infers a frame that belongs to this call.
    func inferOnce(_ frame: DynoFrame) async throws -> Inference {
        do {
            let inference = try await withTaskCancellationHandler {
                // The frame remembers a cancellation that comes before its inference begins.
                try await translatingErrors { try await native.infer(frame: frame.native) }
            } onCancel: {
                // It sets a flag, which cannot fail.
                try? frame.native.cancel()
            }
            return Inference(inference)
        } catch let error as DynoError where error.kind == .cancelled && Task.isCancelled {
            throw CancellationError()
        }
    }

    /// Infers pixels. They are read before the inference begins to wait.
    ///
    /// - Parameters:
    ///   - pixels: The pixels.
    ///   - layout: How they lie in memory.
    /// - Returns: The answer, where it was computed, and why there.
    /// - Throws: Like `stage` and ``infer(_:)``.
    public func infer(_ pixels: Data, layout: PixelLayout) async throws -> Inference {
        try await inferOnce(stage(pixels, layout: layout))
    }

    /// Infers a YUV 4:2:0 picture. It is read before the inference begins to wait.
    ///
    /// - Parameters:
    ///   - planes: The three planes.
    ///   - layout: How they lie in memory.
    /// - Returns: The answer, where it was computed, and why there.
    /// - Throws: Like `stage` and ``infer(_:)``.
    public func infer(_ planes: YUVPlanes, layout: YUVLayout) async throws -> Inference {
        try await inferOnce(stage(planes, layout: layout))
    }

    /// Infers a JPEG, PNG or WebP file.
    ///
    /// - Parameter file: The file's bytes.
    /// - Returns: The answer, where it was computed, and why there.
    /// - Throws: Like ``stage(encoded:)`` and ``infer(_:)``.
    public func infer(encoded file: Data) async throws -> Inference {
        try await inferOnce(stage(encoded: file))
    }
}
