import AVFoundation
import Dyno

/// The back camera, as a stream of staged frames.
enum Camera {
    /// Frames for as long as the stream is iterated; none without the user's permission.
    static func frames(for client: DynoClient) -> AsyncStream<DynoFrame> {
        AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            let recorder = Recorder(client: client, continuation: continuation)
            continuation.onTermination = { _ in recorder.stop() }
            recorder.start()
        }
    }
}

/// Stages each frame where the camera hands it over, so that the camera has its memory back at once.
private final class Recorder: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate, @unchecked Sendable {
    private let client: DynoClient
    private let continuation: AsyncStream<DynoFrame>.Continuation
    // Only touched on the queue.
    private let session = AVCaptureSession()
    private let queue = DispatchQueue(label: "camera")

    init(client: DynoClient, continuation: AsyncStream<DynoFrame>.Continuation) {
        self.client = client
        self.continuation = continuation
    }

    func start() {
        AVCaptureDevice.requestAccess(for: .video) { [self] isGranted in
            queue.async { [self] in
                guard isGranted, addCamera() else { return continuation.finish() }
                session.startRunning()
            }
        }
    }

    func stop() {
        queue.async { [self] in session.stopRunning() }
    }

    private func addCamera() -> Bool {
        let output = AVCaptureVideoDataOutput()
        output.setSampleBufferDelegate(self, queue: queue)
        guard let camera = AVCaptureDevice.default(for: .video),
            let input = try? AVCaptureDeviceInput(device: camera),
            session.canAddInput(input), session.canAddOutput(output)
        else { return false }
        session.addInput(input)
        session.addOutput(output)
        return true
    }

    func captureOutput(
        _ output: AVCaptureOutput,
        didOutput sample: CMSampleBuffer,
        from connection: AVCaptureConnection
    ) {
        // Upright for a phone that is held upright: its sensor lies on the side.
        if let buffer = sample.imageBuffer, let frame = try? client.stage(buffer, orientation: .right) {
            continuation.yield(frame)
        }
    }
}
