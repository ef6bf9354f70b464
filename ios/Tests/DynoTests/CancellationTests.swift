import Dyno
import XCTest

/// A cancelled task's inference ends, whenever the cancellation comes.
final class CancellationTests: XCTestCase {
    func testBeforeItStarts() async throws {
        let world = try World()
        let client = try await world.client()
        let frame = try client.stage(encoded: try world.photo().bytes("png"))
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            return try await client.infer(frame)
        }
        task.cancel()
        await expectCancellation { try await task.value }
    }

    /// The server never answers, and the deadline is a minute away.
    func testWhileItRuns() async throws {
        let world = try World()
        var configuration = try world.configuration(server: "silent", mode: .onlyCloud)
        configuration.remoteDeadline = patience
        let client = try await DynoClient.open(bundle: world.bundle, configuration: configuration)
        let frame = try client.stage(encoded: try world.photo().bytes("png"))
        let start = ContinuousClock.now
        let task = Task { try await client.infer(frame) }
        try await Task.sleep(for: .milliseconds(200))
        task.cancel()
        await expectCancellation { try await task.value }
        XCTAssertLessThan(ContinuousClock.now - start, patience / 2)
    }

    func testManyAtAnyMoment() async throws {
        let world = try World()
        let client = try await world.client(server: "up")
        let photo = try world.photo().bytes("png")
        for number in 0..<50 {
            let frame = try client.stage(encoded: photo)
            let task = Task { try await client.infer(frame) }
            try await Task.sleep(for: .microseconds(200 * number))
            task.cancel()
            do {
                _ = try await task.value
            } catch is CancellationError {
                // It came in time.
            }
        }
        // Nothing is left behind: the next one is answered.
        let answer = try await client.infer(encoded: photo)
        XCTAssertEqual(answer.top.first?.label, try world.photo().row.label)
    }

    func testACancelledTaskLeavesTheFrameToOthers() async throws {
        let world = try World()
        let client = try await world.client()
        let frame = try client.stage(encoded: try world.photo().bytes("png"))
        let cancelled = Task {
            // Not before it is cancelled.
            while !Task.isCancelled { await Task.yield() }
            return try await client.infer(frame)
        }
        cancelled.cancel()
        do {
            _ = try await cancelled.value
            XCTFail("it should have thrown")
        } catch is CancellationError {
            // As it should.
        }
        let answer = try await client.infer(frame)
        XCTAssertEqual(answer.top.first?.label, try world.photo().row.label)
    }
}
