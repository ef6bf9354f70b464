import Dyno
import SwiftUI

/// Owns the client, and what the screen shows of it.
@MainActor
final class Classifier: ObservableObject {
    /// One point of the plot.
    struct Point: Identifiable {
        let id: Int
        let milliseconds: Double
        let ranOn: Inference.RanOn
    }

    @Published private(set) var answer: Inference?
    @Published private(set) var points: [Point] = []
    @Published private(set) var stats: DynoStats?
    @Published private(set) var problem: String?
    @Published private(set) var client: DynoClient?

    /// Where `dyno-server` runs; `nil` keeps everything on the device.
    private let server = URL(string: "http://192.168.1.10:8477")

    func open() async {
        do {
            guard let bundle = Bundle.main.url(forResource: "shapes12", withExtension: nil) else {
                problem = "Add the folder shapes12 to the app: see README.md."
                return
            }
            let configuration = DynoConfiguration(server: server.map { .init(url: $0) })
            let client = try await DynoClient.open(bundle: bundle, configuration: configuration)
            try await client.warmUp()
            self.client = client
            for await stats in client.stats {
                self.stats = stats
            }
        } catch {
            problem = error.localizedDescription
        }
    }

    func classify(_ photo: UIImage) async {
        guard let client else { return }
        do {
            show(try await client.infer(photo))
        } catch {
            problem = error.localizedDescription
        }
    }

    /// Runs until the task that called it is cancelled.
    func watch(_ frames: AsyncStream<DynoFrame>) async {
        guard let client else { return }
        do {
            for try await item in client.infer(frames) {
                switch item.answer {
                case .success(let inference): show(inference)
                case .failure(let error): problem = error.localizedDescription
                }
            }
        } catch {
            problem = error.localizedDescription
        }
    }

    private func show(_ inference: Inference) {
        problem = nil
        answer = inference
        let number = (points.last?.id ?? 0) + 1
        let milliseconds = inference.times.total / .milliseconds(1)
        points.append(Point(id: number, milliseconds: milliseconds, ranOn: inference.ranOn))
        if points.count > 100 { points.removeFirst() }
    }
}
