//! In front of every path but health: who asks, and whether the model is for them.
//!
//! Decided from the headers, before a body is read or a place is taken: a stranger costs little.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use dyno_core::ErrorKind;
use dyno_core::client::Token;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode, Uri};

use super::health::{LIVE, READY};
use super::{App, single};
use crate::errors::Failure;
use crate::identity::Caller;
use crate::metrics::AuthFailure;
use crate::observe::Record;

/// What people call a token in an address. It has no place there: addresses are logged, by proxies
/// and by whatever shows them.
const TOKEN_PARAMETERS: [&str; 7] = [
    "access_token",
    "api_key",
    "apikey",
    "authorization",
    "bearer",
    "key",
    "token",
];

/// Lets a request through, or answers it: 400 for a token in the address, 401 for nobody that is
/// known, 403 for a model that is not for them.
pub(super) async fn guard(
    State(app): State<Arc<App>>,
    Extension(record): Extension<Record>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    if matches!(request.uri().path(), LIVE | READY) {
        return next.run(request).await;
    }
    let caller = match admit(&app, &record, &request) {
        Ok(caller) => caller,
        Err(failure) => return failure.into_response(),
    };
    record.details().key.clone_from(&caller.id);
    let model = params
        .iter()
        .flatten()
        .find_map(|(name, value)| (name == "model").then_some(value));
    if let Some(model) = model
        && !caller.rights.allow(model)
    {
        record.details().not_let_in = Some(AuthFailure::Model);
        // The same for models that there are and that there are not.
        let text = "this model is not among those that the token is for";
        return Failure::new(StatusCode::FORBIDDEN, ErrorKind::Unauthorized, text).into_response();
    }
    // Nothing behind this needs it, and nothing that prints headers shall have it.
    request.headers_mut().remove(AUTHORIZATION);
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Who asks. One text for every reason: what was wrong with a token is nothing that a stranger is
/// to learn.
fn admit(app: &App, record: &Record, request: &Request) -> Result<Caller, Failure> {
    if has_token(request.uri()) {
        record.details().not_let_in = Some(AuthFailure::Address);
        return Err(Failure::of(
            ErrorKind::InvalidArgument,
            "a token does not belong in the address, where logs keep it: take it back, and send \
             a new one as authorization: Bearer",
        ));
    }
    if app.identity.is_open() {
        return Ok(Caller::anonymous());
    }
    known(app, request.headers()).map_err(|reason| {
        record.details().not_let_in = Some(reason);
        Failure::of(
            ErrorKind::Unauthorized,
            "this server wants to know who asks: send authorization: Bearer and a token of its keys",
        )
    })
}

fn known(app: &App, headers: &HeaderMap) -> Result<Caller, AuthFailure> {
    if !headers.contains_key(AUTHORIZATION) {
        return Err(AuthFailure::Missing);
    }
    let token = token(headers).ok_or(AuthFailure::Malformed)?;
    app.identity.find(&token).ok_or(AuthFailure::Unknown)
}

/// Whether the address has a parameter that looks like a token.
fn has_token(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        TOKEN_PARAMETERS
            .iter()
            .any(|token| name.eq_ignore_ascii_case(token))
    })
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
    fn tokens_in_addresses_are_seen() {
        for (address, seen) in [
            ("/v1/models", false),
            ("/v1/models?", false),
            ("/v1/models?limit=3&tokens=2", false),
            ("/v1/token/x?limit=token", false),
            ("/v1/models?access_token=sesame", true),
            ("/v1/models?limit=3&Token=sesame", true),
            ("/v1/models?api_key", true),
            ("/v1/models?=&key=&x", true),
        ] {
            assert_eq!(has_token(&address.parse().unwrap()), seen, "{address}");
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
