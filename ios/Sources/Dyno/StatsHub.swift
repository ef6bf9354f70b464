import Foundation
internal import DynoFFI

/// Hands the library's reports, which have one listener, to any number of streams.
///
/// It listens while there are streams, so that nothing is computed for nobody.
final class StatsHub: StatsListener, @unchecked Sendable {
    // Each is only touched with the lock held, and the library is told under it as well, so that it
    // hears of the last change last. The client is weak: the library holds its listener.
    private let lock = NSLock()
    private weak var native: NativeClient?
    private var streams: [UUID: AsyncStream<DynoStats>.Continuation] = [:]

    init(of native: NativeClient) {
        self.native = native
    }

    /// A stream of its own, which begins with what is known now.
    func stream() -> AsyncStream<DynoStats> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: DynoStats.self,
            bufferingPolicy: .bufferingNewest(1)
        )
        let id = UUID()
        continuation.onTermination = { [weak self] _ in self?.remove(id) }
        add(continuation, id)
        return stream
    }

    /// Ends all streams, and those that are asked for later at once.
    func finish() {
        let ended = lock.withLock {
            native = nil
            defer { streams = [:] }
            return Array(streams.values)
        }
        for stream in ended {
            stream.finish()
        }
    }

    func onStats(stats: DynoFFI.DynoStats) {
        let listeners = lock.withLock { Array(streams.values) }
        let stats = DynoStats(stats)
        for listener in listeners {
            listener.yield(stats)
        }
    }

    private func add(_ continuation: AsyncStream<DynoStats>.Continuation, _ id: UUID) {
        let isHeard = lock.withLock {
            streams[id] = continuation
            // Said anew for each stream: the library tells a new listener at once.
            return native != nil && (try? native?.setStatsListener(listener: self)) != nil
        }
        if !isHeard {
            continuation.finish()
        }
    }

    private func remove(_ id: UUID) {
        lock.withLock {
            if streams.removeValue(forKey: id) != nil, streams.isEmpty {
                // It fails once the client is closed, and then nobody is told anyway.
                try? native?.setStatsListener(listener: nil)
            }
        }
    }
}
