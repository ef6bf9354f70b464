//! The paths of the Open Inference Protocol v2: what the server and its models are, whether they are
//! ready, and inference on whole models.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use dyno_core::ErrorKind;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use super::health::{self, LIVE, READY};
use super::infer::{self, compute, with_load};
use super::{App, content_length, number, single};
use crate::answer::check_promised;
use crate::batch::Request as Work;
use crate::body;
use crate::engine::BodyKind;
use crate::errors::{Failure, json};
use crate::models::Served;
use crate::observe::Record;
use crate::oip::{Answer, InferRequest, JSON_BYTES, ModelDescription, ServerDescription};

/// The protocol's routes.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v2", get(server))
        .route(LIVE, get(health::live))
        .route(READY, get(health::ready))
        .route("/v2/models/{model}", get(model))
        .route("/v2/models/{model}/ready", get(ready))
        .route("/v2/models/{model}/infer", post(run))
        .route("/v2/models/{model}/versions/{version}", get(version))
        .route(
            "/v2/models/{model}/versions/{version}/ready",
            get(version_ready),
        )
        .route(
            "/v2/models/{model}/versions/{version}/infer",
            post(run_version),
        )
}

type Name = Result<Path<String>, PathRejection>;
type NameAndVersion = Result<Path<(String, String)>, PathRejection>;

/// `GET /v2`
async fn server() -> Response {
    json(StatusCode::OK, &ServerDescription::new())
}

/// `GET /v2/models/{model}`
async fn model(State(app): State<Arc<App>>, name: Name) -> Result<Response, Failure> {
    let served = app.model(name)?;
    Ok(describe(&served))
}

/// `GET /v2/models/{model}/versions/{version}`
async fn version(State(app): State<Arc<App>>, path: NameAndVersion) -> Result<Response, Failure> {
    let (name, version) = split(path);
    let served = app.model(name)?;
    check_version(&served, &version)?;
    Ok(describe(&served))
}

fn describe(served: &Served) -> Response {
    let model = ModelDescription::new(&served.model.name, served.model.engine.manifest());
    json(StatusCode::OK, &model)
}

/// `GET /v2/models/{model}/ready`
async fn ready(State(app): State<Arc<App>>, name: Name) -> Result<Response, Failure> {
    let served = app.model(name)?;
    Ok(readiness(&app, &served))
}

/// `GET /v2/models/{model}/versions/{version}/ready`
async fn version_ready(
    State(app): State<Arc<App>>,
    path: NameAndVersion,
) -> Result<Response, Failure> {
    let (name, version) = split(path);
    let served = app.model(name)?;
    check_version(&served, &version)?;
    Ok(readiness(&app, &served))
}

fn readiness(app: &App, served: &Served) -> Response {
    let ready = app.lifecycle.is_ready() && served.model.engine.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(
        status,
        &json!({ "name": served.model.name, "ready": ready }),
    )
}

/// `POST /v2/models/{model}/infer`
async fn run(
    State(app): State<Arc<App>>,
    name: Name,
    Extension(record): Extension<Record>,
    request: Request,
) -> Response {
    answered(&app, name, None, &record, request).await
}

/// `POST /v2/models/{model}/versions/{version}/infer`
async fn run_version(
    State(app): State<Arc<App>>,
    path: NameAndVersion,
    Extension(record): Extension<Record>,
    request: Request,
) -> Response {
    let (name, version) = split(path);
    answered(&app, name, Some(version), &record, request).await
}

async fn answered(
    app: &App,
    name: Name,
    version: Option<String>,
    record: &Record,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    let answer = async {
        let served = app.model(name)?;
        record.details().model = Some(served.model.name.clone());
        if let Some(version) = version {
            check_version(&served, &version)?;
        }
        infer(app, &served, record, request, arrived).await
    };
    let response = answer.await.unwrap_or_else(Failure::into_response);
    with_load(app, response)
}

async fn infer(
    app: &App,
    served: &Served,
    record: &Record,
    request: Request,
    arrived: Instant,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let engine = Arc::clone(&served.model.engine);
    infer::no_encoding(headers)?;
    infer::check_bundle(headers, &engine.manifest().hash, BodyKind::Tensor)?;
    let json_bytes = json_bytes(headers)?;
    let length = content_length(headers, served.limits.max_tensor_request_bytes)?;
    record.details().bytes = Some(length);
    let patience = infer::deadline(headers)?;
    let deadline = arrived + patience.map_or(app.max_deadline, |d| d.min(app.max_deadline));

    let line = &served.line;
    let left = |now: Instant| deadline.saturating_duration_since(now);
    app.check_wait(line, left(arrived))?;
    let place = app.admit()?;
    let received = body::receive(body, length, app.patience, arrived, deadline).await?;
    record.details().received = true;
    app.check_wait(line, left(Instant::now()))?;

    // Numbers in JSON may be many, and this thread is everybody's.
    let parsing = Arc::clone(&engine);
    let bytes = received.bytes;
    let (place, parsed) = aside(move || {
        let manifest = parsing.manifest();
        let parsed = InferRequest::parse(bytes, json_bytes, &manifest.input, &manifest.outputs);
        (place, parsed)
    })
    .await?;
    let InferRequest {
        id,
        input,
        outputs: wanted,
        timeout,
    } = parsed?;

    let work = Work {
        line: Arc::clone(line),
        place,
        body: input,
        kind: BodyKind::Tensor,
        deadline: timeout.map_or(deadline, |timeout| {
            deadline.min(arrived + timeout.min(app.max_deadline))
        }),
    };
    let computed = compute(app, served, record, work, received.elapsed).await?;
    let model = served.model.name.clone();
    let outputs = computed.outputs;
    let answer = aside(move || {
        let manifest = engine.manifest();
        check_promised(&outputs, manifest)?;
        Answer::encode(&model, id.as_deref(), &wanted, &outputs, manifest)
    })
    .await??;
    Ok((computed.headers, answer.into_response()).into_response())
}

/// Runs what takes a while beside the threads that serve connections.
async fn aside<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(job)
        .await
        .map_err(|error| Failure::of(ErrorKind::Internal, format!("a job failed: {error}")))
}

/// How many bytes of the body are JSON, if the header says so.
fn json_bytes(headers: &HeaderMap) -> Result<Option<usize>, Failure> {
    let Some(text) = single(headers, &JSON_BYTES)? else {
        return Ok(None);
    };
    number(text).map(Some).ok_or_else(|| {
        Failure::of(
            ErrorKind::InvalidArgument,
            "the inference-header-content-length header must be the number of bytes of the JSON",
        )
    })
}

/// The version of a model is its bundle's hash, so that an answer under one never changes.
fn check_version(served: &Served, version: &str) -> Result<(), Failure> {
    let hash = served.model.engine.manifest().hash.as_str();
    if version == hash {
        return Ok(());
    }
    Err(Failure::of(
        ErrorKind::NotFound,
        format!("the model's only version here is its bundle's hash, {hash}"),
    ))
}

fn split(path: NameAndVersion) -> (Name, String) {
    match path {
        Ok(Path((name, version))) => (Ok(Path(name)), version),
        Err(rejection) => (Err(rejection), String::new()),
    }
}
