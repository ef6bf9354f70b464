//! What a client learns from the life of a request: of the link, of the server, and whether to ask
//! it again.

use std::time::Instant;

use super::now;
use super::shared::Shared;
use super::transport::ServerTiming;
use crate::schedule::{LinkSample, Plan};
use crate::{Error, ErrorKind};

/// A request, as far as its end is learnt from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// What it serves; none for what is no inference.
    pub(super) plan: Option<Plan>,
    /// Length of its body.
    pub(super) bytes: usize,
    pub(super) at: Instant,
}

impl Shared {
    /// Learns from an answer to `bytes` sent for `plan`.
    pub(super) fn remote_answered(&self, plan: Plan, sample: LinkSample, timing: &ServerTiming) {
        let mut state = self.state();
        state.breaker.answered(sample.sent);
        let estimates = state.planner.estimates_mut();
        estimates.link.answered(sample);
        let ServerTiming {
            unpack_ms,
            queue_ms,
            infer_ms,
            ..
        } = *timing;
        estimates.served(&plan, unpack_ms, queue_ms, infer_ms, now());
    }

    /// A request is on its way: its bytes count, whatever becomes of them.
    pub(super) fn sending(&self, request: &Sent) {
        let mut state = self.state();
        state
            .planner
            .estimates_mut()
            .sent(request.bytes, request.at);
    }

    /// A request was dropped before its end: what the kernel has of it goes before the next.
    pub(super) fn remote_abandoned(&self, request: &Sent) {
        let now = now();
        let mut state = self.state();
        let link = &mut state.planner.estimates_mut().link;
        let passed_s = now.saturating_duration_since(request.at).as_secs_f64();
        let gone = passed_s * link.rate_bps(now) / 8.0;
        let left = (request.bytes as f64 - gone).max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and at most the bytes of the request"
        )]
        link.abandoned(left as usize, now);
    }

    /// Learns from a request that failed.
    pub(super) fn remote_failed(&self, request: &Sent, error: &Error) {
        let &Sent {
            plan,
            bytes,
            at: sent,
        } = request;
        let now = now();
        let mut state = self.state();
        let link = &mut state.planner.estimates_mut().link;
        match error.kind() {
            ErrorKind::Cancelled => return,
            ErrorKind::DeadlineExceeded if bytes > 0 => link.late(bytes, sent, now),
            ErrorKind::Unreachable => link.broken(),
            _ => {}
        }
        let model = &self.manifest.model;
        if let Some(plan) = plan.filter(|_| is_refusal_of_body(error.kind())) {
            // The server lives: only this kind of message is wrong, and stays wrong.
            state.breaker.answered(sent);
            if !state.refused.iter().any(|(refused, _)| *refused == plan) {
                state.refused.push((plan, error.kind()));
                log::warn!("'{plan}' of {model} is not sent again by this client: {error}");
            }
            return;
        }
        let is_off = state.breaker.failed(error, sent, now);
        drop(state);
        if is_off {
            log::warn!("this client of {model} leaves the server alone for good: {error}");
        } else {
            log::info!("the server failed ({}): {error}", error.kind());
        }
    }
}

/// Refusals (400, 413, 415) that the same message would meet again.
fn is_refusal_of_body(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidArgument
            | ErrorKind::InvalidImage
            | ErrorKind::InvalidActivation
            | ErrorKind::UnsupportedActivation
            | ErrorKind::TooLarge
    )
}
