//! One POST to a collector, and what its answer means (OTLP over HTTP, with protobuf).

use std::time::Duration;

use bytes::Bytes;
use dyno_core::{Error, ErrorKind, Result};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::Url;
use reqwest::redirect::Policy;

use super::settings::Settings;

/// Time for a connection, and for the whole of an exchange (OTLP's own).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes that are read of an answer.
const MAX_ANSWER: usize = 64 << 10;
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// A collector, over HTTP/1.1; the connection is kept.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    headers: HeaderMap,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.place()).finish()
    }
}

/// What has become of a message.
#[derive(Debug)]
pub(super) enum Sent {
    /// The collector has it, but for so many spans that it would not take.
    Taken { rejected: u64 },
    /// It may be taken later, and not before this time if one is named.
    NotNow(String, Option<Duration>),
    /// It will never be taken.
    Refused(String),
}

impl Client {
    /// Does not connect yet.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails if another thread has been faster, and then there is one.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let builder = reqwest::Client::builder()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .retry(reqwest::retry::never())
            .redirect(Policy::none())
            .referer(false)
            .no_proxy();
        let builder = if settings.url.scheme() == "https" {
            builder
        } else {
            // Without TLS no authority is needed.
            builder.tls_certs_only([])
        };
        let http = builder.build().map_err(|error| {
            Error::with_source(
                ErrorKind::InvalidArgument,
                "cannot set up HTTP for traces",
                error,
            )
        })?;
        Ok(Self {
            http,
            url: settings.url.clone(),
            headers: settings.headers.clone(),
        })
    }

    /// The collector's address, for a log: no query, which may have secrets.
    pub(super) fn place(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }

    pub(super) async fn send(&self, message: Bytes) -> Sent {
        let post = self
            .http
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, PROTOBUF)
            .body(message);
        let mut answer = match post.send().await {
            Ok(answer) => answer,
            Err(error) => return Sent::NotNow(cause(error), None),
        };
        let status = answer.status();
        if !status.is_success() {
            let why = format!("it answers {status}");
            return match status {
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => Sent::NotNow(why, retry_after(answer.headers())),
                _ => Sent::Refused(why),
            };
        }
        let mut body = Vec::new();
        // It has taken the message: what is wrong with the rest of its answer changes nothing.
        while let Ok(Some(piece)) = answer.chunk().await
            && body.len() + piece.len() <= MAX_ANSWER
        {
            body.extend_from_slice(&piece);
        }
        let answer = ExportTraceServiceResponse::decode(body.as_slice()).unwrap_or_default();
        let rejected = answer.partial_success.map_or(0, |part| part.rejected_spans);
        Sent::Taken {
            rejected: u64::try_from(rejected).unwrap_or_default(),
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The innermost cause says what is wrong; what is around it repeats the address.
fn cause(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer in time".into();
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
