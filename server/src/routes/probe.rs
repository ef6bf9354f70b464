//! `POST /v1/probe`: takes a small body and says how long it was on its way, so that a client can
//! learn what its uplink is worth without an inference.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, StatusCode};
use tokio::time::Instant;

use super::{App, LOAD, SERVER_TIMING, content_length};
use crate::body;
use crate::errors::Failure;
use crate::observe::Record;
use crate::timing::Timing;

/// Longest body of a probe: enough to time a fast link, and no way to fill the server's memory.
const MAX_PROBE_BYTES: usize = 64 << 10;

/// `POST /v1/probe`
pub(super) async fn probe(
    State(app): State<Arc<App>>,
    Extension(record): Extension<Record>,
    request: Request,
) -> Result<Response, Failure> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let length = content_length(&parts.headers, MAX_PROBE_BYTES)?;
    record.details().bytes = Some(length);
    // A probe takes a place like any request: a server without room says so to both.
    let _place = app.admit()?;
    let deadline = arrived + app.max_deadline;
    let received = body::receive(body, length, app.patience, arrived, deadline).await?;
    let timing = Timing {
        receive: received.elapsed,
        ..Timing::default()
    };
    record.details().timing = Some(timing);
    let headers: [(HeaderName, String); 2] = [
        (SERVER_TIMING, timing.server_timing()),
        (LOAD, app.admission.load().header()),
    ];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}
