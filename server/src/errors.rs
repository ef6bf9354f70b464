//! From a kind of error to an HTTP answer: the one place that knows both.
//!
//! A handler returns a [`Failure`]; [`crate::observe`] turns it into the JSON body, because only
//! there the request's id is known that stands in for the details of a server-side defect.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use dyno_core::{Error, ErrorKind};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// What an overloaded server asks a client to wait: one second. Phones do not wait, they finish
/// on the device; the header is for everyone else.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// How to be let in: with a token (RFC 6750).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");

/// A request that is not answered with 200.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    status: StatusCode,
    kind: ErrorKind,
    pub(crate) text: String,
    /// When to come back.
    retry_after: Option<Duration>,
}

/// Body of every answer that is not 2xx or 304.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    kind: &'a str,
}

impl Failure {
    /// A failure whose status is not the usual one of its kind.
    pub(crate) fn new(status: StatusCode, kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            text: text.into(),
            retry_after: None,
        }
    }

    /// The same, and when to come back.
    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A failure of a kind, with the kind's status.
    pub(crate) fn of(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::new(status_of(kind), kind, text)
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The answer. Messages of server-side failures go to the log under `request_id`, not to the
    /// client: they may name files, shapes of memory and library versions.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let hidden = if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(request_id, kind = %self.kind, error = %self.text, "request failed");
            Some(format!(
                "the server failed on this request; its log has the reason under id {request_id}"
            ))
        } else {
            None
        };
        let mut response = json(
            self.status,
            &ErrorBody {
                error: hidden.as_deref().unwrap_or(&self.text),
                kind: self.kind.as_str(),
            },
        );
        if let Some(wait) = self.retry_after {
            // Whole seconds, and not too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(RETRY_AFTER, seconds.max(1).into());
        } else if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        response
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // Only its deadline cancels a request that still has a client to answer.
        let kind = match error.kind() {
            ErrorKind::Cancelled => ErrorKind::DeadlineExceeded,
            kind => kind,
        };
        let failure = Self::of(kind, error.to_string());
        match error.retry_after() {
            Some(wait) => failure.after(wait),
            None => failure,
        }
    }
}

impl IntoResponse for Failure {
    /// A carrier without a body: see the module's comment.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, [(CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => Failure::of(ErrorKind::Internal, error.to_string()).into_response(),
    }
}

/// The status that goes with a kind; kinds this build does not know are the server's fault.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidArgument | ErrorKind::InvalidImage | ErrorKind::InvalidActivation => {
            StatusCode::BAD_REQUEST
        }
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::BundleMismatch => StatusCode::CONFLICT,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::UnsupportedActivation => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_client_caused_is_a_client_error() {
        let client: Vec<_> = ErrorKind::ALL
            .iter()
            .filter(|&&kind| status_of(kind).is_client_error())
            .map(|kind| kind.as_str())
            .collect();
        assert_eq!(
            client,
            [
                "invalid_argument",
                "invalid_image",
                "bundle_mismatch",
                "invalid_activation",
                "unsupported_activation",
                "not_found",
                "unauthorized",
                "too_large",
            ]
        );
    }

    #[test]
    fn whoever_is_not_let_in_is_told_how() {
        let response = Failure::of(ErrorKind::Unauthorized, "no token").render("r1");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn an_overloaded_answer_says_when_to_come_back() {
        let response = Failure::of(ErrorKind::Overloaded, "full").render("r1");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        for (wait_ms, seconds) in [(1, "1"), (1000, "1"), (1001, "2"), (60_000, "60")] {
            let failure = Failure::of(ErrorKind::Overloaded, "enough");
            let response = failure.after(Duration::from_millis(wait_ms)).render("r1");
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
    }
}
