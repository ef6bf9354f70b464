import Dyno
import Foundation
import XCTest

/// The scenarios that Rust, Kotlin and Swift all run, with the same results.
final class ParityTests: XCTestCase {
    func testEveryScenario() async throws {
        let world = try World()
        let file = URL(fileURLWithPath: try variable("DYNO_SDK_SCENARIOS"))
        let scenarios = try JSONDecoder().decode([Scenario].self, from: Data(contentsOf: file))
        XCTAssertFalse(scenarios.isEmpty)
        for scenario in scenarios {
            var outcome = try await scenario.run(in: world)
            // On a busy machine the server may be late, or still busy with such a play, and the device answers: not what is
            // asked.
            for _ in 0..<10 where scenario.hasServer && ["deadline_exceeded", "overloaded"].contains(outcome.fallback) {
                outcome = try await scenario.run(in: world)
            }
            XCTAssertEqual(outcome, scenario.expect, scenario.name)
            print("scenario \(scenario.name): \(outcome == scenario.expect ? "as expected" : "\(outcome)")")
        }
    }
}

/// One row of `bindings/parity/scenarios.json`.
private struct Scenario: Decodable {
    let name: String
    let mode: String
    let network: String
    let input: String
    let plan: String?
    let expect: Outcome

    struct Outcome: Decodable, Equatable {
        var ranOn: String?
        var fallback: String?
        var error: String?
        var openError: String?

        enum CodingKeys: String, CodingKey {
            case ranOn = "ran_on"
            case fallback
            case error
            case openError = "open_error"
        }
    }

    var hasServer: Bool { network == "up" || network == "keyed" }

    func run(in world: World) async throws -> Outcome {
        let client: DynoClient
        do {
            client = try await DynoClient.open(bundle: world.bundle, configuration: configuration(in: world))
        } catch let error as DynoError {
            return Outcome(openError: error.kind.rawValue)
        }
        if network == "offline" {
            try client.onNetworkChanged(.none)
        }
        let photo = try world.photo()
        do {
            let answer = try await client.infer(frame(of: photo, by: client))
            XCTAssertEqual(answer.top.first?.label, photo.row.label, name)
            return Outcome(ranOn: answer.ranOn.rawValue, fallback: answer.fallback?.kind.rawValue)
        } catch let error as DynoError {
            return Outcome(error: error.kind.rawValue)
        }
    }

    private func configuration(in world: World) throws -> DynoConfiguration {
        let words = mode.filter { $0 != "_" }.lowercased()
        let executionMode = try XCTUnwrap(
            ExecutionMode.allCases.first { "\($0)".lowercased() == words },
            mode
        )
        let server: (kind: String?, token: String?) =
            switch network {
            case "none": (nil, nil)
            case "keyed": ("keyed", world.token)
            case "wrong_token": ("keyed", "wrong")
            case "offline": ("up", nil)
            default: (network, nil)
            }
        var configuration = try world.configuration(
            server: server.kind,
            token: server.token,
            mode: executionMode
        )
        configuration.plan = try plan.map(parsePlan)
        if network == "silent" {
            configuration.remoteDeadline = .milliseconds(300)
        }
        return configuration
    }

    private func frame(of photo: Input, by client: DynoClient) throws -> DynoFrame {
        switch input {
        case "rgba": return try client.stage(photo.bytes("rgba"), layout: photo.layout(.rgba8))
        case "bgra": return try client.stage(photo.bytes("bgra"), layout: photo.layout(.bgra8))
        case "rgb": return try client.stage(photo.bytes("rgb"), layout: photo.layout(.rgb8))
        case "i420":
            let (planes, layout) = try photo.i420()
            return try client.stage(planes, layout: layout)
        case "nv21":
            let (planes, layout) = try photo.nv21()
            return try client.stage(planes, layout: layout)
        case "encoded": return try client.stage(encoded: photo.bytes("png"))
        case "short_buffer":
            return try client.stage(photo.bytes("rgba").dropLast(), layout: photo.layout(.rgba8))
        case "not_an_image": return try client.stage(encoded: Data("not an image".utf8))
        default: throw UnknownWord(word: input)
        }
    }
}

/// `device`, `photo:CODEC` or `split:CUT:LEVELS:CODEC`.
private func parsePlan(_ text: String) throws -> Plan {
    let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
    switch (parts.first, parts.count) {
    case ("device", 1):
        return .device
    case ("photo", 2):
        return .photo(codec: parts[1])
    case ("split", 2):
        let fields = parts[1].split(separator: ":").map(String.init)
        guard fields.count == 3, let cut = Int(fields[0]) else { throw UnknownWord(word: text) }
        return .split(cut: cut, levels: Int(fields[1]), codec: fields[2])
    default:
        throw UnknownWord(word: text)
    }
}

private struct UnknownWord: Error {
    let word: String
}
