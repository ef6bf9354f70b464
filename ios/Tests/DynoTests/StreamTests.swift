import Dyno
import XCTest

/// Streams of frames, and streams of statistics.
final class StreamTests: XCTestCase {
    func testAllFramesAreAnsweredInOrder() async throws {
        let world = try World()
        let client = try await world.client(server: "up")
        let inputs = world.inputs
        let (frames, continuation) = AsyncStream<DynoFrame>.makeStream()
        for input in inputs {
            continuation.yield(try client.stage(encoded: input.bytes("png")))
        }
        continuation.finish()
        var labels: [String?] = []
        for try await item in client.infer(frames, keep: .all) {
            XCTAssertEqual(item.seq, labels.count)
            XCTAssertEqual(item.droppedBefore, 0)
            XCTAssertGreaterThan(item.latency, .zero)
            labels.append(try item.answer.get().top.first?.label)
        }
        XCTAssertEqual(labels, inputs.map(\.row.label))
    }

    func testTheLatestFramesAreKeptInOrder() async throws {
        let world = try World()
        let client = try await world.client()
        let input = try world.photo()
        let frame = try client.stage(encoded: input.bytes("png"))
        let count = 200
        let (frames, continuation) = AsyncStream<DynoFrame>.makeStream()
        for _ in 0..<count { continuation.yield(frame) }
        continuation.finish()
        var next = 0
        for try await item in client.infer(frames, maxInFlight: 2) {
            XCTAssertEqual(item.seq, next + item.droppedBefore)
            next = item.seq + 1
            XCTAssertEqual(try item.answer.get().top.first?.label, input.row.label)
        }
        XCTAssertEqual(next, count)
    }

    func testAStreamWhoseTaskIsCancelledEnds() async throws {
        let world = try World()
        let client = try await world.client()
        let frame = try client.stage(encoded: try world.photo().bytes("png"))
        let (frames, continuation) = AsyncStream<DynoFrame>.makeStream()
        let sourceEnded = expectation(description: "the frames' source is let go")
        continuation.onTermination = { _ in sourceEnded.fulfill() }
        continuation.yield(frame)
        let (firsts, first) = AsyncStream<Void>.makeStream()
        let consumer = Task {
            for try await _ in client.infer(frames) { first.yield() }
        }
        for await _ in firsts { break }
        consumer.cancel()
        _ = await consumer.result
        await fulfillment(of: [sourceEnded], timeout: patience / .seconds(1))
    }

    func testAStreamThatIsLetGoEndsWhileItsFramesWait() async throws {
        let world = try World()
        let client = try await world.client()
        let frame = try client.stage(encoded: try world.photo().bytes("png"))
        let sourceEnded = expectation(description: "the frames' source is let go")
        // Nobody but the stream of answers holds them.
        func manyFrames() -> AsyncStream<DynoFrame> {
            let (frames, continuation) = AsyncStream<DynoFrame>.makeStream()
            continuation.onTermination = { _ in sourceEnded.fulfill() }
            // More than are taken in: the next one waits for room.
            for _ in 0..<20 { continuation.yield(frame) }
            return frames
        }
        for try await _ in client.infer(manyFrames(), keep: .all, maxInFlight: 2) { break }
        await fulfillment(of: [sourceEnded], timeout: patience / .seconds(1))
    }

    func testAStreamThatWaitsForAServerEndsWithItsTask() async throws {
        let world = try World()
        let client = try await world.client(server: "silent", mode: .onlyCloud)
        let frame = try client.stage(encoded: try world.photo().bytes("png"))
        let (frames, continuation) = AsyncStream<DynoFrame>.makeStream()
        continuation.yield(frame)
        let consumer = Task {
            for try await _ in client.infer(frames) { XCTFail("nobody answers") }
        }
        try await Task.sleep(for: .milliseconds(200))
        consumer.cancel()
        let ended = expectation(description: "the stream ends long before the request's deadline")
        Task {
            _ = await consumer.result
            ended.fulfill()
        }
        await fulfillment(of: [ended], timeout: patience / .seconds(1))
    }

    func testWhatTheFramesThrowComesAfterTheAnswers() async throws {
        struct CameraFailed: Error {}
        let world = try World()
        let client = try await world.client()
        let frame = try client.stage(encoded: try world.photo().bytes("png"))
        let (frames, continuation) = AsyncThrowingStream<DynoFrame, any Error>.makeStream()
        continuation.yield(frame)
        continuation.finish(throwing: CameraFailed())
        var answers = 0
        do {
            for try await _ in client.infer(frames, keep: .all) { answers += 1 }
            XCTFail("it should have thrown")
        } catch is CameraFailed {
            XCTAssertEqual(answers, 1)
        }
    }

    func testOptionsThatMakeNoSense() async throws {
        let client = try await World().client()
        for maxInFlight in [-1, 0, 33] {
            await expect(.invalidArgument) {
                let frames = AsyncStream<DynoFrame> { $0.finish() }
                for try await _ in client.infer(frames, maxInFlight: maxInFlight) {}
            }
        }
    }

    func testStatisticsReachEveryStream() async throws {
        let world = try World()
        let client = try await world.client(server: "up")
        let photo = try world.photo().bytes("png")
        let streams = [client.stats, client.stats]
        for _ in 0..<3 { _ = try await client.infer(encoded: photo) }
        for stream in streams {
            for await stats in stream where stats.inferences == 3 {
                XCTAssertEqual(stats.onDevice + stats.split + stats.onServer, 3)
                XCTAssertEqual(stats.failures, 0)
                XCTAssertNotNil(stats.latencyP50)
                XCTAssertFalse(stats.planName.isEmpty)
                break
            }
        }
        XCTAssertEqual(try client.currentStats().inferences, 3)
    }

    func testStatisticsThatBeginAgain() async throws {
        let world = try World()
        let client = try await world.client()
        let photo = try world.photo().bytes("png")
        for await stats in client.stats {
            XCTAssertEqual(stats.inferences, 0)
            break
        }
        _ = try await client.infer(encoded: photo)
        for await stats in client.stats where stats.inferences == 1 { break }
        client.close()
    }
}
