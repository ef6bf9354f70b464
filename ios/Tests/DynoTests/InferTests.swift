import Dyno
import XCTest

/// Every kind of input gives the right label, and the answer says how it came about.
final class InferTests: XCTestCase {
    func testEveryFormatGivesTheRightLabel() async throws {
        let world = try World()
        let client = try await world.client()
        for input in world.inputs {
            let (i420, i420Layout) = try input.i420()
            let (nv21, nv21Layout) = try input.nv21()
            let answers = [
                "rgba": try await client.infer(input.bytes("rgba"), layout: input.layout(.rgba8)),
                "bgra": try await client.infer(input.bytes("bgra"), layout: input.layout(.bgra8)),
                "rgb": try await client.infer(input.bytes("rgb"), layout: input.layout(.rgb8)),
                "i420": try await client.infer(i420, layout: i420Layout),
                "nv21": try await client.infer(nv21, layout: nv21Layout),
                "png": try await client.infer(encoded: input.bytes("png")),
            ]
            for (format, answer) in answers {
                XCTAssertEqual(answer.top.first?.label, input.row.label, "\(input.row.name) as \(format)")
            }
        }
    }

    func testPixelsMayBeAnywhereInMemory() async throws {
        let world = try World()
        let client = try await world.client()
        let input = try world.photo()
        let pixels = try input.bytes("rgba")
        let frame = try pixels.withUnsafeBytes { try client.stage($0, layout: input.layout(.rgba8)) }
        let slice = (Data([0]) + pixels).dropFirst()
        let ofFrame = try await client.infer(frame)
        let ofSlice = try await client.infer(slice, layout: input.layout(.rgba8))
        XCTAssertEqual(ofFrame.top, ofSlice.top)
    }

    func testAPictureIsTurnedUprightAndCutOut() async throws {
        let world = try World()
        let client = try await world.client()
        let input = try world.photo()
        let (width, height) = (input.row.width, input.row.height)
        let pixels = [UInt8](try input.bytes("rgba"))
        // Turned by half a turn, with a margin of one pixel all around.
        var turned = [UInt8](repeating: 255, count: (width + 2) * (height + 2) * 4)
        for y in 0..<height {
            for x in 0..<width {
                let from = (y * width + x) * 4
                let to = ((height - y) * (width + 2) + width - x) * 4
                turned.replaceSubrange(to..<to + 4, with: pixels[from..<from + 4])
            }
        }
        let layout = PixelLayout(
            width: width + 2,
            height: height + 2,
            format: .rgba8,
            orientation: .down,
            region: PixelRegion(left: 1, top: 1, width: width, height: height)
        )
        let upright = try await client.infer(Data(pixels), layout: input.layout(.rgba8))
        let restored = try await client.infer(Data(turned), layout: layout)
        XCTAssertEqual(restored.top.first?.label, upright.top.first?.label)
        XCTAssertEqual(restored.top.first?.score ?? 0, upright.top.first?.score ?? 1, accuracy: 0.02)
    }

    func testAnAnswerSaysHowItCameAbout() async throws {
        let world = try World()
        var configuration = try world.configuration(server: "up", mode: .onlyCloud)
        configuration.plan = .photo(codec: "png")
        configuration.topK = 3
        configuration.rawOutputs = true
        let client = try await DynoClient.open(bundle: world.bundle, configuration: configuration)
        try await client.warmUp()
        let answer = try await client.infer(encoded: try world.photo().bytes("png"))

        XCTAssertEqual(answer.ranOn, .server)
        XCTAssertEqual(answer.plan, .photo(codec: "png"))
        XCTAssertEqual(answer.cut, 0)
        XCTAssertNil(answer.fallback)
        XCTAssertGreaterThan(answer.bytesUp, 0)
        XCTAssertGreaterThan(answer.times.total, .zero)
        XCTAssertGreaterThan(answer.estimated, .zero)
        XCTAssertFalse(answer.reason.isEmpty)
        XCTAssertEqual(answer.top.count, 3)
        XCTAssertEqual(answer.top.map(\.score), answer.top.map(\.score).sorted(by: >))
        let output = try XCTUnwrap(answer.outputs.first)
        XCTAssertEqual(output.element, .f32)
        XCTAssertEqual(output.data.count, 4 * output.shape.reduce(1, *))
    }

    func testTheModelIsKnown() async throws {
        let world = try World()
        let client = try await world.client()
        let model = client.model
        XCTAssertTrue(model.isClassifier)
        XCTAssertGreaterThan(model.lastCut, 0)
        XCTAssertGreaterThan(model.width * model.height, 0)
        XCTAssertTrue(world.inputs.allSatisfy { model.labels.contains($0.row.label) })
    }

    func testAnExplanationHasEveryPlan() async throws {
        let world = try World()
        let client = try await world.client(server: "up")
        let explanation = try client.explain()
        XCTAssertTrue(explanation.plans.contains { $0.plan == .device })
        XCTAssertTrue(explanation.plans.contains { $0.plan == explanation.chosen })
        XCTAssertFalse(explanation.reason.isEmpty)
        XCTAssertTrue(explanation.plans.allSatisfy { !$0.verdict.isEmpty && !$0.name.isEmpty })
    }

    func testTwoHundredInferencesAtOnce() async throws {
        let world = try World()
        let client = try await world.client(server: "up")
        let inputs = world.inputs
        let right = try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<200 {
                let input = inputs[number % inputs.count]
                group.addTask {
                    let pixels = try input.bytes("rgba")
                    let answer = try await client.infer(pixels, layout: input.layout(.rgba8))
                    return answer.top.first?.label == input.row.label
                }
            }
            return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        XCTAssertEqual(right, 200)
        XCTAssertEqual(try client.currentStats().inferences, 200)
    }
}
