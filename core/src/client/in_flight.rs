//! The requests of this client that are under way, and what they cost each other.
//!
//! One that is sent while others are waits behind their bodies in the uplink, and behind their tails
//! at the server. Neither is late, and neither says that the link or the server is slow. HTTP/2 may
//! also mix the bytes of bodies that leave together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::line::{Line, NEGLIGIBLE, Slot};

/// Bodies that are remembered; more are never in the uplink together, or it does not matter.
const MAX_RECENT: usize = 8;

/// What the requests under way keep busy.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    uplink: Line,
    server: Line,
    /// The last bodies, oldest first.
    recent: VecDeque<Body>,
}

/// What a request takes by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alone {
    /// Its body, at the rate of the link.
    pub(super) sending: Duration,
    /// Its way to the server and back.
    pub(super) network: Duration,
    /// Its tail.
    pub(super) server: Duration,
}

/// How long a request waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delays {
    pub(super) uplink: Duration,
    pub(super) server: Duration,
}

/// A request's place among the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) delays: Delays,
    uplink: Slot,
    server: Slot,
}

#[derive(Debug, Clone, Copy)]
struct Body {
    bytes: usize,
    given_at: Instant,
}

impl InFlight {
    /// How long a request that is sent at `now` waits for others.
    pub(super) fn delays(&self, alone: Alone, now: Instant) -> Delays {
        let uplink = self.uplink.wait(now);
        Delays {
            uplink,
            server: self.server.wait(now + uplink + alone.network),
        }
    }

    /// A request with a body of `bytes` is sent at `now`.
    pub(super) fn send(&mut self, bytes: usize, alone: Alone, now: Instant) -> Ticket {
        let delays = self.delays(alone, now);
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
    pub(super) fn mixed_with(&self, ticket: &Ticket) -> usize {
        let Slot { given_at, done_at } = ticket.uplink;
        let mixed = self
            .recent
            .iter()
            .filter(|body| body.given_at > given_at && body.given_at + NEGLIGIBLE <= done_at);
        mixed.map(|body| body.bytes).sum()
    }

    /// At `now` a request has ended.
    pub(super) fn ended(&mut self, ticket: &Ticket, now: Instant) {
        self.uplink.is_done(ticket.uplink, now);
        self.server.is_done(ticket.server, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let first = in_flight.send(1, alone(20, 50), now);
        assert_eq!(first.delays.uplink + first.delays.server, Duration::ZERO);
        // It leaves 15 ms later and is there 20 ms before the first one's tail is done.
        let second = in_flight.send(1, alone(20, 50), now + MS * 5);
        assert_eq!(second.delays.uplink, MS * 15);
        assert_eq!(second.delays.server, MS * 30);
        in_flight.ended(&first, now + MS * 80);
        in_flight.ended(&second, now + MS * 130);
        let third = in_flight.delays(alone(20, 50), now + MS * 130);
        assert_eq!(third.uplink + third.server, Duration::ZERO);
    }

    #[test]
    fn those_that_are_sent_before_it_has_left_are_counted_and_no_others() {
        let (mut in_flight, now) = (InFlight::default(), Instant::now());
        let first = in_flight.send(100, alone(10, 1), now);
        let second = in_flight.send(200, alone(20, 1), now + MS * 5);
        let third = in_flight.send(400, alone(40, 1), now + MS * 30);
        assert_eq!(in_flight.mixed_with(&first), 200);
        assert_eq!(in_flight.mixed_with(&second), 0);
        assert_eq!(in_flight.mixed_with(&third), 0);
    }
}
