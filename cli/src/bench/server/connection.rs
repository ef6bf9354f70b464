//! Connections of the generator, kept for the whole run, and one request over one of them.
//!
//! h2 itself rather than a client on top of it: a request that is given up, or read slowly, or
//! sent in pieces is a thing of streams and windows.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::bodies::Prepared;
use super::mix::{Job, Manner};

/// What a stream may hold unread, and a connection: answers never wait for window updates ...
const WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// ... but those of slow readers do.
const SLOW_WINDOW: u32 = 512;
/// Pieces of a slow body; a slow reader takes [`SLOW_WINDOW`] bytes at a time.
const DRIP_PIECES: usize = 20;
/// Time between two pieces.
const PIECE_PAUSE: Duration = Duration::from_millis(100);
/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    Answered(Answer),
    /// Given up by its own client.
    Cancelled,
    /// No answer.
    Failed(Failure),
}

/// An answer, read to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) timing: Option<ServerMs>,
    /// How many requests the server admits at once, if it says so.
    pub(super) capacity: Option<usize>,
}

impl Outcome {
    /// Whether the server had no room for it.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Answered(answer) if matches!(answer.status, 429 | 503))
    }
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// The stream was reset.
    Reset,
    /// The connection ended.
    Connection,
    /// Nothing within [`PATIENCE`].
    TimedOut,
}

impl Failure {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Connection => "connection",
            Self::TimedOut => "timed_out",
        }
    }
}

/// The parts of a `server-timing` header, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct ServerMs {
    pub(super) receive: f64,
    pub(super) unpack: f64,
    pub(super) queue: f64,
    pub(super) infer: f64,
}

/// The connections of one generator, taken by turns.
#[derive(Debug)]
pub(super) struct Connections {
    fast: Vec<SendRequest<Bytes>>,
    slow: SendRequest<Bytes>,
    turn: AtomicUsize,
    /// What carries each connection; they end with this.
    carriers: Vec<JoinHandle<()>>,
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.carriers.iter().for_each(JoinHandle::abort);
    }
}

impl Connections {
    /// Opens `count` connections, and one for slow readers.
    pub(super) async fn open(to: SocketAddr, count: usize) -> Result<Self> {
        let mut carriers = Vec::new();
        let mut fast = Vec::new();
        for _ in 0..count.max(1) {
            fast.push(open(to, WINDOW, &mut carriers).await?);
        }
        Ok(Self {
            fast,
            slow: open(to, SLOW_WINDOW, &mut carriers).await?,
            turn: AtomicUsize::new(0),
            carriers,
        })
    }

    /// The one whose turn it is.
    pub(super) fn next(&self, manner: Manner) -> SendRequest<Bytes> {
        if manner == Manner::SlowReader {
            return self.slow.clone();
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.fast[turn % self.fast.len()].clone()
    }
}

async fn open(
    to: SocketAddr,
    window: u32,
    carriers: &mut Vec<JoinHandle<()>>,
) -> Result<SendRequest<Bytes>> {
    let tcp = TcpStream::connect(to)
        .await
        .with_context(|| format!("cannot connect to {to}"))?;
    tcp.set_nodelay(true)?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false)
        .handshake(tcp)
        .await
        .with_context(|| format!("{to} does not speak HTTP/2"))?;
    carriers.push(tokio::spawn(async {
        if let Err(error) = connection.await {
            log::debug!("a connection ended: {error}");
        }
    }));
    Ok(sender)
}

/// Sends a request in its manner and waits for what comes of it; a client that gives up does so
/// within `cancel_within`.
pub(super) async fn exchange(
    sender: SendRequest<Bytes>,
    request: &Prepared,
    job: Job,
    cancel_within: Duration,
) -> Outcome {
    let patience = match job.manner {
        Manner::Cancels => cancel_within.mul_f64(job.luck),
        _ => PATIENCE,
    };
    match tokio::time::timeout(patience, attempt(sender, request, job.manner)).await {
        Ok(Ok(answer)) => Outcome::Answered(answer),
        Ok(Err(error)) if error.is_io() || error.is_go_away() => {
            Outcome::Failed(Failure::Connection)
        }
        Ok(Err(_)) => Outcome::Failed(Failure::Reset),
        // Dropping the stream has reset it.
        Err(_) if job.manner == Manner::Cancels => Outcome::Cancelled,
        Err(_) => Outcome::Failed(Failure::TimedOut),
    }
}

async fn attempt(
    sender: SendRequest<Bytes>,
    request: &Prepared,
    manner: Manner,
) -> Result<Answer, h2::Error> {
    let mut sender = sender.ready().await?;
    let (answer, mut stream) = sender.send_request(request.head.clone(), false)?;
    let answer = if manner == Manner::SlowDrip {
        drip(&mut stream, &request.body, answer).await?
    } else {
        stream.send_data(request.body.clone(), true)?;
        answer.await?
    };
    let (head, body) = answer.into_parts();
    read(body, manner == Manner::SlowReader).await?;
    Ok(Answer {
        status: head.status.as_u16(),
        timing: timing(&head.headers),
        capacity: capacity(&head.headers),
    })
}

/// Sends a body piece by piece, until it is sent or answered.
async fn drip(
    stream: &mut SendStream<Bytes>,
    body: &Bytes,
    mut answer: ResponseFuture,
) -> Result<http::Response<RecvStream>, h2::Error> {
    let size = body.len().div_ceil(DRIP_PIECES).max(1);
    let mut left = body.clone();
    loop {
        let piece = left.split_to(size.min(left.len()));
        let is_last = left.is_empty();
        if stream.send_data(piece, is_last).is_err() || is_last {
            // Reset or sent: the answer tells.
            return answer.await;
        }
        if let Ok(answer) = tokio::time::timeout(PIECE_PAUSE, &mut answer).await {
            return answer;
        }
    }
}

async fn read(mut body: RecvStream, slowly: bool) -> Result<(), h2::Error> {
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => {
                if slowly {
                    tokio::time::sleep(PIECE_PAUSE).await;
                }
                body.flow_control().release_capacity(piece.len())?;
            }
            // A server that has answered wants no more of the body, and says so.
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn timing(headers: &HeaderMap) -> Option<ServerMs> {
    let text = headers.get("server-timing")?.to_str().ok()?;
    let mut timing = ServerMs::default();
    for part in text.split(',') {
        let (name, duration) = part.trim().split_once(";dur=")?;
        let ms: f64 = duration.parse().ok()?;
        match name {
            "receive" => timing.receive = ms,
            "unpack" => timing.unpack = ms,
            "queue" => timing.queue = ms,
            "infer" => timing.infer = ms,
            _ => {}
        }
    }
    Some(timing)
}

fn capacity(headers: &HeaderMap) -> Option<usize> {
    let text = headers.get("dyno-load")?.to_str().ok()?;
    let fields = text.split(',').map(str::trim);
    let mut capacities = fields.filter_map(|field| field.strip_prefix("capacity="));
    capacities.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_where_the_time_went_and_how_many_are_admitted() {
        let mut headers = HeaderMap::new();
        assert_eq!(timing(&headers), None);
        assert_eq!(capacity(&headers), None);
        let line = "receive;dur=1.250, unpack;dur=0.5, queue;dur=0, infer;dur=3.2, other;dur=9";
        headers.insert("server-timing", line.parse().unwrap());
        headers.insert("dyno-load", "in-flight=3, capacity=16".parse().unwrap());
        let expected = ServerMs {
            receive: 1.25,
            unpack: 0.5,
            queue: 0.0,
            infer: 3.2,
        };
        assert_eq!(timing(&headers), Some(expected));
        assert_eq!(capacity(&headers), Some(16));
        headers.insert("server-timing", "receive".parse().unwrap());
        assert_eq!(timing(&headers), None);
    }
}
