internal import DynoFFI

/// A photo at the model's size, ready to be inferred.
///
/// It is small (the model's input, one byte a channel) and refers to no memory of the caller's.
public final class DynoFrame: Sendable {
    let native: Frame

    init(_ native: Frame) {
        self.native = native
    }

    /// Ends every inference of this frame with ``DynoError/Kind/cancelled``, also those that begin
    /// later. To infer the photo again, stage it again.
    public func cancel() {
        // It sets a flag, which cannot fail.
        try? native.cancel()
    }
}
