import Dyno
import XCTest

/// Errors have stable kinds, and say what to do.
final class ErrorTests: XCTestCase {
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
