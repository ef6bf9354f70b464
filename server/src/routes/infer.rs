//! `POST /v1/models/{model}/infer`: from headers to outputs.
//!
//! The order of the checks is what keeps an overloaded or abused server cheap: everything that the
//! headers can decide is decided before the first byte of the body is read.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use dyno_core::bundle::BundleHash;
use dyno_core::{ErrorKind, Tensor, TensorSpec};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::{App, BUNDLE, LOAD, SERVER_TIMING, content_length, number, single};
use crate::answer::{self, Answer};
use crate::batch::Request as Work;
use crate::body;
use crate::engine::{BodyKind, TailEngine};
use crate::errors::Failure;
use crate::models::{Limits, Served};
use crate::observe::Record;
use crate::timing::Timing;

const PHOTO: HeaderName = HeaderName::from_static("dyno-photo");
const DEADLINE_MS: HeaderName = HeaderName::from_static("dyno-deadline-ms");
const PACKED_TYPE: &str = "application/vnd.dyno.activation";
const PHOTO_TYPES: [&str; 4] = [
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/x-portable-pixmap",
];

/// `POST /v1/models/{model}/infer`
pub(super) async fn infer(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    let response = match app.version(name, request.headers()) {
        Ok(served) => {
            record.details().model = Some(served.model.name.clone());
            run(&app, &served, &record, request, arrived)
                .await
                .unwrap_or_else(Failure::into_response)
        }
        Err(failure) => failure.into_response(),
    };
    with_load(&app, response)
}

/// Says how busy the server is, unless the answer does already.
pub(super) fn with_load(app: &App, mut response: Response) -> Response {
    if !response.headers().contains_key(LOAD)
        && let Ok(load) = HeaderValue::from_str(&app.admission.load().header())
    {
        response.headers_mut().insert(LOAD, load);
    }
    response
}

async fn run(
    app: &App,
    served: &Arc<Served>,
    record: &Record,
    request: Request,
    arrived: Instant,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let hash = &served.model.engine.manifest().hash;
    let ask = Ask::read(&parts.headers, hash, served.limits)?;
    record.details().bytes = Some(ask.length);
    let deadline = arrived
        + ask
            .deadline
            .map_or(app.max_deadline, |d| d.min(app.max_deadline));

    let line = &served.line;
    let left = |now: Instant| deadline.saturating_duration_since(now);
    app.check_wait(line, left(arrived))?;
    let place = app.admit()?;
    let received = body::receive(body, ask.length, app.patience, arrived, deadline).await?;
    record.details().received = true;
    app.check_wait(line, left(Instant::now()))?;

    let Ask { kind, answer, .. } = ask;
    let work = Work {
        line: Arc::clone(line),
        place,
        body: received.bytes,
        kind,
        deadline,
    };
    let done = compute(app, served, record, work, received.elapsed).await?;
    let payload = answer.encode(&done.outputs, served.model.engine.manifest())?;
    Ok((
        done.headers,
        payload.into_response(&served.model.name, hash, done.timing),
    )
        .into_response())
}

/// What a request has come to: the model's outputs, and what its answer says besides them.
pub(super) struct Computed {
    pub(super) outputs: Vec<Tensor>,
    pub(super) timing: Timing,
    pub(super) headers: [(HeaderName, String); 3],
}

/// From a body, which took `receive` to come, to outputs.
pub(super) async fn compute(
    app: &App,
    served: &Served,
    record: &Record,
    work: Work,
    receive: Duration,
) -> Result<Computed, Failure> {
    let done = app.admission.run(work).await?;
    let timing = Timing {
        receive,
        unpack: done.times.unpack,
        queue: done.times.queue,
        infer: done.times.infer,
        compute: done.times.unpack + done.times.share,
        moments: done.times.moments,
    };
    let mut details = record.details();
    details.cut = Some(done.cut);
    details.unpacked = unpacked_bytes(&*served.model.engine, done.cut);
    details.timing = Some(timing);
    details.batch = Some(done.times.batch);
    drop(details);
    let load = app.admission.load();
    done.place.leave();
    Ok(Computed {
        outputs: done.outputs,
        timing,
        headers: [
            (SERVER_TIMING, timing.server_timing()),
            (LOAD, load.header()),
            (BUNDLE, served.model.engine.manifest().hash.to_string()),
        ],
    })
}

/// Bytes of the tensors that cross a cut.
fn unpacked_bytes(engine: &dyn TailEngine, cut: usize) -> Option<usize> {
    let cut = engine.manifest().cuts.get(cut)?;
    Some(cut.tensors.iter().map(TensorSpec::bytes).sum())
}

/// What the headers ask for.
#[derive(Debug, Clone, Copy)]
struct Ask {
    kind: BodyKind,
    answer: Answer,
    /// Bytes of the body; within the limit.
    length: usize,
    deadline: Option<Duration>,
}

impl Ask {
    fn read(headers: &HeaderMap, hash: &BundleHash, limits: Limits) -> Result<Self, Failure> {
        no_encoding(headers)?;
        let kind = body_kind(headers)?;
        check_bundle(headers, hash, kind)?;
        let deadline = deadline(headers)?;
        let answer = answer::accepted(single(headers, &ACCEPT)?, kind)?;
        let length = length(headers, limits, kind)?;
        Ok(Self {
            kind,
            answer,
            length,
            deadline,
        })
    }
}

pub(super) fn no_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    if let Some(encoding) = single(headers, &CONTENT_ENCODING)?
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(unsupported(
            "a content-encoding is not taken: send the body as it is",
        ));
    }
    Ok(())
}

fn body_kind(headers: &HeaderMap) -> Result<BodyKind, Failure> {
    let media = single(headers, &CONTENT_TYPE)?.unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case(PACKED_TYPE) {
        return Ok(BodyKind::Packed);
    }
    if !PHOTO_TYPES.iter().any(|t| media.eq_ignore_ascii_case(t)) {
        return Err(unsupported(&format!(
            "the content-type must be {PACKED_TYPE} or one of {}",
            PHOTO_TYPES.join(", ")
        )));
    }
    match single(headers, &PHOTO)? {
        None => Ok(BodyKind::Photo),
        Some("staged") => Ok(BodyKind::StagedPhoto),
        Some(_) => Err(invalid("the dyno-photo header can only be 'staged'")),
    }
}

pub(super) fn check_bundle(
    headers: &HeaderMap,
    hash: &BundleHash,
    kind: BodyKind,
) -> Result<(), Failure> {
    let Some(theirs) = single(headers, &BUNDLE)? else {
        return if kind == BodyKind::Packed {
            Err(invalid(
                "a packed activation needs a dyno-bundle header with the hash of its bundle",
            ))
        } else {
            Ok(())
        };
    };
    let theirs = BundleHash::parse(theirs)
        .map_err(|_| invalid("the dyno-bundle header must be 64 lower-case hex digits"))?;
    if theirs != *hash {
        return Err(Failure::of(
            ErrorKind::BundleMismatch,
            format!("this server has bundle {hash} of the model, the client another"),
        ));
    }
    Ok(())
}

pub(super) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(text) = single(headers, &DEADLINE_MS)? else {
        return Ok(None);
    };
    match number::<u32>(text) {
        Some(ms @ 1..) => Ok(Some(Duration::from_millis(ms.into()))),
        _ => Err(invalid(
            "the dyno-deadline-ms header must be 1 to 4294967295 milliseconds",
        )),
    }
}

fn length(headers: &HeaderMap, limits: Limits, kind: BodyKind) -> Result<usize, Failure> {
    let limit = match kind {
        BodyKind::Packed => limits.max_activation_bytes,
        BodyKind::Photo => limits.max_photo_bytes,
        BodyKind::StagedPhoto => limits.max_staged_photo_bytes,
        BodyKind::Tensor => limits.max_tensor_request_bytes,
    };
    content_length(headers, limit)
}

fn invalid(text: &str) -> Failure {
    Failure::of(ErrorKind::InvalidArgument, text)
}

fn unsupported(text: &str) -> Failure {
    Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorKind::InvalidArgument,
        text,
    )
}
