//! Liveness and readiness, at the paths of the Open Inference Protocol that probes know.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::App;
use crate::errors::json;

/// Paths that need no token: whoever looks after the process asks them.
pub(crate) const LIVE: &str = "/v2/health/live";
pub(crate) const READY: &str = "/v2/health/ready";

/// 200 for as long as the process answers at all.
pub(crate) async fn live() -> Response {
    json(StatusCode::OK, &json!({ "live": true }))
}

/// 200 once every model is warm and its engine can run it, 503 before that and from the start of a
/// drain.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let ready = app.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &json!({ "ready": ready }))
}
