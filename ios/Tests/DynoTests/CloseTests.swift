import Dyno
import Foundation
import XCTest

/// The life of a client, from opening to the end.
final class CloseTests: XCTestCase {
    func testWhatCannotBeOpened() async throws {
        let world = try World()
        let nowhere = world.bundle.appendingPathComponent("nowhere")
        await expect(.invalidBundle) {
            try await DynoClient.open(bundle: nowhere, configuration: world.configuration())
        }
        let remote = try XCTUnwrap(URL(string: "https://example.org/bundle"))
        await expect(.invalidArgument) { try await DynoClient.open(bundle: remote) }
        for change: (inout DynoConfiguration) -> Void in [
            { $0.threads = 0 },
            { $0.threads = -1 },
            { $0.topK = 101 },
            { $0.remoteDeadline = .zero },
            { $0.plan = .photo(codec: "gif") },
            { $0.mode = .onlyCloud },
            { $0.objective = Objective(.inOrder([])) },
            { $0.objective = Objective(.weighted([.latency: 0])) },
        ] {
            var configuration = try world.configuration()
            change(&configuration)
            await expect(.invalidArgument) {
                try await DynoClient.open(bundle: world.bundle, configuration: configuration)
            }
        }
    }

    func testWhileCallsRun() async throws {
        let world = try World()
        var configuration = try world.configuration(server: "silent", mode: .onlyCloud)
        configuration.remoteDeadline = patience
        let client = try await DynoClient.open(bundle: world.bundle, configuration: configuration)
        let photo = try world.photo().bytes("png")
        let calls = (0..<4).map { _ in Task { try await client.infer(encoded: photo) } }
        try await Task.sleep(for: .milliseconds(200))
        client.close()
        for call in calls {
            await expect(.cancelled) { try await call.value }
        }
    }

    func testUseAfterClose() async throws {
        let world = try World()
        let client = try await world.client()
        let photo = try world.photo().bytes("png")
        let frame = try client.stage(encoded: photo)
        client.close()
        client.close()
        let error = await expect(.cancelled) { try await client.infer(frame) }
        XCTAssertTrue(error?.message.contains("closed") ?? false)
        await expect(.cancelled) { try client.stage(encoded: photo) }
        await expect(.cancelled) { try client.explain() }
        await expect(.cancelled) { try client.currentStats() }
        await expect(.cancelled) { try client.onNetworkChanged(.wifi) }
        await expect(.cancelled) { try await client.warmUp() }
        await expect(.cancelled) {
            for try await _ in client.infer(AsyncStream<DynoFrame> { $0.finish() }) {}
        }
        for await _ in client.stats {}
        XCTAssertEqual(client.model.name.isEmpty, false)
    }

    func testAClientIsFreedWhenNothingRefersToIt() async throws {
        let world = try World()
        let photo = try world.photo().bytes("png")
        weak var gone: DynoClient?
        let stats: AsyncStream<DynoStats>
        do {
            let client = try await world.client(server: "up")
            gone = client
            stats = client.stats
            _ = try await client.infer(encoded: photo)
            XCTAssertNotNil(gone)
        }
        XCTAssertNil(gone)
        // Its statistics end with it.
        for await _ in stats {}
    }

    #if os(Linux)
    func testClientsThatComeAndGoLeaveNothingOpen() async throws {
        let world = try World()
        let photo = try world.photo().bytes("png")
        func comeAndGo() async throws {
            let client = try await world.client(server: "up", mode: .preferCloud)
            let stats = client.stats
            _ = try await client.infer(encoded: photo)
            for await now in stats where now.inferences == 1 { break }
        }
        func openFiles() throws -> Int {
            try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
        }
        // The first one starts what the process keeps.
        try await comeAndGo()
        let before = try openFiles()
        for _ in 0..<20 { try await comeAndGo() }
        try await eventually("connections are closed") { try openFiles() <= before }
    }
    #endif

    func testAClientLivesAsLongAsItsStream() async throws {
        let world = try World()
        let input = try world.photo()
        let frame = try await world.client().stage(encoded: input.bytes("png"))
        let (frames, continuation) = AsyncStream<DynoFrame>.makeStream()
        let answers = try await world.client().infer(frames, keep: .all)
        continuation.yield(frame)
        continuation.finish()
        for try await answered in answers {
            XCTAssertEqual(try answered.answer.get().top.first?.label, input.row.label)
        }
    }
}
