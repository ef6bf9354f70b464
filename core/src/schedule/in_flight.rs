//! The requests of this client that are under way, and what they cost each other.
//!
//! One that is sent while others are waits behind their bodies in the uplink, and behind their tails
//! at the server. Neither is late, and neither says that the link or the server is slow. HTTP/2 may
//! also mix the bytes of bodies that leave together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::cost::Estimates;
use super::line::{Line, NEGLIGIBLE, Slot};
use super::plan::Plan;

/// Bodies that are remembered; more are never in the uplink together, or it does not matter.
const MAX_RECENT: usize = 8;
/// Nothing is expected to take longer than this, however slow the link is believed to be.
const LONGEST: Duration = Duration::from_mins(1);

/// What the requests under way keep busy.
#[derive(Debug, Default)]
pub struct InFlight {
    uplink: Line,
    server: Line,
    /// The last bodies, oldest first.
    recent: VecDeque<Body>,
}

/// How long a request waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// Behind their bodies.
    pub uplink: Duration,
    /// Behind their tails.
    pub server: Duration,
}

/// A request's place among the others.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    delays: Delays,
    uplink: Slot,
    server: Slot,
}

/// What a request takes by itself.
#[derive(Debug, Clone, Copy)]
struct Alone {
    /// Its body, at the rate of the link.
    sending: Duration,
    /// Its way to the server and back.
    network: Duration,
    /// Its tail.
    server: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Body {
    bytes: usize,
    given_at: Instant,
}

impl InFlight {
    /// How long a request of `bytes` that is sent at `now` waits for others; one without a plan is no inference.
    pub fn delays(
        &self,
        bytes: usize,
        plan: Option<&Plan>,
        estimates: &Estimates,
        now: Instant,
    ) -> Delays {
        self.behind(Alone::of(bytes, plan, estimates, now), now)
    }

    /// A request with a body of `bytes` is sent at `now`; one without a plan is no inference.
    pub fn send(
        &mut self,
        bytes: usize,
        plan: Option<&Plan>,
        estimates: &Estimates,
        now: Instant,
    ) -> Ticket {
        self.give(bytes, Alone::of(bytes, plan, estimates, now), now)
    }

    /// Bytes of others that share an uplink of `rate_bps` with it: still to leave when it was sent, or sent
    /// before it had left.
    pub fn others(&self, ticket: &Ticket, rate_bps: f64) -> usize {
        bytes_in(ticket.delays.uplink, rate_bps) + self.mixed_with(ticket)
    }

    /// At `now` a request has ended.
    pub fn ended(&mut self, ticket: &Ticket, now: Instant) {
        self.uplink.is_done(ticket.uplink, now);
        self.server.is_done(ticket.server, now);
    }

    fn behind(&self, alone: Alone, now: Instant) -> Delays {
        let uplink = self.uplink.wait(now);
        Delays {
            uplink,
            server: self.server.wait(now + uplink + alone.network),
        }
    }

    fn give(&mut self, bytes: usize, alone: Alone, now: Instant) -> Ticket {
        let delays = self.behind(alone, now);
        let uplink = self.uplink.give(alone.sending, now);
        let there_at = now + delays.uplink + alone.network;
        let server = self.server.give(alone.server, there_at);
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Body {
            bytes,
            given_at: uplink.given_at,
        });
        Ticket {
            delays,
            uplink,
            server,
        }
    }

    /// Bytes that were sent after it and before it had left.
    fn mixed_with(&self, ticket: &Ticket) -> usize {
        let Slot { given_at, done_at } = ticket.uplink;
        let mixed = self
            .recent
            .iter()
            .filter(|body| body.given_at > given_at && body.given_at + NEGLIGIBLE <= done_at);
        mixed.map(|body| body.bytes).sum()
    }
}

impl Ticket {
    /// How long it was expected to wait for others.
    pub fn delays(&self) -> Delays {
        self.delays
    }
}

impl Alone {
    fn of(bytes: usize, plan: Option<&Plan>, estimates: &Estimates, now: Instant) -> Self {
        let link = estimates.link.at(now);
        let duration = |ms: f64| {
            Duration::try_from_secs_f64(ms / 1e3).map_or(LONGEST, |time| time.min(LONGEST))
        };
        let server_ms = plan.map_or(0.0, |plan| estimates.candidate(*plan, &[], now).server_ms);
        Self {
            sending: duration(link.sending_ms(bytes)),
            network: duration(link.transfer_ms(bytes)),
            server: duration(server_ms),
        }
    }
}

/// Bytes that leave in so long a time.
pub(crate) fn bytes_in(time: Duration, rate_bps: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "neither factor is negative, and what is too much for the type is its greatest"
    )]
    let bytes = (time.as_secs_f64() * rate_bps / 8.0) as usize;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::manifest;
    use crate::schedule::{LinkPrior, PhotoCodec};

    const MS: Duration = Duration::from_millis(1);

    fn alone(sending: u32, server: u32) -> Alone {
        Alone {
            sending: MS * sending,
            network: MS * sending + MS * 10,
            server: MS * server,
        }
    }

    #[test]
    fn a_request_waits_in_the_uplink_and_at_the_server() {
        let (mut in_flight, now) = (InFlight::default(), Instant::now());
        let first = in_flight.give(1, alone(20, 50), now);
        assert_eq!(first.delays.uplink + first.delays.server, Duration::ZERO);
        // It leaves 15 ms later and is there 20 ms before the first one's tail is done.
        let second = in_flight.give(1, alone(20, 50), now + MS * 5);
        assert_eq!(second.delays.uplink, MS * 15);
        assert_eq!(second.delays.server, MS * 30);
        in_flight.ended(&first, now + MS * 80);
        in_flight.ended(&second, now + MS * 130);
        let third = in_flight.behind(alone(20, 50), now + MS * 130);
        assert_eq!(third.uplink + third.server, Duration::ZERO);
    }

    #[test]
    fn a_body_that_follows_a_probe_waits_for_it() {
        let link = LinkPrior {
            rtt_ms: 20.0,
            rate_bps: 1e6,
        };
        let estimates = Estimates::new(&manifest(), None, link, 20.0);
        let (mut in_flight, now) = (InFlight::default(), Instant::now());
        let probe = in_flight.send(12_000, None, &estimates, now);
        let plan = Plan::Photo(PhotoCodec::Jpeg(90));
        let body = in_flight.send(1_000, Some(&plan), &estimates, now + MS * 16);
        assert_eq!(body.delays().uplink, MS * 80);
        assert_eq!(in_flight.others(&body, 1e6), 10_000);
        assert_eq!(in_flight.others(&probe, 1e6), 1_000);
        in_flight.ended(&probe, now + MS * 116);
    }

    #[test]
    fn those_that_are_sent_before_it_has_left_are_counted_and_no_others() {
        let (mut in_flight, now) = (InFlight::default(), Instant::now());
        let first = in_flight.give(100, alone(10, 1), now);
        let second = in_flight.give(200, alone(20, 1), now + MS * 5);
        let third = in_flight.give(400, alone(40, 1), now + MS * 30);
        assert_eq!(in_flight.mixed_with(&first), 200);
        assert_eq!(in_flight.mixed_with(&second), 0);
        assert_eq!(in_flight.mixed_with(&third), 0);
    }
}
