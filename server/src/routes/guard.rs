//! In front of every path but health: who asks, whether the model is for them, and whether they have not
//! had enough.
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
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode, Uri};

use super::health::{LIVE, READY};
use super::{App, number, single};
use crate::errors::Failure;
use crate::identity::{Caller, Payer, Peer, Rates, Shown};
use crate::metrics::{AuthFailure, Shed};
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
/// known, 403 for a model that is not for them, 429 for a budget that is used up.
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
    let passed = admit(&app, &record, &request, params.ok().as_ref());
    let (caller, spending) = match passed {
        Ok(passed) => passed,
        Err(failure) => return failure.into_response(),
    };
    // Nothing behind this needs it, and nothing that prints headers shall have it.
    request.headers_mut().remove(AUTHORIZATION);
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    spending.answered(response.status());
    response
}

/// Who asks, and what they spend with it. One text for every reason why somebody is not known: what
/// was wrong with a token is nothing that a stranger is to learn.
fn admit(
    app: &Arc<App>,
    record: &Record,
    request: &Request,
    params: Option<&RawPathParams>,
) -> Result<(Caller, Spending), Failure> {
    if has_token(request.uri()) {
        record.details().not_let_in = Some(AuthFailure::Address);
        return Err(Failure::of(
            ErrorKind::InvalidArgument,
            "a token does not belong in the address, where logs keep it: take it back, and send \
             a new one as authorization: Bearer",
        ));
    }
    let peer = request.extensions().get().cloned();
    let peer = peer.unwrap_or_else(Peer::unknown);
    let caller = app
        .identity
        .caller(&shown(request.headers()), &peer)
        .map_err(|refused| {
            let mut details = record.details();
            details.refused = Some(refused.why);
            details.not_let_in = Some(refused.reason);
            drop(details);
            Failure::of(
                ErrorKind::Unauthorized,
                "this server wants to know who asks: send authorization: Bearer and a token that \
                 it knows",
            )
        })?;
    record.details().key.clone_from(&caller.id);

    let model = params
        .into_iter()
        .flatten()
        .find_map(|(name, value)| (name == "model").then_some(value));
    if !model.is_none_or(|model| caller.rights.allow(model)) {
        record.details().not_let_in = Some(AuthFailure::Model);
        // The same for models that there are and that there are not.
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            ErrorKind::Unauthorized,
            "this model is not among those that the token is for",
        ));
    }

    let payer = match &caller.id {
        Some(id) => Payer::Client(id.clone()),
        None => Payer::Address(peer.address),
    };
    let spending = Spending {
        rates: app.identity.rates.with(caller.rights.rates),
        app: Arc::clone(app),
        record: record.clone(),
        payer,
        bytes: announced(request.headers()),
    };
    let Spending { rates, bytes, .. } = spending;
    let taken = app.identity.budgets.take(&spending.payer, rates, bytes);
    taken.map_err(|wait| {
        record.details().refused = Some("budget");
        app.metrics.shed(Shed::Budget);
        Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Overloaded,
            "this client has used what it may for now: finish on the device, or try again later",
        )
        .after(wait)
    })?;
    Ok((caller, spending))
}

/// What a request takes of its client's budget; when it is dropped, that is its compute, however it
/// has ended.
struct Spending {
    app: Arc<App>,
    record: Record,
    payer: Payer,
    rates: Rates,
    /// Of the body, as announced.
    bytes: u64,
}

impl Spending {
    /// A body that was refused from its headers, for what they say or for want of room, has not been sent.
    fn answered(&self, status: StatusCode) {
        let details = self.record.details();
        let (was_taken, was_received) = (details.bytes.is_some(), details.received);
        drop(details);
        if !was_taken || (status == StatusCode::SERVICE_UNAVAILABLE && !was_received) {
            let budgets = &self.app.identity.budgets;
            budgets.give_back(&self.payer, self.rates, self.bytes);
        }
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        let timing = self.record.details().timing;
        if let Some(timing) = timing {
            let budgets = &self.app.identity.budgets;
            budgets.charge(&self.payer, self.rates, &timing);
        }
    }
}

/// Bytes of the body, as far as a header says so; routes refuse a body without.
fn announced(headers: &HeaderMap) -> u64 {
    let length = single(headers, &CONTENT_LENGTH).ok().flatten();
    length.and_then(number).unwrap_or(0)
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

/// What the `authorization` header holds: a token if it is there once and is `Bearer TOKEN`.
fn shown(headers: &HeaderMap) -> Shown {
    if !headers.contains_key(AUTHORIZATION) {
        return Shown::Nothing;
    }
    token(headers).map_or(Shown::Rubbish, Shown::Token)
}

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
