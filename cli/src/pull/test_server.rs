//! A small HTTP/1.1 file server that misbehaves on request: one scripted answer per connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// How one request is answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// As a good server does: ranges, If-Range, an `ETag`.
    Serve {
        content: Vec<u8>,
        etag: &'static str,
    },
    /// As above, but the connection breaks after so many bytes of the body.
    CutAfter {
        content: Vec<u8>,
        etag: &'static str,
        bytes: usize,
    },
    /// The whole file, whatever range was asked for.
    IgnoreRange { content: Vec<u8> },
    /// A part that starts elsewhere than asked.
    WrongRange,
    /// No length in the header, the body ends with the connection.
    NoLength { content: Vec<u8> },
    /// A status and no body.
    Status(&'static str),
}

/// What a request asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) range: Option<String>,
    pub(super) if_range: Option<String>,
}

/// Serves the script, then closes.
pub(super) struct TestServer {
    pub(super) url: String,
    thread: JoinHandle<Vec<Request>>,
}

impl TestServer {
    pub(super) fn start(script: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            script
                .into_iter()
                .map(|answer| {
                    let (stream, _) = listener.accept().unwrap();
                    let request = read_request(&stream);
                    answer.write(&request, &stream);
                    request
                })
                .collect()
        });
        Self { url, thread }
    }

    /// The requests there were; the script must have been used up.
    pub(super) fn requests(self) -> Vec<Request> {
        self.thread.join().unwrap()
    }
}

impl Answer {
    fn write(self, request: &Request, mut stream: &TcpStream) {
        let response = match self {
            Self::Serve { content, etag } => serve(&content, etag, request),
            Self::CutAfter {
                content,
                etag,
                bytes,
            } => {
                let mut response = serve(&content, etag, request);
                let rest = content.len() - request.start().unwrap_or(0);
                response.truncate(response.len() - rest + bytes);
                response
            }
            Self::IgnoreRange { content } => with_length(&content, None, ""),
            Self::WrongRange => b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/1\r\n\
                Content-Length: 1\r\nConnection: close\r\n\r\n!"
                .to_vec(),
            Self::NoLength { content } => [
                b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
                &content[..],
            ]
            .concat(),
            Self::Status(status) => {
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .into_bytes()
            }
        };
        // The client may hang up as soon as it has seen enough.
        let _ = stream.write_all(&response);
    }
}

impl Request {
    /// The first byte asked for.
    fn start(&self) -> Option<usize> {
        let range = self.range.as_deref()?;
        Some(
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .unwrap(),
        )
    }
}

/// The part that was asked for, unless it is a part of another version.
fn serve(content: &[u8], etag: &str, request: &Request) -> Vec<u8> {
    let current = request.if_range.as_deref().is_none_or(|tag| tag == etag);
    let start = request.start().filter(|_| current);
    with_length(content, start, &format!("ETag: {etag}\r\n"))
}

/// The file from `start`, or all of it.
fn with_length(content: &[u8], start: Option<usize>, headers: &str) -> Vec<u8> {
    let body = &content[start.unwrap_or(0)..];
    let status = match start {
        None => "200 OK\r\n".to_owned(),
        Some(start) => format!(
            "206 Partial Content\r\nContent-Range: bytes {start}-{}/{}\r\n",
            content.len() - 1,
            content.len()
        ),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}Content-Length: {length}\r\n{headers}Connection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn read_request(stream: &TcpStream) -> Request {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let mut request = Request {
        path: first.split(' ').nth(1).unwrap().to_owned(),
        ..Request::default()
    };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "if-range" => request.if_range = Some(value.to_owned()),
            _ => {}
        }
    }
    request
}
