//! In front of every path but health: a token that the server knows, if it has been given keys.
//!
//! Decided from the headers, before a body is read or a place is taken: a stranger costs little.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use dyno_core::ErrorKind;
use dyno_core::client::Token;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::{App, LIVE, READY, single};
use crate::errors::Failure;
use crate::observe::Record;

/// Lets a request through, or answers 401. One text for every reason: what was wrong with a token
/// is nothing that a stranger is to learn.
pub(super) async fn guard(
    State(app): State<Arc<App>>,
    Extension(record): Extension<Record>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(keys) = &app.keys else {
        return next.run(request).await;
    };
    if matches!(request.uri().path(), LIVE | READY) {
        return next.run(request).await;
    }
    let known = token(request.headers()).and_then(|token| keys.find(&token));
    let Some(id) = known else {
        return Failure::of(
            ErrorKind::Unauthorized,
            "this server wants to know who asks: send authorization: Bearer and a token of its keys",
        )
        .into_response();
    };
    record.details().key = Some(id.clone());
    // Nothing behind this needs it, and nothing that prints headers shall have it.
    request.headers_mut().remove(AUTHORIZATION);
    next.run(request).await
}

/// The token of `authorization: Bearer TOKEN`, if the header is there once and is that.
fn token(headers: &HeaderMap) -> Option<Token> {
    let value = single(headers, &AUTHORIZATION).ok().flatten()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    token.trim_start_matches(' ').parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        for value in ["Bearer sesame", "bearer sesame", "BEARER   sesame"] {
            assert_eq!(token(&headers(&[value])).unwrap().reveal(), "sesame");
        }
    }

    #[test]
    fn anything_else_is_no_token() {
        let too_long = format!("Bearer {}", "x".repeat(Token::MAX_CHARS + 1));
        for values in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearersesame"],
            &["Bearer\tsesame"],
            &["Bearer open sesame"],
            &["Bearer sesame, Bearer sesame"],
            &["Basic sesame"],
            &["sesame"],
            &["Bearer s\u{e9}same"],
            &[&too_long],
            &["Bearer sesame", "Bearer sesame"],
        ] {
            assert!(token(&headers(values)).is_none(), "{values:?}");
        }
    }
}
