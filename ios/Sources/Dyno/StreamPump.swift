internal import DynoFFI

/// Moves frames into a stream of the library while answers are taken out of it.
final class StreamPump: Sendable {
    private let stream: InferStream
    private let client: DynoClient
    /// Ends when there are no more frames; throws what their sequence threw.
    private let push: Task<Void, any Error>

    init<Frames: AsyncSequence & Sendable>(
        _ frames: Frames,
        into stream: InferStream,
        of client: DynoClient
    ) where Frames.Element == DynoFrame {
        self.stream = stream
        self.client = client
        push = Task {
            // Whichever way the frames end, the answers do after the last one.
            defer { try? stream.finish() }
            for try await frame in frames {
                try await stream.push(frame: frame.native)
            }
        }
    }

    deinit {
        push.cancel()
        // It sets a flag, which cannot fail, and ends a push that waits for room.
        try? stream.cancel()
    }

    /// The next answer; `nil` after the last.
    func next() async throws -> StreamedInference? {
        try await withTaskCancellationHandler {
            do {
                if let answer = try await translatingErrors({ try await stream.next() }) {
                    return StreamedInference(answer)
                }
            } catch let error as DynoError where error.kind == .cancelled && Task.isCancelled {
                return nil
            }
            try await rethrowFromFrames()
            return nil
        } onCancel: {
            push.cancel()
            // It sets a flag, which cannot fail.
            try? stream.cancel()
        }
    }

    private func rethrowFromFrames() async throws {
        do {
            try await push.value
        } catch is DynoFFI.DynoError {
            // The stream had ended before the frames did: its answers have said why.
        } catch is CancellationError where Task.isCancelled {
            // Who iterates has gone.
        }
    }
}

extension StreamedInference {
    fileprivate init(_ item: DynoFFI.StreamedInference) {
        seq = Int(clamping: item.seq)
        droppedBefore = Int(clamping: item.droppedBefore)
        latency = .milliseconds(item.latencyMs)
        answer =
            switch item.answer {
            case .answered(let inference): .success(Inference(inference))
            case .failed(let kind, let reason, let retryAfterMs):
                .failure(
                    DynoError(
                        DynoError.Kind(kind), reason, retryAfter: retryAfterMs.map { .milliseconds($0) }))
            }
    }
}
