import Foundation
import XCTest

/// A `dyno-server` of a test's own, which it may stop and kill.
final class ServerProcess {
    let url: URL
    private let process = Process()

    /// Starts one on a free port, with the bundles of the other servers.
    init() throws {
        let bundles = try variable("DYNO_SDK_BUNDLES")
        process.executableURL = URL(fileURLWithPath: try variable("DYNO_SERVER_BIN"))
        process.arguments = ["--bundles", bundles, "--listen", "127.0.0.1:0"]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        try process.run()
        var said = ""
        while !said.contains("\n") {
            let bytes = output.fileHandleForReading.availableData
            guard !bytes.isEmpty else {
                throw DidNotStart(said: said)
            }
            said += String(decoding: bytes, as: UTF8.self)
        }
        let address = said.split(separator: "\n")[0].replacingOccurrences(of: "listening on ", with: "")
        url = try XCTUnwrap(URL(string: "http://\(address)"))
    }

    deinit {
        kill()
    }

    /// It keeps its connections, and answers nothing any more.
    func freeze() {
        Foundation.kill(process.processIdentifier, SIGSTOP)
        // It stops thread by thread.
        var stopped = siginfo_t()
        waitid(P_PID, id_t(process.processIdentifier), &stopped, WSTOPPED)
    }

    /// It is gone, without a farewell.
    func kill() {
        guard process.isRunning else { return }
        Foundation.kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }
}

private struct DidNotStart: Error {
    let said: String
}
