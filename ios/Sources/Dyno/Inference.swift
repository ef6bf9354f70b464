import Foundation
internal import DynoFFI

/// The answer to one photo, and how it came about.
public struct Inference: Sendable, Equatable {
    /// The most likely classes, most likely first; empty unless the model is a classifier.
    public let top: [Label]
    /// The model's outputs: for classifiers only if ``DynoConfiguration/rawOutputs`` is on.
    public let outputs: [Output]
    /// Where the model ran.
    public let ranOn: RanOn
    /// Why there, in a sentence.
    public let reason: String
    /// The plan that was followed, as far as it went; where it was asked again, what was sent then.
    public let plan: Plan
    /// Where the plan cut: 0 for a photo, the last cut for the device alone.
    public let cut: Int
    /// Bytes of the body that was sent, whether or not it was answered; of both where it was asked again.
    public let bytesUp: Int
    /// Whether the server's first answer was in doubt: a finer message was sent, or the device computed it.
    public let secondLook: Bool
    /// Where the time went.
    public let times: StageTimes
    /// Why it was not the plan that gave the answer; `nil` if it was.
    public let fallback: Fallback?
    /// What the inference was expected to take, without preprocessing.
    public let estimated: Duration

    /// One class of an answer.
    public struct Label: Sendable, Hashable, Identifiable {
        /// Position in the model's output.
        public let index: Int
        /// Name of the class; empty if the bundle has none for it.
        public let label: String
        /// Probability, 0 to 1.
        public let score: Float

        /// The same as ``index``.
        public var id: Int { index }
    }

    /// One output of the model.
    public struct Output: Sendable, Equatable {
        /// Name in the graph.
        public let name: String
        /// Dimensions, outermost first.
        public let shape: [Int]
        /// Type of the elements.
        public let element: ElementType
        /// The elements, row-major, little-endian.
        public let data: Data
    }

    /// Type of an output's elements.
    public enum ElementType: Sendable, Hashable, CaseIterable {
        /// 32-bit float.
        case f32
        /// 64-bit signed integer.
        case i64
        /// 32-bit signed integer.
        case i32
        /// 8-bit unsigned integer.
        case u8
        /// 8-bit signed integer.
        case i8
        /// Boolean, one byte an element.
        case bool
    }

    /// Where the model ran.
    public enum RanOn: String, Sendable, Hashable, CaseIterable {
        /// All of it on the device, even where the server was asked first.
        case device
        /// The head on the device, the tail on the server.
        case split
        /// All of it on the server.
        case server
    }

    /// Why something else than the plan gave the answer.
    public struct Fallback: Sendable, Equatable {
        /// What failed.
        public let kind: DynoError.Kind
        /// How, for developers and logs.
        public let reason: String
        /// The cut from which the rest was computed: what lies before it was not computed again.
        public let fromCut: Int
    }
}

/// Where the time of one inference went.
///
/// Divide by a unit for a number: `times.total / .milliseconds(1)`.
public struct StageTimes: Sendable, Equatable {
    /// Everything: staging the photo, and from the call to the answer.
    public let total: Duration
    /// Photo to frame, frame to tensor.
    public let preprocess: Duration
    /// On the device, the tail included where it was resumed there.
    public let device: Duration
    /// Packing the activation or encoding the photo.
    public let pack: Duration
    /// The request, less the server's work.
    public let network: Duration
    /// Waiting for a worker of the server.
    public let queue: Duration
    /// On the server.
    public let server: Duration
    /// Softmax and labels.
    public let post: Duration
}

extension Inference {
    init(_ inference: DynoFFI.Inference) {
        top = inference.top.map { Label(index: Int($0.index), label: $0.label, score: $0.score) }
        outputs = inference.outputs.map(Output.init)
        ranOn = RanOn(inference.ranOn)
        reason = inference.reason
        plan = Plan(inference.plan)
        cut = Int(inference.cut)
        bytesUp = Int(clamping: inference.bytesUp)
        secondLook = inference.secondLook
        times = StageTimes(inference.times)
        fallback = inference.fallback.map {
            Fallback(kind: DynoError.Kind($0.kind), reason: $0.reason, fromCut: Int($0.fromCut))
        }
        estimated = .milliseconds(inference.estimatedMs)
    }
}

extension Inference.Output {
    fileprivate init(_ output: OutputTensor) {
        name = output.name
        shape = output.shape.map { Int($0) }
        element = Inference.ElementType(output.element)
        data = output.data
    }
}

extension Inference.ElementType {
    fileprivate init(_ element: DynoFFI.ElementType) {
        self =
            switch element {
            case .f32: .f32
            case .i64: .i64
            case .i32: .i32
            case .u8: .u8
            case .i8: .i8
            case .bool: .bool
            }
    }
}

extension Inference.RanOn {
    fileprivate init(_ ranOn: DynoFFI.RanOn) {
        self =
            switch ranOn {
            case .device: .device
            case .split: .split
            case .server: .server
            }
    }
}

extension StageTimes {
    init(_ times: DynoFFI.StageTimes) {
        total = .milliseconds(times.totalMs)
        preprocess = .milliseconds(times.preprocessMs)
        device = .milliseconds(times.deviceMs)
        pack = .milliseconds(times.packMs)
        network = .milliseconds(times.networkMs)
        queue = .milliseconds(times.queueMs)
        server = .milliseconds(times.serverMs)
        post = .milliseconds(times.postMs)
    }
}
