import Dyno
import Foundation
import XCTest

/// Longer than anything takes that is not stuck.
let patience = Duration.seconds(60)

/// Expects `call` to fail with a ``DynoError`` of a kind, and returns it.
@discardableResult
func expect<T>(
    _ kind: DynoError.Kind,
    file: StaticString = #filePath,
    line: UInt = #line,
    _ call: () async throws -> T
) async -> DynoError? {
    do {
        _ = try await call()
        XCTFail("it should have failed with \(kind)", file: file, line: line)
    } catch let error as DynoError {
        XCTAssertEqual(error.kind, kind, error.message, file: file, line: line)
        return error
    } catch {
        XCTFail("\(error) is no DynoError", file: file, line: line)
    }
    return nil
}

/// Expects `call` to fail because its task was cancelled.
func expectCancellation<T>(
    file: StaticString = #filePath,
    line: UInt = #line,
    _ call: () async throws -> T
) async {
    do {
        _ = try await call()
        XCTFail("it should have been cancelled", file: file, line: line)
    } catch is CancellationError {
        // As it should be.
    } catch {
        XCTFail("\(error) is no CancellationError", file: file, line: line)
    }
}

/// Waits until something holds.
func eventually(
    _ what: String,
    file: StaticString = #filePath,
    line: UInt = #line,
    _ holds: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + patience
    while ContinuousClock.now < end {
        if try await holds() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    XCTFail("not in \(patience): \(what)", file: file, line: line)
}
