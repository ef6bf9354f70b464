import Dyno
import Foundation
import XCTest

/// Errors have stable kinds, and say what to do.
final class ErrorTests: XCTestCase {
    func testKindsAreThoseOfTheLibrary() throws {
        let generated = URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent()
            .appendingPathComponent("../../Sources/DynoFFI/DynoFFI.swift")
        let source = try String(contentsOf: generated.standardizedFileURL, encoding: .utf8)
        let kinds = try XCTUnwrap(source.components(separatedBy: "public enum ErrorKind").dropFirst().first)
        let declared = try XCTUnwrap(kinds.components(separatedBy: "\n}").first)
            .split(separator: "\n")
            .map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { $0.hasPrefix("case ") }
            .map { $0.dropFirst("case ".count).filter { $0 != "`" } }
        XCTAssertEqual(DynoError.Kind.allCases.map { "\($0)" }, declared)
    }

    func testNamesAreThoseOfTheServerAndTheCommand() {
        for kind in DynoError.Kind.allCases {
            let snake = "\(kind)".map { $0.isUppercase ? "_\($0.lowercased())" : "\($0)" }.joined()
            XCTAssertEqual(kind.rawValue, snake)
        }
    }

    func testABadImageIsAnErrorForPeople() async throws {
        let world = try World()
        let client = try await world.client()
        let input = try world.photo()
        let pixels = try input.bytes("rgba")
        let error = await expect(.invalidImage) {
            try await client.infer(pixels.dropLast(), layout: input.layout(.rgba8))
        }
        let described = try XCTUnwrap(error)
        XCTAssertEqual(described.localizedDescription, described.message)
        XCTAssertEqual("\(described)", "invalid_image: \(described.message)")
        XCTAssertNil(described.retryAfter)
        for layout in [
            PixelLayout(width: 0, height: 1, format: .rgba8),
            PixelLayout(width: -1, height: 1, format: .rgba8),
            PixelLayout(width: .max, height: 1, format: .rgba8),
            PixelLayout(width: 8, height: 8, format: .rgb8, bytesPerRow: 23),
        ] {
            await expect(.invalidImage) { try client.stage(pixels, layout: layout) }
        }
        await expect(.invalidImage) { try client.stage(Data(), layout: input.layout(.rgba8)) }
        await expect(.invalidImage) { try client.stage(encoded: Data("no image".utf8)) }
        await expect(.invalidImage) { try client.stage(encoded: Data()) }
    }
}
