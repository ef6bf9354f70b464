import Dyno
import XCTest

/// Servers that are there, are not, go away, or do not let the client in.
final class ServerTests: XCTestCase {
    func testOfflineInEveryMode() async throws {
        let world = try World()
        let input = try world.photo()
        let photo = try input.bytes("png")
        for mode in ExecutionMode.allCases {
            let client = try await world.client(server: "up", mode: mode)
            try client.onNetworkChanged(.none)
            if mode == .onlyCloud {
                await expect(.unreachable) { try await client.infer(encoded: photo) }
            } else {
                let answer = try await client.infer(encoded: photo)
                XCTAssertEqual(answer.ranOn, .device, "\(mode)")
                XCTAssertEqual(answer.bytesUp, 0, "\(mode)")
                XCTAssertEqual(answer.top.first?.label, input.row.label, "\(mode)")
            }
            XCTAssertEqual(try client.currentStats().network, NetworkKind.none)
        }
    }

    func testAServerThatIsKilledDuringACall() async throws {
        let world = try World()
        let photo = try world.photo().bytes("png")
        for mode in [ExecutionMode.onlyCloud, .preferCloud] {
            let server = try ServerProcess()
            var configuration = try world.configuration(mode: mode)
            configuration.server = .init(url: server.url)
            configuration.remoteDeadline = patience
            let client = try await DynoClient.open(bundle: world.bundle, configuration: configuration)
            // A server that has just started may be late, and the device answers.
            try await eventually("the server answers") {
                try await client.infer(encoded: photo).ranOn == .server
            }

            server.freeze()
            let call = Task { try await client.infer(encoded: photo) }
            try await Task.sleep(for: .milliseconds(50))
            server.kill()
            if mode == .onlyCloud {
                await expect(.unreachable) { try await call.value }
            } else {
                let answer = try await call.value
                XCTAssertEqual(answer.ranOn, .device)
                XCTAssertNotNil(answer.fallback)
                XCTAssertEqual(answer.top.first?.label, try world.photo().row.label)
            }
        }
    }

    func testTheRightTokenAndTheWrongOne() async throws {
        let world = try World()
        let photo = try world.photo().bytes("png")
        let right = try world.configuration(server: "keyed", token: world.token, mode: .onlyCloud)
        let wrong = try world.configuration(server: "keyed", token: "wrong", mode: .onlyCloud)
        let none = try world.configuration(server: "keyed", mode: .onlyCloud)
        let client = try await DynoClient.open(bundle: world.bundle, configuration: right)
        let answer = try await client.infer(encoded: photo)
        XCTAssertEqual(answer.ranOn, .server)
        for configuration in [wrong, none] {
            let client = try await DynoClient.open(bundle: world.bundle, configuration: configuration)
            let error = await expect(.unauthorized) { try await client.infer(encoded: photo) }
            XCTAssertFalse(error?.message.contains(world.token) ?? true)
        }
    }

    func testATokenIsNotPrinted() throws {
        let url = try XCTUnwrap(URL(string: "https://example.org"))
        let configuration = DynoConfiguration(server: .init(url: url, token: "hunter2"))
        var dumped = ""
        dump(configuration, to: &dumped)
        for printed in ["\(configuration)", String(reflecting: configuration), dumped] {
            XCTAssertFalse(printed.contains("hunter2"), printed)
        }
    }
}
