//! An HTTP/2 server that does as it is told, right or wrong.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dyno_core::client::{
    BodyKind, HttpOptions, HttpTransport, TailAnswer, TailRequest, Transport as _,
};
use dyno_core::schedule::PhotoCodec;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::{compute_tail, expected, manifest};

/// Longer than any test takes: what misses this has hung.
pub const LONG: Duration = Duration::from_secs(30);
/// For requests that are never answered.
pub const SHORT: Duration = Duration::from_millis(100);
/// Room for more than any test sends at once.
const WINDOW: u32 = 16 << 20;

pub type Answer = fn() -> Response<Body>;
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What a server does with every inference; health checks are always answered.
#[derive(Clone)]
pub enum Script {
    Answer(Answer),
    /// Says goodbye (GOAWAY) with each answer.
    AnswerAndLeave(Answer),
    /// Never answers a request that is given less than a second.
    AnswerThePatient(Answer),
    /// Computes what it is asked for, or has the trouble it is told to have.
    Live(Arc<Mutex<Trouble>>),
    /// Knows health checks alone.
    OldServer,
    /// Reads the request and closes the connection.
    Hangup,
}

/// What is wrong with a live server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// Answers this much later.
    Late(Duration),
    /// Never answers.
    Silent,
    /// 429 in another's words, with `retry-after`.
    TooMany,
    /// 503 in the protocol's words, with `retry-after`.
    Full,
    /// 500.
    Broken,
    /// Another's page.
    Portal,
    /// Promises the right length and breaks off.
    Truncated,
    /// One bit of the outputs is another.
    Damaged,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone)]
pub struct TestServer {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

impl TestServer {
    pub async fn start(script: Script) -> Self {
        Self::listen(script, |socket| async { Ok(socket) }).await
    }

    pub async fn listen<S, F>(
        script: Script,
        secure: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = std::io::Result<S>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            seen: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                if let Ok(socket) = secure(socket).await {
                    tokio::spawn(accepting.clone().serve(socket, script.clone()));
                }
            }
        });
        server
    }

    async fn serve(self, socket: impl AsyncRead + AsyncWrite + Unpin + Send, script: Script) {
        let hangup = Arc::new(tokio::sync::Notify::new());
        let service =
            service_fn(|request| self.clone().handle(request, script.clone(), hangup.clone()));
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = &mut connection => {}
            () = hangup.notified() => if matches!(script, Script::AnswerAndLeave(_)) {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }

    async fn handle(
        self,
        request: Request<Incoming>,
        script: Script,
        hangup: Arc<tokio::sync::Notify>,
    ) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            // Nobody is left to read the answer.
            return Ok(Response::new(full("")));
        };
        let body = body.to_bytes();
        if let Script::Live(trouble) = &script {
            let trouble = *trouble.lock().unwrap();
            return Ok(live(&head, &body, trouble).await);
        }
        let is_probe = head.uri.path() == "/v1/probe";
        let is_inference = head.method == Method::POST;
        let deadline = head.headers.get("dyno-deadline-ms");
        let deadline_ms: u32 = deadline.map_or(0, |ms| ms.to_str().unwrap().parse().unwrap());
        self.seen.lock().unwrap().push(Seen {
            method: head.method,
            path: head.uri.path().to_owned(),
            version: head.version,
            headers: head.headers,
            body,
        });
        if !is_inference {
            return Ok(Response::new(full("")));
        }
        if is_probe && !matches!(script, Script::OldServer) {
            let answer = Response::builder()
                .status(204)
                .header("server-timing", "receive;dur=1.5");
            return Ok(answer.body(full("")).unwrap());
        }
        match script {
            Script::Answer(answer) => Ok(answer()),
            Script::AnswerAndLeave(answer) => {
                hangup.notify_one();
                Ok(answer())
            }
            Script::AnswerThePatient(answer) if deadline_ms >= 1_000 => Ok(answer()),
            Script::AnswerThePatient(_) => std::future::pending().await,
            Script::Live(_) => unreachable!("answered above"),
            Script::OldServer => {
                let answer = Response::builder().status(404);
                Ok(answer.body(full("")).unwrap())
            }
            Script::Hangup => {
                hangup.notify_one();
                std::future::pending().await
            }
        }
    }

    pub fn transport(&self) -> HttpTransport {
        let url = format!("http://{}", self.address);
        HttpTransport::new(&url, manifest().outputs.clone(), HttpOptions::default()).unwrap()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn live(head: &Parts, body: &Bytes, trouble: Trouble) -> Response<Body> {
    let answer = |status: u16| Response::builder().status(status);
    match trouble {
        Trouble::None | Trouble::Truncated | Trouble::Damaged => {}
        Trouble::Late(wait) => tokio::time::sleep(wait).await,
        Trouble::Silent => std::future::pending().await,
        Trouble::TooMany => {
            let answer = answer(429).header("retry-after", "1");
            return answer.body(full("<h1>Slow down</h1>")).unwrap();
        }
        Trouble::Full => {
            let answer = answer(503)
                .header("retry-after", "1")
                .header("content-type", "application/json");
            let body = r#"{"error":"no room","kind":"overloaded"}"#;
            return answer.body(full(body)).unwrap();
        }
        Trouble::Broken => return answer(500).body(full("")).unwrap(),
        Trouble::Portal => {
            let answer = answer(200).header("content-type", "text/html");
            return answer.body(full("<h1>Please log in</h1>")).unwrap();
        }
    }
    if head.method != Method::POST {
        return answer(200).body(full("")).unwrap();
    }
    if head.uri.path() == "/v1/probe" {
        let answer = answer(204).header("server-timing", "receive;dur=0.1");
        return answer.body(full("")).unwrap();
    }
    let Some(outputs) = infer(head, body) else {
        return answer(400).body(full("")).unwrap();
    };
    let checksum = format!("{:08x}", crc32fast::hash(&outputs));
    let mut sent = outputs.clone();
    if trouble == Trouble::Damaged {
        sent[1] ^= 1;
    }
    let body = match trouble {
        Trouble::Truncated => {
            let breaks = std::io::Error::other("the server died");
            let frames = [Ok(Frame::data(sent[..5].to_vec().into())), Err(breaks)];
            StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
        }
        _ => full(sent),
    };
    answer(200)
        .header("content-type", "application/vnd.dyno.outputs")
        .header("dyno-bundle", manifest().hash.as_str())
        .header("dyno-crc32", checksum)
        .header("server-timing", "receive;dur=0.1, infer;dur=0.1")
        .body(body)
        .unwrap()
}

/// What the model makes of a request; none if its body is none.
fn infer(head: &Parts, body: &Bytes) -> Option<Vec<u8>> {
    let kind = match head.headers.get("content-type")?.to_str().ok()? {
        "application/vnd.dyno.activation" => BodyKind::Packed,
        "image/png" => BodyKind::Photo(PhotoCodec::Png),
        _ => return None,
    };
    let request = TailRequest {
        model: "arithmetic".into(),
        bundle: manifest().hash.clone(),
        body: body.clone(),
        kind,
        deadline: Duration::MAX,
    };
    let answer = compute_tail(&request).ok()?;
    Some(answer.outputs[0].data().to_le_bytes())
}

pub fn logits() -> Vec<u8> {
    expected().data().to_le_bytes()
}

pub fn outputs(body: Body) -> Response<Body> {
    Response::builder()
        .header("content-type", "application/vnd.dyno.outputs")
        .header("dyno-bundle", manifest().hash.as_str())
        .header(
            "server-timing",
            "receive;dur=1.5, unpack;dur=0.5, queue;dur=0.25, infer;dur=3",
        )
        .header("dyno-load", "in-flight=3, capacity=16")
        .body(body)
        .unwrap()
}

pub fn right() -> Response<Body> {
    outputs(full(logits()))
}

pub fn request(kind: BodyKind, deadline: Duration) -> TailRequest {
    TailRequest {
        model: "arithmetic".into(),
        bundle: manifest().hash.clone(),
        body: Bytes::from_static(b"what crosses the cut"),
        kind,
        deadline,
    }
}

pub async fn ask(server: &TestServer) -> dyno_core::Result<TailAnswer> {
    server
        .transport()
        .infer(request(BodyKind::Packed, LONG))
        .await
}

pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A certificate for localhost, signed by an authority of its own: server's side, client's side.
pub fn tls() -> (tokio_rustls::TlsAcceptor, Vec<u8>) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);

    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    (acceptor, authority_certificate.pem().into_bytes())
}
