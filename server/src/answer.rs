//! A tail's outputs as a body: raw for programs, labels for people with curl.

use axum::response::{IntoResponse as _, Response};
use dyno_core::bundle::{BundleHash, Manifest};
use dyno_core::client::{Label, top_k};
use dyno_core::{Error, ErrorKind, Result, Tensor, TensorSpec};
use http::header::CONTENT_TYPE;
use http::{HeaderName, StatusCode};
use serde::Serialize;

use crate::engine::BodyKind;
use crate::errors::{Failure, json};
use crate::timing::{Timing, TimingMs};

const OUTPUTS_TYPE: &str = "application/vnd.dyno.outputs";
/// CRC-32 of the outputs, in hex digits.
const CHECKSUM: HeaderName = HeaderName::from_static("dyno-crc32");
const JSON_TYPE: &str = "application/json";
/// Labels in a JSON answer.
const TOP: usize = 5;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All outputs' elements, little-endian and row-major, in the bundle's order.
    Outputs,
    /// The best labels of a classifier, or the outputs' shapes of anything else.
    Json,
}

/// An answer's content.
#[derive(Debug)]
pub(crate) enum Payload {
    Outputs(Vec<u8>),
    Top(Vec<Label>),
    Shapes(Vec<TensorSpec>),
}

/// The form that an `accept` header asks for: the first listed that there is. Without a wish,
/// photos (people) get JSON and activations (programs) the outputs.
pub(crate) fn accepted(accept: Option<&str>, kind: BodyKind) -> Result<Answer, Failure> {
    let usual = match kind {
        BodyKind::Packed | BodyKind::Tensor => Answer::Outputs,
        BodyKind::Photo | BodyKind::StagedPhoto => Answer::Json,
    };
    let Some(accept) = accept.filter(|accept| !accept.is_empty()) else {
        return Ok(usual);
    };
    accept
        .split(',')
        .map(|item| item.split(';').next().unwrap_or_default().trim())
        .find_map(|media| match media.to_ascii_lowercase().as_str() {
            OUTPUTS_TYPE => Some(Answer::Outputs),
            JSON_TYPE => Some(Answer::Json),
            "*/*" | "application/*" => Some(usual),
            _ => None,
        })
        .ok_or_else(|| {
            Failure::new(
                StatusCode::NOT_ACCEPTABLE,
                ErrorKind::InvalidArgument,
                format!("answers come as {OUTPUTS_TYPE} or {JSON_TYPE}"),
            )
        })
}

/// Fails with [`ErrorKind::Internal`] if the outputs are not those that the bundle promises:
/// a client could not tell where one ends and the next begins.
pub(crate) fn check_promised(outputs: &[Tensor], manifest: &Manifest) -> Result<()> {
    let promised = manifest.outputs.iter();
    let kept = outputs.len() == promised.len()
        && promised.zip(outputs).all(|(spec, output)| {
            spec.shape == output.shape() && spec.element == output.data().element()
        });
    if !kept {
        return Err(Error::new(
            ErrorKind::Internal,
            "the tail's outputs do not have the shapes of the bundle's",
        ));
    }
    Ok(())
}

impl Answer {
    /// Fails like [`check_promised`].
    pub(crate) fn encode(self, outputs: &[Tensor], manifest: &Manifest) -> Result<Payload> {
        check_promised(outputs, manifest)?;
        Ok(match (self, outputs) {
            (Self::Outputs, _) => Payload::Outputs(concatenated(outputs)),
            (Self::Json, [logits]) if manifest.is_classifier() => {
                let logits = logits.as_f32().unwrap_or_default();
                Payload::Top(top_k(logits, &manifest.labels, TOP))
            }
            (Self::Json, _) => Payload::Shapes(manifest.outputs.clone()),
        })
    }
}

impl Payload {
    pub(crate) fn into_response(
        self,
        model: &str,
        bundle: &BundleHash,
        timing: Timing,
    ) -> Response {
        let mut answer = JsonAnswer {
            model,
            bundle: bundle.as_str(),
            top: None,
            outputs: None,
            note: None,
            ms: timing.ms(),
        };
        match self {
            Self::Outputs(bytes) => {
                let checksum = format!("{:08x}", crc32fast::hash(&bytes));
                let headers = [
                    (CONTENT_TYPE, OUTPUTS_TYPE.to_owned()),
                    (CHECKSUM, checksum),
                ];
                return (headers, bytes).into_response();
            }
            Self::Top(top) => answer.top = Some(top),
            Self::Shapes(shapes) => {
                answer.outputs = Some(shapes);
                answer.note =
                    Some("ask with accept: application/vnd.dyno.outputs for the elements");
            }
        }
        json(StatusCode::OK, &answer)
    }
}

#[derive(Serialize)]
struct JsonAnswer<'a> {
    model: &'a str,
    bundle: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Label>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<Vec<TensorSpec>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    ms: TimingMs,
}

fn concatenated(outputs: &[Tensor]) -> Vec<u8> {
    let parts: Vec<_> = outputs.iter().map(|o| o.data().to_le_bytes()).collect();
    match <[Vec<u8>; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => parts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_the_wish_then_the_body() {
        use Answer::{Json, Outputs};
        let cases = [
            (None, BodyKind::Packed, Outputs),
            (None, BodyKind::Photo, Json),
            (Some("*/*"), BodyKind::Packed, Outputs),
            (Some("*/*"), BodyKind::StagedPhoto, Json),
            (Some("application/json"), BodyKind::Packed, Json),
            (
                Some("application/vnd.dyno.outputs"),
                BodyKind::Photo,
                Outputs,
            ),
            (
                Some("text/html, Application/JSON;q=0.9"),
                BodyKind::Packed,
                Json,
            ),
        ];
        for (accept, kind, form) in cases {
            assert_eq!(accepted(accept, kind).unwrap(), form, "{accept:?} {kind:?}");
        }
        assert!(accepted(Some("text/html"), BodyKind::Packed).is_err());
    }
}
