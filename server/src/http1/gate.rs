//! Requests are smuggled where two parsers on their way disagree about where one ends. So a [`Gate`]
//! in front of hyper lets pass only heads that leave no room for that; the phones' listener has
//! HTTP/2 alone and needs none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of one request's line and headers.
pub(super) const MAX_HEAD: usize = 16 << 10;
/// How a head ends: hyper does not look at one that has no end.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A reader behind a [`Gate`].
pub(super) struct Gated<R> {
    reader: R,
    gate: Gate,
}

impl<R> Gated<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            gate: Gate::default(),
        }
    }

    /// Whether nothing passes any more.
    pub(super) fn has_stopped(&self) -> bool {
        matches!(self.gate.state, State::Refused | State::Shut)
    }

    pub(super) fn into_inner(self) -> R {
        self.reader
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Gated<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { reader, gate } = &mut *self;
        match gate.state {
            State::Shut => return Poll::Ready(Ok(())),
            State::Refused => {
                gate.state = State::Shut;
                buf.put_slice(&HEAD_END[..HEAD_END.len().min(buf.remaining())]);
                return Poll::Ready(Ok(()));
            }
            State::Head | State::Body(_) => {}
        }
        let before = buf.filled().len();
        std::task::ready!(Pin::new(reader).poll_read(cx, buf))?;
        let new = &mut buf.filled_mut()[before..];
        let passed = gate.pass(new);
        buf.set_filled(before + passed);
        Poll::Ready(Ok(()))
    }
}

/// Follows a connection's bytes and stops them where a head is not plain HTTP/1.1.
///
/// The byte that must not pass becomes a NUL, and the head ends behind it: no parser takes a NUL in a
/// head, so hyper answers 400 and closes.
#[derive(Debug)]
struct Gate {
    state: State,
    head: Head,
}

#[derive(Debug)]
enum State {
    Head,
    /// Bytes of a body still to come.
    Body(u64),
    /// Nothing passes any more, and the end of the head is still to be made up.
    Refused,
    /// Nothing passes any more.
    Shut,
}

/// What is known of the head that is being read.
#[derive(Debug, Default)]
struct Head {
    line: Vec<u8>,
    bytes: usize,
    lines: usize,
    hosts: usize,
    length: Option<u64>,
    encoded: bool,
}

/// What a line of a head leads to.
enum Next {
    More,
    Body(u64),
    /// The head passes, and nothing after it.
    Last,
    Refuse,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            state: State::Head,
            head: Head::default(),
        }
    }
}

impl Gate {
    /// How many of the next bytes pass.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while let Some(byte) = bytes.get_mut(at) {
            match self.state {
                State::Refused | State::Shut => break,
                State::Body(left) => {
                    let rest = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
                    let step = left.min(rest);
                    at += usize::try_from(step).unwrap_or(usize::MAX);
                    self.state = match left - step {
                        0 => State::Head,
                        left => State::Body(left),
                    };
                }
                State::Head => {
                    at += 1;
                    match self.head.take(*byte) {
                        Next::More => {}
                        Next::Body(length) => {
                            self.head = Head::default();
                            if length > 0 {
                                self.state = State::Body(length);
                            }
                        }
                        Next::Last => self.state = State::Shut,
                        Next::Refuse => {
                            *byte = 0;
                            self.state = State::Refused;
                        }
                    }
                }
            }
        }
        at
    }
}

impl Head {
    fn take(&mut self, byte: u8) -> Next {
        self.bytes += 1;
        if self.bytes > MAX_HEAD {
            return Next::Refuse;
        }
        if byte != b'\n' {
            self.line.push(byte);
            return Next::More;
        }
        let line = std::mem::take(&mut self.line);
        self.lines += 1;
        match line.split_last() {
            Some((b'\r', [])) if self.lines > 1 => self.end(),
            Some((b'\r', line)) if !line.contains(&b'\r') => {
                let plain = if self.lines == 1 {
                    is_request_line(line)
                } else {
                    self.header(line).is_some()
                };
                if plain { Next::More } else { Next::Refuse }
            }
            _ => Next::Refuse,
        }
    }

    /// Notes what a header says about the body; none if it is not plain.
    fn header(&mut self, line: &[u8]) -> Option<()> {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Neither a folded line nor a blank before the colon.
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok()?.parse().ok()?;
            if !digits || self.length.replace(length).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encoded = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        }
        Some(())
    }

    fn end(&self) -> Next {
        match (self.hosts, self.encoded, self.length) {
            (1, false, length) => Next::Body(length.unwrap_or(0)),
            // Answered 411: where it ends is nothing that has to be known.
            (1, true, None) => Next::Last,
            _ => Next::Refuse,
        }
    }
}

/// `METHOD /target HTTP/1.1`: no other version, no absolute or authority form.
fn is_request_line(line: &[u8]) -> bool {
    let mut parts = line.split(|&byte| byte == b' ');
    let method = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or_default();
    !method.is_empty()
        && method.iter().all(u8::is_ascii_uppercase)
        && target.starts_with(b"/")
        && parts.next() == Some(b"HTTP/1.1")
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// What comes out, whichever way the bytes come in.
    async fn through(input: &[u8]) -> Vec<u8> {
        let mut outs = Vec::new();
        for piece in [1, 7, input.len()] {
            let pieces = Pieces(input.chunks(piece).map(<[u8]>::to_vec).collect());
            let mut out = Vec::new();
            Gated::new(pieces).read_to_end(&mut out).await.unwrap();
            outs.push(out);
        }
        assert!(outs.iter().all(|out| *out == outs[0]));
        outs.remove(0)
    }

    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(buf.remaining()));
                buf.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    const GET: &str = "GET /v2 HTTP/1.1\r\nhost: a\r\n\r\n";

    #[tokio::test]
    async fn plain_requests_pass_one_after_another() {
        let post = "POST /a?b=c HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nx:\r\n\r\n\n\0\r\n";
        let all = format!("{GET}{post}{GET}{post}{post}");
        assert_eq!(through(all.as_bytes()).await, all.as_bytes());
    }

    #[tokio::test]
    async fn what_two_parsers_may_read_differently_ends_in_a_nul() {
        for head in [
            "GET /v2 HTTP/1.0\r\nhost: a\r\n\r\n",
            "GET /v2 HTTP/2.0\r\nhost: a\r\n\r\n",
            "GET /v2\r\n\r\n",
            "GET  /v2 HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET\t/v2 HTTP/1.1\r\nhost: a\r\n\r\n",
            " GET /v2 HTTP/1.1\r\nhost: a\r\n\r\n",
            "\r\nGET /v2 HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET http://a/v2 HTTP/1.1\r\nhost: a\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /v2 HTTP/1.1\nhost: a\n\n",
            "GET /v2 HTTP/1.1\r\nhost: a\n\r\n",
            "GET /v2 HTTP/1.1\r\nhost: a\r\n\n",
            "GET /v2 HTTP/1.1\r\nhost: a\rcontent-length: 3\r\n\r\n",
            "GET /v2 HTTP/1.1\r\n\r\n",
            "GET /v2 HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "GET /v2 HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n",
            "GET /v2 HTTP/1.1\r\nhost: a\r\nx : 1\r\n\r\n",
            "GET /v2 HTTP/1.1\r\nhost: a\r\n: 1\r\n\r\n",
            "GET /v2 HTTP/1.1\r\nhost: a\r\nx\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\n",
        ] {
            let passed = through(format!("{head}abc{GET}").as_bytes()).await;
            let good = head
                .bytes()
                .zip(&passed)
                .take_while(|(a, b)| a == *b)
                .count();
            assert_eq!(head.as_bytes()[good], b'\n', "{head:?}");
            assert_eq!(passed[good..], *b"\0\r\n\r\n", "{head:?}");
        }
        let long = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
            "x".repeat(MAX_HEAD)
        );
        let passed = through(long.as_bytes()).await;
        assert_eq!(passed[MAX_HEAD..], *b"\0\r\n\r\n");
    }

    #[tokio::test]
    async fn behind_a_chunked_request_comes_nothing() {
        let head = "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let passed = through(format!("{head}3\r\nabc\r\n0\r\n\r\n{GET}").as_bytes()).await;
        assert_eq!(passed, head.as_bytes());
    }
}
