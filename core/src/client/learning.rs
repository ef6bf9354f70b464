//! What a client learns from the life of a request: of the link, of the server, and whether to ask
//! it again.

use std::time::Instant;

use super::shared::{Shared, State};
use super::transport::ServerTiming;
use super::{ms, now};
use crate::schedule::{LinkSample, Plan, Ticket, bytes_in};
use crate::{Error, ErrorKind};

/// A request, as far as its end is learnt from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// What it serves; none for what is no inference.
    pub(super) plan: Option<Plan>,
    /// Length of its body.
    pub(super) bytes: usize,
    pub(super) at: Instant,
    /// Its place among the others; none for one without a body, and while there are no others.
    ticket: Option<Ticket>,
}

impl Sent {
    /// Something else than an inference, sent now, while there are none.
    pub(super) fn aside(bytes: usize) -> Self {
        Self {
            plan: None,
            bytes,
            at: now(),
            ticket: None,
        }
    }
}

impl State {
    /// A request with a body is sent at `now`.
    fn sends(&mut self, plan: Option<Plan>, bytes: usize, now: Instant) -> Sent {
        let estimates = self.planner.estimates();
        let ticket = self.in_flight.send(bytes, plan.as_ref(), estimates, now);
        Sent {
            plan,
            bytes,
            at: now,
            ticket: Some(ticket),
        }
    }

    /// A request has ended; returns the bytes of others that shared the uplink with it.
    fn ends(&mut self, request: &Sent, now: Instant) -> usize {
        let others = self.others(request, now);
        if let Some(ticket) = &request.ticket {
            self.in_flight.ended(ticket, now);
        }
        others
    }

    /// Bytes of other requests that share the uplink with this one.
    fn others(&self, request: &Sent, now: Instant) -> usize {
        let Some(ticket) = &request.ticket else {
            return 0;
        };
        let rate_bps = self.planner.estimates().link.rate_bps(now);
        self.in_flight.others(ticket, rate_bps)
    }
}

impl Shared {
    /// Learns from an answer that came after `wall_ms`.
    pub(super) fn remote_answered(&self, request: &Sent, wall_ms: f64, timing: &ServerTiming) {
        let now = now();
        let mut state = self.state();
        state.breaker.answered(request.at);
        let others = state.ends(request, now);
        let own_queue = request.ticket.map(|ticket| ticket.delays().server);
        let estimates = state.planner.estimates_mut();
        estimates.link.answered(LinkSample {
            bytes: request.bytes,
            others,
            sent: request.at,
            wall_ms,
            receive_ms: timing.receive_ms,
            server_ms: timing.total_ms(),
        });
        if let Some(plan) = &request.plan {
            let ServerTiming {
                unpack_ms,
                queue_ms,
                infer_ms,
                ..
            } = *timing;
            // What waited for this client's own requests is not the load of others.
            let queue_ms = (queue_ms - own_queue.map_or(0.0, ms)).max(0.0);
            estimates.served(plan, unpack_ms, queue_ms, infer_ms, now);
        }
    }

    /// The body of an inference is on its way: its bytes count, whatever becomes of them.
    pub(super) fn sending(&self, plan: Plan, bytes: usize) -> Sent {
        let now = now();
        let mut state = self.state();
        state.planner.estimates_mut().sent(bytes, now);
        state.sends(Some(plan), bytes, now)
    }

    /// A probe is on its way, beside the calls.
    pub(super) fn probing(&self, bytes: usize) -> Sent {
        self.state().sends(None, bytes, now())
    }

    /// A request was dropped before its end: what the kernel has of it goes before the next.
    pub(super) fn remote_abandoned(&self, request: &Sent) {
        let now = now();
        let mut state = self.state();
        state.ends(request, now);
        let waited = request.ticket.map(|ticket| ticket.delays().uplink);
        let link = &mut state.planner.estimates_mut().link;
        let passed = now.saturating_duration_since(request.at);
        let gone = bytes_in(
            passed.saturating_sub(waited.unwrap_or_default()),
            link.rate_bps(now),
        );
        link.abandoned(request.bytes.saturating_sub(gone), now);
    }

    /// Learns from a request that goes on, though the device has answered.
    pub(super) fn remote_goes_on(&self, request: &Sent) {
        let now = now();
        let mut state = self.state();
        let bytes = request.bytes + state.others(request, now);
        let link = &mut state.planner.estimates_mut().link;
        link.goes_on(bytes, request.at, now);
    }

    /// Learns from a request that failed.
    pub(super) fn remote_failed(&self, request: &Sent, error: &Error) {
        let &Sent {
            plan,
            bytes,
            at: sent,
            ..
        } = request;
        let now = now();
        let mut state = self.state();
        let others = state.ends(request, now);
        let link = &mut state.planner.estimates_mut().link;
        match error.kind() {
            ErrorKind::Cancelled => return,
            ErrorKind::DeadlineExceeded if bytes > 0 => link.late(bytes + others, sent, now),
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
