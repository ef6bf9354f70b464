//! What a client needs of a network: to carry a packed activation there and the outputs back.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::bundle::BundleHash;
use crate::schedule::PhotoCodec;
use crate::{Result, Tensor};

/// Carries one request to a server that runs tails.
///
/// A trait, so that policy is tested without sockets and with paused time; the real one is
/// `HttpTransport`. Dropping the future abandons the request.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request`, returns the tail's outputs.
    ///
    /// Fails with the kinds that the server names, with
    /// [`Unreachable`](crate::ErrorKind::Unreachable) where there is none, with
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) and with
    /// [`Protocol`](crate::ErrorKind::Protocol).
    ///
    /// Keeps to the request's deadline by itself; a client that waits a little longer in vain
    /// drops the future.
    fn infer(&self, request: TailRequest) -> BoxFuture<'_, Result<TailAnswer>>;

    /// Opens the connection, so that the first inference does not wait for it; returns a round
    /// trip on the open connection if one was timed.
    fn warm_up(&self) -> BoxFuture<'_, Result<Option<Duration>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Sends so many bytes that mean nothing, to learn what the link is worth now; none if this
    /// transport cannot.
    ///
    /// Fails like [`infer`](Self::infer). A server that knows no probes has not refused anything.
    fn probe(&self, _bytes: usize) -> BoxFuture<'_, Result<Option<Probed>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// The device is on another network: connections over the old one are of no use any more, and
    /// must not delay the next request.
    fn network_changed(&self) {}
}

/// What crosses the cut.
#[derive(Debug, Clone)]
pub struct TailRequest {
    /// Name of the model on the server.
    pub model: String,
    /// The bundle that the head was cut from; the server refuses another.
    pub bundle: BundleHash,
    /// The packed activation, or the photo.
    pub body: Bytes,
    /// What the body is.
    pub kind: BodyKind,
    /// The server may drop the request once this has passed since it arrived.
    pub deadline: Duration,
}

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyKind {
    /// A packed activation; it names its own cut.
    Packed,
    /// A photo already cropped and scaled to the model's size.
    Photo(PhotoCodec),
}

/// The tail's outputs, and where the time went.
#[derive(Debug, Clone)]
pub struct TailAnswer {
    /// In the bundle's order.
    pub outputs: Vec<Tensor>,
    /// Times that the server measured.
    pub timing: ServerTiming,
    /// How busy the server was.
    pub load: ServerLoad,
}

/// Times measured by the server, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ServerTiming {
    /// From the arrival of the request's headers to the last byte of its body: the best sample of
    /// the uplink there is. The headers leave just before the body, so that this is the time that
    /// the body took on its way, even of one that comes as a single piece.
    pub receive_ms: f64,
    /// Decoding the activation or the photo.
    pub unpack_ms: f64,
    /// Waiting for a worker.
    pub queue_ms: f64,
    /// Running the tail.
    pub infer_ms: f64,
}

impl ServerTiming {
    /// All of it.
    pub fn total_ms(&self) -> f64 {
        self.receive_ms + self.unpack_ms + self.queue_ms + self.infer_ms
    }
}

/// What a probe found.
#[derive(Debug, Clone, Copy)]
pub struct Probed {
    /// From sending it to its answer.
    pub wall: Duration,
    /// Times that the server measured; 0 where it could only be asked whether it lives.
    pub timing: ServerTiming,
}

/// How busy the server was when it answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerLoad {
    /// Requests admitted and not yet answered, this one included.
    pub in_flight: u32,
    /// Requests it admits at once.
    pub capacity: u32,
}
