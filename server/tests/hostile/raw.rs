//! HTTP/2 frame by frame, as no client library would send them (RFC 9113, RFC 7541).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::common::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// Longest that a test waits for a server to close: longer than the server's own limits, where time is
/// the test's.
const LONG: Duration = Duration::from_mins(5);
/// Bytes of the answers that are kept.
const KEPT_BYTES: usize = 1 << 20;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block: literals without indexing and without Huffman coding.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_ref());
        string(&mut block, value.as_ref());
    }
    block
}

fn string(block: &mut Vec<u8>, text: &[u8]) {
    // A length of 7 bits, or 127 and the rest in groups of 7 bits, least significant first.
    let byte = |number: usize| u8::try_from(number).unwrap();
    if text.len() < 127 {
        block.push(byte(text.len()));
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push(byte(rest % 128) | 128);
            rest /= 128;
        }
        block.push(byte(rest));
    }
    block.extend(text);
}

/// HEADERS of a whole header list.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

pub(crate) fn get(path: &str) -> [(&str, &str); 4] {
    [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ]
}

/// A connection whose every byte is the test's.
pub(crate) struct Raw {
    writer: OwnedWriteHalf,
    seen: watch::Receiver<Seen>,
}

/// What a server has sent.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Code of the GOAWAY.
    pub(crate) goaway: Option<u32>,
    /// Codes of streams that were reset.
    pub(crate) resets: Vec<u32>,
    /// Status of the first answer.
    pub(crate) status: Option<u16>,
    /// Of all answers, one behind the other.
    pub(crate) body: Vec<u8>,
    /// Answers begun.
    pub(crate) answers: usize,
    /// Answers ended.
    pub(crate) ended: usize,
    /// Acknowledgements of SETTINGS and PING.
    pub(crate) acks: usize,
    /// Whether the server closed the connection.
    pub(crate) closed: bool,
}

impl Seen {
    /// `kind` of the error in the body.
    pub(crate) fn kind(&self) -> String {
        let error: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        error["kind"].as_str().unwrap().to_owned()
    }

    /// Whether the server has refused the connection.
    pub(crate) fn is_over(&self) -> bool {
        self.closed || self.goaway.is_some()
    }
}

impl Raw {
    /// Connects, and agrees on nothing but the defaults.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, &[]).await
    }

    /// Connects with these settings.
    pub(crate) async fn connect_with(addr: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        let (tell, seen) = watch::channel(Seen::default());
        tokio::spawn(read(reader, tell));
        let mut raw = Self { writer, seen };
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        raw.send(PREFACE).await;
        raw.send(frame(SETTINGS, 0, 0, &settings)).await;
        raw
    }

    /// Sends bytes; false once the server has closed the connection.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = timeout(PATIENCE, self.writer.write_all(bytes.as_ref()));
        sent.await.expect("the server reads").is_ok()
    }

    /// Sends the same bytes again and again; the number of times until the server closed.
    pub(crate) async fn flood(&mut self, bytes: &[u8], times: usize) -> usize {
        // In pieces of some size, or the test would be about system calls.
        let at_once = (64 << 10) / bytes.len() + 1;
        let piece = bytes.repeat(at_once);
        let mut sent = 0;
        while sent < times && !self.seen().is_over() {
            let now = at_once.min(times - sent);
            if !self.send(&piece[..now * bytes.len()]).await {
                break;
            }
            sent += now;
        }
        sent
    }

    /// What the server has said so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until the server has said what is expected, or has closed.
    pub(crate) async fn until(&mut self, said: impl Fn(&Seen) -> bool) -> Seen {
        let seen = self.seen.wait_for(|seen| seen.closed || said(seen));
        let seen = timeout(LONG, seen).await.expect("the server answers");
        seen.unwrap().clone()
    }

    /// What the server says until it closes the connection by itself.
    pub(crate) async fn until_closed(mut self) -> Seen {
        self.until(|_| false).await
    }

    /// What the server says until a stream has ended, or the connection.
    pub(crate) async fn answer(&mut self) -> Seen {
        let said = |seen: &Seen| seen.ended > 0 || !seen.resets.is_empty() || seen.is_over();
        self.until(said).await
    }

    /// One answer to all of these frames, on a connection of their own.
    pub(crate) async fn ask(addr: SocketAddr, frames: &[Vec<u8>]) -> Seen {
        let mut raw = Self::connect(addr).await;
        for frame in frames {
            raw.send(frame).await;
        }
        raw.answer().await
    }
}

/// Until the connection ends, or nobody listens any more.
async fn read(mut reader: OwnedReadHalf, tell: watch::Sender<Seen>) {
    tokio::select! {
        () = read_all(&mut reader, &tell) => tell.send_modify(|seen| seen.closed = true),
        () = tell.closed() => {}
    }
}

async fn read_all(reader: &mut OwnedReadHalf, tell: &watch::Sender<Seen>) {
    loop {
        let mut head = [0; 9];
        if reader.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if reader.read_exact(&mut payload).await.is_err() {
            return;
        }
        tell.send_modify(|seen| seen.take(head[3], head[4], &payload));
    }
}

impl Seen {
    fn take(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4).unwrap();
            u32::from_be_bytes(bytes.try_into().unwrap())
        };
        match kind {
            GOAWAY => self.goaway = Some(number(4)),
            RST_STREAM => self.resets.push(number(0)),
            HEADERS => {
                self.answers += 1;
                if self.answers == 1 {
                    self.status = Some(status(payload));
                }
            }
            DATA if self.body.len() < KEPT_BYTES => self.body.extend(payload),
            SETTINGS | PING if flags & ACK != 0 => self.acks += 1,
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            self.ended += 1;
        }
    }
}

/// The status at the beginning of a connection's first header block.
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        // Literal with the name ':status': three digits, Huffman-coded to 5 bits ('0' to '2') or 6.
        [0x48, length, rest @ ..] if length & 0x80 != 0 => {
            let bits = rest[..usize::from(length & 0x7f)]
                .iter()
                .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            let mut left = 8 * u32::from(length & 0x7f);
            let mut take = |count: u32| {
                left -= count;
                (bits >> left) & ((1 << count) - 1)
            };
            (0..3).fold(0, |status, _| {
                let digit = match take(5) {
                    short @ 0..3 => short,
                    start => (start << 1 | take(1)) - 0b01_1001 + 3,
                };
                10 * status + u16::try_from(digit).unwrap()
            })
        }
        other => panic!("no status: {other:?}"),
    }
}

/// The server closes this plain connection in the end; what it said until then.
pub(crate) async fn closes(mut stream: TcpStream, within: Duration) -> Vec<u8> {
    let mut said = Vec::new();
    let read = timeout(within, stream.read_to_end(&mut said)).await;
    // Reset, where the server had not read all of ours.
    let _ = read.expect("the server closes the connection");
    said
}
