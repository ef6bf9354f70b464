//! Reading an answer: exactly what was asked for, a DynO error, or something that is neither.
//!
//! Whatever sits between phone and server may answer in its place (captive portals, proxies), so
//! nothing counts as an answer that is not exactly one, and nothing is read beyond its bound.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::{BUNDLE_HEADER, CHECKSUM_HEADER, OUTPUTS_TYPE, headers};
use crate::bundle::BundleHash;
use crate::client::{ServerTiming, TailAnswer};
use crate::{Error, ErrorKind, Result, Tensor, TensorData, TensorSpec};

/// Most bytes read of an error.
const MAX_ERROR_BYTES: usize = 16 << 10;
/// Most characters kept of an error's text.
const MAX_ERROR_CHARS: usize = 500;

/// What a right answer holds.
pub(super) struct Expected<'a> {
    pub(super) bundle: &'a BundleHash,
    pub(super) outputs: &'a [TensorSpec],
}

/// Why there is no right answer.
pub(super) enum Failure {
    /// The connection is to blame.
    Connection(Error),
    /// The connection worked, and brought this.
    Answer(Error),
}

impl Failure {
    pub(super) fn connection(error: &reqwest::Error) -> Self {
        let kind = ErrorKind::Unreachable;
        // Its own text names the request; what went wrong is in its sources.
        let mut message = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::Connection(Error::new(kind, message))
    }

    fn protocol(message: impl Into<String>) -> Self {
        Self::Answer(Error::new(ErrorKind::Protocol, message))
    }
}

/// Reads the answer to the end.
pub(super) async fn read(
    mut response: Response,
    expected: &Expected<'_>,
) -> Result<TailAnswer, Failure> {
    if response.status() != StatusCode::OK {
        return Err(refused(response).await?);
    }
    check_head(&response, expected)?;
    let length = expected.outputs.iter().map(TensorSpec::bytes).sum();
    let body = match read_at_most(&mut response, length).await? {
        Some(body) if body.len() == length => body,
        Some(body) => {
            return Err(Failure::protocol(format!(
                "the answer has {} bytes instead of {length}",
                body.len()
            )));
        }
        None => {
            return Err(Failure::protocol(format!(
                "the answer has more than {length} bytes"
            )));
        }
    };
    check_sum(response.headers(), &body)?;
    Ok(TailAnswer {
        outputs: decode(&body, expected.outputs).map_err(Failure::Answer)?,
        timing: headers::timing(response.headers()),
        load: headers::load(response.headers()),
    })
}

/// The server's times in its answer to a probe; none if it knows no probes.
pub(super) async fn read_probe(response: Response) -> Result<Option<ServerTiming>, Failure> {
    match response.status() {
        StatusCode::NO_CONTENT => Ok(Some(headers::timing(response.headers()))),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(None),
        _ => Err(refused(response).await?),
    }
}

/// Reads what was answered in place of an answer.
async fn refused(mut response: Response) -> Result<Failure, Failure> {
    let status = response.status();
    let is_json = content_type(response.headers()) == "application/json";
    let retry_after = headers::retry_after(response.headers()).filter(|_| may_ask(status));
    let body = read_at_most(&mut response, MAX_ERROR_BYTES).await?;
    let body = body.filter(|_| is_json).unwrap_or_default();
    let error = refusal(status, &body).with_retry_after(retry_after);
    Ok(Failure::Answer(error))
}

/// Refuses, before its body is read, what cannot be the answer.
fn check_head(response: &Response, expected: &Expected<'_>) -> Result<(), Failure> {
    let media_type = content_type(response.headers());
    if media_type != OUTPUTS_TYPE {
        return Err(Failure::protocol(format!(
            "the answer is '{media_type}' instead of '{OUTPUTS_TYPE}': something else answers \
             at this address"
        )));
    }
    let bundle = response.headers().get(BUNDLE_HEADER);
    match bundle.and_then(|value| value.to_str().ok()) {
        Some(hash) if hash == expected.bundle.as_str() => Ok(()),
        Some(hash) => Err(Failure::Answer(Error::new(
            ErrorKind::BundleMismatch,
            format!(
                "the server answered with bundle {hash}, this one is {}",
                expected.bundle
            ),
        ))),
        None => Err(Failure::protocol("the answer does not name its bundle")),
    }
}

/// Refuses a body that is not what the server sent. Servers of before the header send none.
fn check_sum(headers: &HeaderMap, body: &[u8]) -> Result<(), Failure> {
    let Some(header) = headers.get(CHECKSUM_HEADER) else {
        return Ok(());
    };
    let promised = header
        .to_str()
        .ok()
        .and_then(|text| u32::from_str_radix(text, 16).ok());
    if promised == Some(crc32fast::hash(body)) {
        return Ok(());
    }
    Err(Failure::protocol(
        "the answer is damaged: it does not have the checksum that it names",
    ))
}

fn content_type(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// The body, or none if it is longer than `limit`. Allocates as it arrives.
async fn read_at_most(response: &mut Response, limit: usize) -> Result<Option<Vec<u8>>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure::connection(&error))?
    {
        if chunk.len() > limit - body.len() {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Splits a body of exactly the outputs' bytes.
fn decode(body: &[u8], specs: &[TensorSpec]) -> Result<Vec<Tensor>> {
    let mut rest = body;
    specs
        .iter()
        .map(|spec| {
            let (bytes, after) = rest.split_at_checked(spec.bytes()).unwrap_or((rest, &[]));
            rest = after;
            let data = TensorData::from_le_bytes(spec.element, bytes);
            Tensor::new(spec.shape.clone(), data)
        })
        .collect()
}

/// Whether a server that answers with `status` may ask to be left alone for a while.
fn may_ask(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// Body of every error of a DynO server.
#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    kind: String,
}

/// The error that a status and a JSON body stand for; `body` is empty if it was not JSON.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let Ok(ErrorBody { error, kind }) = serde_json::from_slice(body) else {
        return Error::new(
            kind_of_stranger(status),
            format!("the answer is {status}, and not a DynO server's"),
        );
    };
    let text: String = error.chars().take(MAX_ERROR_CHARS).collect();
    let kind = match ErrorKind::from_name(&kind) {
        // Only the caller cancels; from a server it must not keep the device from finishing.
        None | Some(ErrorKind::Cancelled) => kind_of_server(status),
        Some(kind) => kind,
    };
    Error::new(kind, format!("the server refused ({status}): {text}"))
}

/// What a status means from a DynO server that names a kind this build does not know.
fn kind_of_server(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::NOT_FOUND => ErrorKind::NotFound,
        StatusCode::CONFLICT => ErrorKind::BundleMismatch,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorKind::UnsupportedActivation,
        StatusCode::BAD_REQUEST => ErrorKind::InvalidArgument,
        StatusCode::INTERNAL_SERVER_ERROR => ErrorKind::Internal,
        other => kind_of_stranger(other),
    }
}

/// What a status means from whoever sent it. A stranger's 404 or 409 says nothing about models
/// and bundles, and must not keep this client from its server for good.
fn kind_of_stranger(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorKind::Unauthorized,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => ErrorKind::DeadlineExceeded,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::TooLarge,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ErrorKind::Overloaded,
        StatusCode::BAD_GATEWAY => ErrorKind::Unreachable,
        _ => ErrorKind::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(kind: &str) -> Vec<u8> {
        format!(r#"{{"error":"what happened","kind":"{kind}"}}"#).into_bytes()
    }

    #[test]
    fn every_kind_is_known_by_its_name() {
        for &kind in ErrorKind::ALL {
            if kind == ErrorKind::Cancelled {
                continue;
            }
            let error = refusal(StatusCode::INTERNAL_SERVER_ERROR, &json(kind.as_str()));
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains("what happened"));
        }
    }

    #[test]
    fn a_kind_of_a_newer_server_is_known_by_its_status() {
        for (status, kind) in [
            (400, ErrorKind::InvalidArgument),
            (401, ErrorKind::Unauthorized),
            (403, ErrorKind::Unauthorized),
            (404, ErrorKind::NotFound),
            (408, ErrorKind::DeadlineExceeded),
            (409, ErrorKind::BundleMismatch),
            (413, ErrorKind::TooLarge),
            (415, ErrorKind::UnsupportedActivation),
            (429, ErrorKind::Overloaded),
            (500, ErrorKind::Internal),
            (503, ErrorKind::Overloaded),
            (504, ErrorKind::DeadlineExceeded),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(refusal(status, &json("news")).kind(), kind, "{status}");
        }
    }

    #[test]
    fn a_server_cannot_cancel() {
        let error = refusal(StatusCode::SERVICE_UNAVAILABLE, &json("cancelled"));
        assert_eq!(error.kind(), ErrorKind::Overloaded);
    }

    #[test]
    fn a_stranger_cannot_switch_the_server_off() {
        for status in [StatusCode::NOT_FOUND, StatusCode::CONFLICT] {
            assert_eq!(refusal(status, b"").kind(), ErrorKind::Protocol);
            assert_eq!(refusal(status, b"{}").kind(), ErrorKind::Protocol);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let body = format!(r#"{{"error":"{}","kind":"internal"}}"#, "x".repeat(9_000));
        let error = refusal(StatusCode::INTERNAL_SERVER_ERROR, body.as_bytes());
        assert!(error.to_string().len() < 600);
    }
}
