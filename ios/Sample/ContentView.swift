import Dyno
import PhotosUI
import SwiftUI

/// The answer, how it came about, and the last hundred of them.
struct ContentView: View {
    @ObservedObject var classifier: Classifier
    @State private var picked: PhotosPickerItem?
    @State private var usesCamera = false

    var body: some View {
        VStack(spacing: 16) {
            Text(classifier.answer?.top.first?.label ?? "–")
                .font(.largeTitle.bold())
            if let answer = classifier.answer {
                AnswerView(answer: answer)
            }
            LatencyChart(points: classifier.points)
            if let stats = classifier.stats {
                Text("next: \(stats.planName), \(stats.inferences) answers, \(stats.fallbacks) fallbacks")
                    .font(.footnote)
            }
            if let problem = classifier.problem {
                Text(problem).foregroundStyle(.red)
            }
            PhotosPicker("Choose a photo", selection: $picked, matching: .images)
            Toggle("Camera", isOn: $usesCamera)
        }
        .padding()
        .disabled(classifier.client == nil)
        .task(id: picked) { await classifyPicked() }
        .task(id: usesCamera) { await watchCamera() }
    }

    private func classifyPicked() async {
        if let data = try? await picked?.loadTransferable(type: Data.self), let photo = UIImage(data: data) {
            await classifier.classify(photo)
        }
    }

    /// Ends when the toggle is switched: its task is cancelled.
    private func watchCamera() async {
        guard usesCamera, let client = classifier.client else { return }
        await classifier.watch(Camera.frames(for: client))
    }
}

/// Where an answer comes from and what it took.
struct AnswerView: View {
    let answer: Inference

    var body: some View {
        Grid(alignment: .leading) {
            row("ran on", answer.ranOn.rawValue)
            row("why", answer.reason)
            row("latency", answer.times.total.formatted(.units(allowed: [.milliseconds])))
            row("sent", answer.bytesUp.formatted(.byteCount(style: .file)))
        }
    }

    private func row(_ name: String, _ value: String) -> some View {
        GridRow {
            Text(name).foregroundStyle(.secondary)
            Text(value)
        }
    }
}
