import Charts
import SwiftUI

/// How long the last answers took, coloured by where they were computed.
struct LatencyChart: View {
    let points: [Classifier.Point]

    var body: some View {
        Chart(points) { point in
            PointMark(
                x: .value("Answer", point.id),
                y: .value("Milliseconds", point.milliseconds)
            )
            .foregroundStyle(by: .value("Ran on", point.ranOn.rawValue))
        }
        .chartYScale(domain: .automatic(includesZero: true))
        .frame(height: 200)
    }
}
