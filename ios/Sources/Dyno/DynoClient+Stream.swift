internal import DynoFFI

/// What becomes of frames that arrive faster than they can be inferred.
public enum Keep: Sendable, Hashable, CaseIterable {
    /// One waits, and a newer one takes its place: a camera's.
    case latest
    /// All wait where they come from.
    case all
}

/// What became of one frame of a stream.
public struct StreamedInference: Sendable {
    /// The frame's number, from 0; frames that were dropped have one as well.
    public let seq: Int
    /// Frames dropped between this one and the last that was not.
    public let droppedBefore: Int
    /// From the frame's arrival until it was answered, and all before it were.
    public let latency: Duration
    /// The answer, or why there is none: the stream goes on in either case.
    public let answer: Result<Inference, DynoError>
}

extension DynoClient {
    /// Infers frames as they come: a camera's, or many photos.
    ///
    /// Device, network and server work on successive frames at once, so that answers come as fast
    /// as the slowest of the three. They come in the order of the frames, and the stream ends after
    /// the last; the last frame is always answered. No more than
    /// `maxInFlight` begin while nobody takes answers.
    ///
    /// Work begins at once. It ends when the stream is let go or the task that iterates it is cancelled.
    /// Until then the client is kept alive.
    ///
    /// - Parameters:
    ///   - frames: The frames, staged where they come from.
    ///   - keep: What becomes of frames that arrive too fast.
    ///   - maxInFlight: Most frames that have begun and whose answers have not been taken, 1 to 32.
    /// - Returns: What became of each frame. It throws what `frames` threw, after the last answer,
    ///   and ``DynoError`` if the options make no sense or the client is closed.
    public func infer<Frames: AsyncSequence & Sendable>(
        _ frames: Frames,
        keep: Keep = .latest,
        maxInFlight: Int = 8
    ) -> AsyncThrowingStream<StreamedInference, any Error> where Frames.Element == DynoFrame {
        do {
            let options = StreamOptions(
                keep: keep == .latest ? .latest : .all,
                maxInFlight: try Dyno.native(maxInFlight, "maxInFlight")
            )
            let stream = try translatingErrors { try native.openStream(options: options) }
            let pump = StreamPump(frames, into: stream, of: self)
            return AsyncThrowingStream { try await pump.next() }
        } catch {
            return AsyncThrowingStream { $0.finish(throwing: error) }
        }
    }
}
