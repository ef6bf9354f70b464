//! Which models there are, what they look like, and their bundles.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use dyno_core::ErrorKind;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::{App, BUNDLE};
use crate::errors::{Failure, json};
use crate::identity::Caller;
use crate::metrics::Shed;

/// `GET /v1/models`: those that are for the client.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let models = app.models.all();
    let models: Vec<_> = models
        .iter()
        .filter(|served| caller.rights.allow(&served.model.name))
        .map(|served| json!({ "model": served.model.name, "hash": served.hash() }))
        .collect();
    json(StatusCode::OK, &json!({ "models": models }))
}

/// `GET /v1/models/{model}`
pub(super) async fn metadata(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let served = app.model(name)?;
    let hash = served.hash();
    let headers = [(CONTENT_TYPE, "application/json"), (BUNDLE, hash)];
    Ok((headers, served.metadata.clone()).into_response())
}

/// `GET /v1/models/{model}/bundle`
pub(super) async fn download(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let served = app.model(name)?;
    let hash = served.hash();
    let archive = served.model.archive.clone().ok_or_else(|| {
        Failure::of(
            ErrorKind::NotFound,
            "this server has the model but not its bundle",
        )
    })?;
    let etag = format!("\"{hash}\"");
    let identity = [(BUNDLE, hash.to_owned()), (ETAG, etag.clone())];
    if knows(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, identity).into_response());
    }
    let place = Arc::clone(&app.downloads)
        .try_acquire_owned()
        .map_err(|_| {
            app.metrics.shed(Shed::Downloads);
            Failure::of(
                ErrorKind::Overloaded,
                "too many bundles are being downloaded: try again later",
            )
        })?;
    let length = [
        (CONTENT_TYPE, "application/x-tar".to_owned()),
        (CONTENT_LENGTH, archive.bytes().to_string()),
    ];
    // With its version: the files stay within reach for as long as they are read.
    let held = (place, Arc::clone(&served));
    let body = Body::from_stream(archive.stream(held));
    Ok((identity, length, body).into_response())
}

/// Whether the client says that it has the content already (RFC 9110 §13.1.2, weak comparison).
fn knows(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}
