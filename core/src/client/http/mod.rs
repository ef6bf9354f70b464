//! The transport over HTTP/2: one warm connection, one request an inference, no retries.
//!
//! A request is `POST {base}/v1/models/{model}/infer` with the packed activation or the photo; an
//! answer is the outputs' elements and nothing else. A failed request is not sent again: the
//! device finishes the work instead.

mod answer;
mod connection;
mod headers;
mod token;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use self::answer::{Expected, Failure};
use self::connection::Connection;
pub use self::token::Token;
use super::{BodyKind, Probed, TailAnswer, TailRequest, Transport};
use crate::{Error, ErrorKind, Result, TensorSpec};

/// Media type of a packed activation.
const ACTIVATION_TYPE: &str = "application/vnd.dyno.activation";
/// Media type of an answer: every output's elements, little-endian, row-major, concatenated.
const OUTPUTS_TYPE: &str = "application/vnd.dyno.outputs";
/// Hash of the bundle, in requests and answers.
const BUNDLE_HEADER: &str = "dyno-bundle";
/// CRC-32 of an answer's body, in hex digits.
const CHECKSUM_HEADER: &str = "dyno-crc32";
/// Says that a photo already has the model's size.
const PHOTO_HEADER: &str = "dyno-photo";
/// Milliseconds after which the server may drop the request.
const DEADLINE_HEADER: &str = "dyno-deadline-ms";
/// Longest time for opening the connection ahead of need, and for a probe.
const WARM_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest body of a probe that servers take.
const MAX_PROBE_BYTES: usize = 64 << 10;
/// What a probe is made of.
static NOTHING: [u8; MAX_PROBE_BYTES] = [0; MAX_PROBE_BYTES];

/// How to connect.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Certificate of the authority that signed the server's, PEM; it is then the only authority
    /// trusted. None: the system's.
    pub root_certificate: Option<Vec<u8>>,
    /// Longest time for TCP and TLS to connect.
    pub connect_timeout: Duration,
    /// What a server that lets nobody else in wants to see; goes with every request, health checks
    /// and probes included. Over `http://` whoever carries the request reads it.
    pub token: Option<Token>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            root_certificate: None,
            connect_timeout: Duration::from_secs(2),
            token: None,
        }
    }
}

/// Talks to a DynO server over HTTP/2: by prior knowledge on `http://`, by ALPN on `https://`.
///
/// No proxies, no redirects, no cookies. After a missed deadline or a broken connection the next
/// request opens another connection: a dead one would otherwise be used until it is noticed.
///
/// ```
/// use dyno_core::client::{HttpOptions, HttpTransport};
/// use dyno_core::{ElementType, TensorSpec};
///
/// let outputs = vec![TensorSpec {
///     name: "logits".into(),
///     element: ElementType::F32,
///     shape: vec![1, 10],
/// }];
/// HttpTransport::new("http://127.0.0.1:8600", outputs.clone(), HttpOptions::default())?;
/// assert!(HttpTransport::new("ftp://127.0.0.1", outputs, HttpOptions::default()).is_err());
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Debug)]
pub struct HttpTransport {
    base: Url,
    outputs: Vec<TensorSpec>,
    connection: Connection,
}

impl HttpTransport {
    /// A transport to the server at `url`, for a model with these `outputs`. Connects on first
    /// use.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if the URL is not `http(s)://host[:port][/path]`
    /// or the certificate is none, or if the system knows no authorities to trust.
    pub fn new(url: &str, outputs: Vec<TensorSpec>, options: HttpOptions) -> Result<Self> {
        let base = parse_base(url)?;
        let secure = base.scheme() == "https";
        Ok(Self {
            connection: Connection::new(secure, options)?,
            base,
            outputs,
        })
    }

    async fn exchange(&self, request: TailRequest) -> Result<TailAnswer> {
        let deadline = request.deadline;
        let (client, generation) = self.connection.current();
        let failure = match tokio::time::timeout(deadline, self.send(&client, request)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Connection(Error::new(
                ErrorKind::DeadlineExceeded,
                format!("no answer from {} within {deadline:?}", self.base),
            )),
        };
        Err(self.settle(failure, generation))
    }

    async fn send(
        &self,
        client: &reqwest::Client,
        request: TailRequest,
    ) -> Result<TailAnswer, Failure> {
        let expected = Expected {
            bundle: &request.bundle,
            outputs: &self.outputs,
        };
        let post = client
            .post(self.url(["v1", "models", &request.model, "infer"]))
            .header(ACCEPT, OUTPUTS_TYPE)
            .header(BUNDLE_HEADER, request.bundle.as_str())
            .header(DEADLINE_HEADER, deadline_ms(request.deadline));
        let post = match request.kind {
            BodyKind::Packed => post.header(CONTENT_TYPE, ACTIVATION_TYPE),
            BodyKind::Photo(codec) => post
                .header(CONTENT_TYPE, codec.media_type())
                .header(PHOTO_HEADER, "staged"),
        };
        let response = post.body(request.body).send().await;
        answer::read(
            response.map_err(|error| Failure::connection(&error))?,
            &expected,
        )
        .await
    }

    /// Opens the connection with one request, and times another on it.
    async fn open(&self) -> Result<Duration> {
        let (client, generation) = self.connection.current();
        let both = async {
            self.check_live(&client).await?;
            let sent = tokio::time::Instant::now();
            self.check_live(&client).await?;
            Ok(sent.elapsed())
        };
        self.soon(both, generation).await
    }

    async fn send_probe(&self, bytes: usize) -> Result<Probed> {
        let (client, generation) = self.connection.current();
        let body = NOTHING.get(..bytes).unwrap_or(&NOTHING);
        let exchange = async {
            let mut sent = tokio::time::Instant::now();
            let post = client
                .post(self.url(["v1", "probe"]))
                .body(Bytes::from_static(body));
            let response = post.send().await.map_err(|e| Failure::connection(&e))?;
            let timing = answer::read_probe(response).await?;
            if timing.is_none() {
                sent = tokio::time::Instant::now();
                self.check_live(&client).await?;
            }
            Ok(Probed {
                wall: sent.elapsed(),
                timing: timing.unwrap_or_default(),
            })
        };
        self.soon(exchange, generation).await
    }

    /// What comes of something small.
    async fn soon<T>(
        &self,
        exchange: impl Future<Output = Result<T, Failure>>,
        generation: u64,
    ) -> Result<T> {
        let failure = match tokio::time::timeout(WARM_UP_TIMEOUT, exchange).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Connection(Error::new(
                ErrorKind::Unreachable,
                format!(
                    "no sign of life from {} within {WARM_UP_TIMEOUT:?}",
                    self.base
                ),
            )),
        };
        Err(self.settle(failure, generation))
    }

    async fn check_live(&self, client: &reqwest::Client) -> Result<(), Failure> {
        let get = client.get(self.url(["v2", "health", "live"])).send().await;
        let status = get.map_err(|error| Failure::connection(&error))?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(Failure::Answer(Error::new(
            ErrorKind::Protocol,
            format!("{} answered its health check with {status}", self.base),
        )))
    }

    /// Has the next request open another connection if this one is to blame.
    fn settle(&self, failure: Failure, generation: u64) -> Error {
        let (error, is_suspect) = match failure {
            // What was damaged once may be so from here on: headers refer to earlier ones.
            Failure::Answer(error) => {
                let is_damaged = error.kind() == ErrorKind::Protocol;
                (error, is_damaged)
            }
            Failure::Connection(error) => (error, true),
        };
        if is_suspect {
            self.connection.renew(generation);
        }
        error
    }

    fn url<const N: usize>(&self, segments: [&str; N]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

impl Transport for HttpTransport {
    fn infer(&self, request: TailRequest) -> BoxFuture<'_, Result<TailAnswer>> {
        Box::pin(self.exchange(request))
    }

    fn warm_up(&self) -> BoxFuture<'_, Result<Option<Duration>>> {
        Box::pin(async { self.open().await.map(Some) })
    }

    fn probe(&self, bytes: usize) -> BoxFuture<'_, Result<Option<Probed>>> {
        Box::pin(async move { self.send_probe(bytes).await.map(Some) })
    }

    fn network_changed(&self) {
        self.connection.renew_current();
    }
}

fn parse_base(url: &str) -> Result<Url> {
    let invalid = |why: &str| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("the server's address '{url}' {why}: use http(s)://host[:port]"),
        )
    };
    let base = Url::parse(url).map_err(|error| invalid(&format!("is no URL ({error})")))?;
    if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
        return Err(invalid("is not one of HTTP"));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(invalid("holds a user or password, which are not sent"));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(invalid("has a query or fragment"));
    }
    Ok(base)
}

fn deadline_ms(deadline: Duration) -> u32 {
    u32::try_from(deadline.as_millis())
        .unwrap_or(u32::MAX)
        .max(1)
}
