import Dyno
import Foundation
import XCTest

/// What apps choose from is what the library knows: the same cases, by the same names.
final class NamesTests: XCTestCase {
    func testCasesAreThoseOfTheLibrary() throws {
        let generated = try String(contentsOf: generatedFile, encoding: .utf8)
        func check<Cases: CaseIterable>(_ cases: Cases.Type, _ name: String) throws {
            XCTAssertEqual(cases.allCases.map { "\($0)" }, try caseNames(of: name, in: generated), name)
        }
        try check(DynoError.Kind.self, "ErrorKind")
        try check(ExecutionMode.self, "ExecutionMode")
        try check(Inference.ElementType.self, "ElementType")
        try check(Inference.RanOn.self, "RanOn")
        try check(Keep.self, "Keep")
        try check(NetworkKind.self, "NetworkKind")
        try check(Objective.Metric.self, "Metric")
        try check(PixelFormat.self, "PixelFormat")
        try check(PixelOrientation.self, "Orientation")
        try check(YUVColour.self, "YuvColour")
    }

    func testKindsAreWrittenAsByTheServer() {
        for kind in DynoError.Kind.allCases {
            let snake = "\(kind)".map { $0.isUppercase ? "_\($0.lowercased())" : "\($0)" }.joined()
            XCTAssertEqual(kind.rawValue, snake)
        }
    }

    func testOrientationsAreNumberedAsByEXIF() {
        XCTAssertEqual(PixelOrientation.allCases.map(\.rawValue), Array(1...8))
    }

    private var generatedFile: URL {
        URL(fileURLWithPath: #filePath)
            .deletingLastPathComponent()
            .appendingPathComponent("../../Sources/DynoFFI/DynoFFI.swift")
            .standardizedFileURL
    }

    /// The cases of an enumeration without associated values.
    private func caseNames(of name: String, in source: String) throws -> [String] {
        let parts = source.components(separatedBy: "public enum \(name): ")
        let body = try XCTUnwrap(parts.dropFirst().first?.components(separatedBy: "\n}").first, name)
        return body.split(separator: "\n")
            .map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { $0.hasPrefix("case ") }
            .map { $0.dropFirst("case ".count).filter { $0 != "`" } }
    }
}
