import SwiftUI

@main
struct SampleApp: App {
    @StateObject private var classifier = Classifier()

    var body: some Scene {
        WindowGroup {
            ContentView(classifier: classifier)
                .task { await classifier.open() }
        }
    }
}
