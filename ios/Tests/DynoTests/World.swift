import Dyno
import Foundation
import XCTest

/// What `scripts/test-swift.sh` prepares for the tests: a bundle, photos in every format, and
/// servers of several kinds. See the example `sdk_world` of the bindings.
struct World {
    let bundle: URL
    let inputs: [Input]
    let urls: [String: URL]
    let token: String
    let onnxRuntime: URL?

    /// Skips the test where nothing was prepared.
    init() throws {
        bundle = try folder("DYNO_SDK_BUNDLE")
        let files = try folder("DYNO_SDK_INPUTS")
        let list = try Data(contentsOf: files.appendingPathComponent("inputs.json"))
        inputs = try JSONDecoder().decode([InputRow].self, from: list).map { Input(row: $0, folder: files) }
        var urls: [String: URL] = [:]
        for kind in ["up", "keyed", "silent", "dead", "other"] {
            urls[kind] = URL(string: try variable("DYNO_SDK_URL_\(kind.uppercased())"))
        }
        self.urls = urls
        token = try variable("DYNO_SDK_TOKEN")
        let environment = ProcessInfo.processInfo.environment
        onnxRuntime = environment["ORT_DYLIB_PATH"].map { URL(fileURLWithPath: $0) }
    }

    /// A configuration for the server of a kind, or for none.
    func configuration(
        server kind: String? = nil,
        token: String? = nil,
        mode: ExecutionMode = .auto
    ) throws -> DynoConfiguration {
        let url = try kind.map { try XCTUnwrap(urls[$0]) }
        return DynoConfiguration(
            server: url.map { .init(url: $0, token: token) },
            mode: mode,
            // What a test says of the network is to hold.
            monitorsNetwork: false,
            onnxRuntime: onnxRuntime
        )
    }

    /// A client of the server of a kind, or of none.
    func client(server kind: String? = nil, mode: ExecutionMode = .auto) async throws -> DynoClient {
        try await DynoClient.open(bundle: bundle, configuration: configuration(server: kind, mode: mode))
    }

    func photo() throws -> Input {
        try XCTUnwrap(inputs.first)
    }
}

/// A photo, in every format in which one can be handed over.
struct Input: Sendable {
    let row: InputRow
    let folder: URL

    func bytes(_ format: String) throws -> Data {
        try Data(contentsOf: folder.appendingPathComponent("\(row.name).\(format)"))
    }

    func layout(_ format: PixelFormat) -> PixelLayout {
        PixelLayout(width: row.width, height: row.height, format: format)
    }

    /// U and V each one after the other.
    func i420() throws -> (YUVPlanes, YUVLayout) {
        let bytes = try bytes("i420")
        let (luma, chroma) = (row.width * row.height, halfWidth * halfHeight)
        let planes = YUVPlanes(
            y: bytes.prefix(luma),
            u: bytes.dropFirst(luma).prefix(chroma),
            v: bytes.dropFirst(luma + chroma)
        )
        return (planes, yuvLayout(uvBytesPerRow: halfWidth, uvBytesPerPixel: 1))
    }

    /// V and U by turns.
    func nv21() throws -> (YUVPlanes, YUVLayout) {
        let bytes = try bytes("nv21")
        let luma = row.width * row.height
        let planes = YUVPlanes(
            y: bytes.prefix(luma),
            u: bytes.dropFirst(luma + 1),
            v: bytes.dropFirst(luma)
        )
        return (planes, yuvLayout(uvBytesPerRow: 2 * halfWidth, uvBytesPerPixel: 2))
    }

    private var halfWidth: Int { (row.width + 1) / 2 }
    private var halfHeight: Int { (row.height + 1) / 2 }

    private func yuvLayout(uvBytesPerRow: Int, uvBytesPerPixel: Int) -> YUVLayout {
        YUVLayout(
            width: row.width,
            height: row.height,
            yBytesPerRow: row.width,
            uvBytesPerRow: uvBytesPerRow,
            uvBytesPerPixel: uvBytesPerPixel,
            colour: .bt601Full
        )
    }
}

/// A photo of `inputs.json`.
struct InputRow: Sendable, Decodable {
    let name: String
    let width: Int
    let height: Int
    let label: String
}

private func folder(_ name: String) throws -> URL {
    URL(fileURLWithPath: try variable(name), isDirectory: true)
}

func variable(_ name: String) throws -> String {
    guard let value = ProcessInfo.processInfo.environment[name] else {
        throw XCTSkip("\(name) is not set: run scripts/test-swift.sh")
    }
    return value
}
