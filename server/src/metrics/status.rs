//! A page for a person with a browser: how the server is now, and how it was in the last minutes.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::history::{INTERVAL, Sample};
use super::{clamped, process};
use crate::errors::json;
use crate::routes::App;

const PAGE: &str = include_str!("status.html");

/// Nothing but what is in the page itself, and numbers from where it came from.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; style-src '{}'; script-src '{}'",
        hash_of("style"),
        hash_of("script"),
    )
});

/// `GET /`
pub(super) async fn page() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE).into_response()
}

/// `GET /status.json`
pub(super) async fn numbers(State(app): State<Arc<App>>) -> Response {
    let load = app.admission.load();
    let mut response = json(
        StatusCode::OK,
        &Status {
            version: env!("CARGO_PKG_VERSION"),
            state: app.lifecycle.state(),
            uptime_s: app.metrics.started.elapsed().as_secs(),
            models: (app.models.all().iter())
                .map(|served| ModelRow {
                    name: served.model.name.clone(),
                    hash: served.model.engine.manifest().hash.to_string(),
                })
                .collect(),
            in_flight: load.in_flight,
            in_flight_limit: load.capacity,
            queue_depth: clamped(app.admission.queued()),
            connections: app.metrics.connections.get(),
            memory_bytes: process::resident_bytes(),
            interval_s: INTERVAL.as_secs(),
            samples: app.metrics.history.samples(),
        },
    );
    let no_store = http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    state: &'static str,
    uptime_s: u64,
    models: Vec<ModelRow>,
    in_flight: usize,
    in_flight_limit: usize,
    queue_depth: i64,
    connections: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    interval_s: u64,
    /// Oldest first.
    samples: Vec<Sample>,
}

#[derive(Serialize)]
struct ModelRow {
    name: String,
    hash: String,
}

/// What a content security policy calls the page's one element of a kind: the hash of what is in it.
fn hash_of(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let content = PAGE
        .split_once(&open)
        .and_then(|(_, rest)| rest.split_once(&close))
        .map_or("", |(content, _)| content);
    format!("sha256-{}", STANDARD.encode(Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_from_elsewhere() {
        for element in ["style", "script"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
        }
        for outside in [
            "http:", "https:", "src=", "@import", "url(", " style=", " onclick",
        ] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
        assert!(!PAGE.contains("innerHTML"), "names are text");
    }
}
