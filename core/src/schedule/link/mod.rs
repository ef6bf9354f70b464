//! The link: how long a body of some size takes to get there and its answer back.
//!
//! `wake-up + round trips (size, state of the connection) + bytes before it + size / rate`. The rate
//! comes from the server's first-to-last-byte times ([`rate`]), the round trips from what TCP does
//! with windows ([`rounds`]). How far off predictions were says how far off the next may be ([`certainty`]).
//! What all of it comes from is in [`learning`].

mod certainty;
mod learning;
mod rate;
mod rounds;

use std::time::Instant;

use self::certainty::Certainty;
use self::rate::Rate;
pub use self::rounds::Connection;
use self::rounds::{FIRST_WINDOW_BYTES, Rounds};
use super::ewma::Ewma;
use super::sizes::whole_bytes;
use crate::{Error, ErrorKind, Result};

/// A connection unused for this long starts over at the first window.
pub(super) const IDLE_AFTER_S: f64 = 1.0;
/// A radio unused for this long sleeps: the first packet after it waits until it is awake.
const ASLEEP_AFTER_S: f64 = 5.0;
/// Weight of a round trip below and above the estimate: queues and handshakes add to a round
/// trip, nothing ever subtracts from it.
const RTT_WEIGHT_DOWN: f64 = 0.7;
const RTT_WEIGHT_UP: f64 = 0.15;
/// Weight of the newest wake-up.
const WAKE_WEIGHT: f64 = 0.3;
/// A body tells the rate if it has so many bytes, two segments, or takes so long: ten times as long as clocks are exact to.
const TELLING_BYTES: usize = 2_800;
const TELLING_MS: f64 = 2.0;
/// A round trip worse than the prior loses half of the difference for every such time without a new
/// sample: a link that was left for being slow would otherwise never be tried again.
const BAD_NEWS_HALF_LIFE_S: f64 = 60.0;
/// How many times as fast as was ever known a link is hoped to be.
const HOPE: f64 = 4.0;
/// Standard deviations of a normal distribution within which 90 and 95 of 100 lie.
const P90_DEVIATIONS: f64 = 1.28;
const P95_DEVIATIONS: f64 = 1.645;

/// What is assumed of the link before anything was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkPrior {
    /// Round trip in milliseconds; above 0.
    pub rtt_ms: f64,
    /// Uplink in bits per second; above 0.
    pub rate_bps: f64,
}

impl LinkPrior {
    /// An average mobile network: 60 ms, 10 Mbit/s up.
    pub const MOBILE: Self = Self {
        rtt_ms: 60.0,
        rate_bps: 10e6,
    };

    /// Fails with [`ErrorKind::InvalidArgument`] unless both are finite and above 0.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("rtt_ms", self.rtt_ms), ("rate_bps", self.rate_bps)] {
            if !value.is_finite() || value <= 0.0 {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("the link's {name} must be above 0, got {value}"),
                ));
            }
        }
        Ok(())
    }
}

/// One answered request, as the client timed it and the server reported it.
#[derive(Debug, Clone, Copy)]
pub struct LinkSample {
    /// Length of the body.
    pub bytes: usize,
    /// Bytes of other requests that shared the uplink with it: still to leave when it was sent, or
    /// sent before it had left.
    pub others: usize,
    /// When the request was sent.
    pub sent: Instant,
    /// From then until the answer was complete, in milliseconds.
    pub wall_ms: f64,
    /// From the request's headers to the body's last byte at the server, in milliseconds.
    pub receive_ms: f64,
    /// All of the server's time, receiving included, in milliseconds.
    pub server_ms: f64,
}

/// The estimated link.
///
/// ```
/// use std::time::Instant;
/// use dyno_core::schedule::{Link, LinkPrior};
///
/// let link = Link::new(LinkPrior { rtt_ms: 50.0, rate_bps: 8e6 });
/// // A fresh connection: one round trip to open it, one for the request, 10 ms at the rate.
/// let ms = link.transfer_ms(10_000, Instant::now());
/// assert!((ms - 110.0).abs() < 1e-6);
/// ```
#[derive(Debug, Clone)]
pub struct Link {
    prior: LinkPrior,
    rtt_ms: Ewma,
    wake_ms: Ewma,
    rate: Rate,
    /// Whether probes tell what it is worth while nothing is sent.
    is_probed: bool,
    certainty: Certainty,
    learnt_at: Option<Instant>,
    late_at: Option<Instant>,
    used: Option<Instant>,
    /// How wide the connection's window is, while it is in use.
    window_bytes: f64,
    /// Bytes of abandoned requests that the uplink still has to carry, and since when.
    residue: Option<(usize, Instant)>,
}

/// What the link is at one moment: made once for a decision, asked for every plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkNow {
    rounds: Rounds,
    open_rounds: Rounds,
    before_ms: f64,
    ms_per_byte: f64,
    p95_factor: f64,
}

impl LinkNow {
    /// Milliseconds for a body of `bytes` to get there and for a small answer to come back,
    /// without the server's work.
    pub fn transfer_ms(&self, bytes: usize) -> f64 {
        self.before_ms + self.rounds.transfer_ms(bytes as f64)
    }

    /// The same on a connection whose window is open.
    pub fn open_transfer_ms(&self, bytes: usize) -> f64 {
        self.open_rounds.transfer_ms(bytes as f64)
    }

    /// How many times as long 95 of 100 transfers take at most.
    pub fn p95_factor(&self) -> f64 {
        self.p95_factor
    }

    /// Milliseconds that `bytes` take at the rate alone: what they keep others waiting.
    pub fn sending_ms(&self, bytes: usize) -> f64 {
        bytes as f64 * self.ms_per_byte
    }
}

impl Link {
    /// A link of which nothing is known but `prior`.
    pub fn new(prior: LinkPrior) -> Self {
        Self {
            rtt_ms: Ewma::new(prior.rtt_ms, RTT_WEIGHT_UP),
            wake_ms: Ewma::new(0.0, WAKE_WEIGHT),
            rate: Rate::new(8e3 / prior.rate_bps),
            is_probed: true,
            certainty: Certainty::new(),
            prior,
            learnt_at: None,
            late_at: None,
            used: None,
            window_bytes: FIRST_WINDOW_BYTES,
            residue: None,
        }
    }

    /// Whether probes will tell what the link is worth while nothing is sent over it; they do unless
    /// this says otherwise. Without them bad news have to be forgotten sooner.
    pub fn set_probed(&mut self, is_probed: bool) {
        self.is_probed = is_probed;
    }

    /// The link at `now`.
    pub fn at(&self, now: Instant) -> LinkNow {
        let ms_per_byte = self.rate.ms_per_byte(now);
        let wake_ms = if self.is_asleep(now) {
            self.wake_ms.get()
        } else {
            0.0
        };
        let rtt_ms = self.rtt_ms(now);
        LinkNow {
            rounds: self.rounds(now, ms_per_byte),
            open_rounds: Rounds::new(Connection::Busy, f64::INFINITY, rtt_ms, ms_per_byte),
            before_ms: wake_ms + self.residue_ms(ms_per_byte, now),
            ms_per_byte,
            p95_factor: self.certainty.factor_within(P95_DEVIATIONS),
        }
    }

    /// Milliseconds for a body of `bytes` to get there and for a small answer to come back,
    /// without the server's work.
    pub fn transfer_ms(&self, bytes: usize, now: Instant) -> f64 {
        self.at(now).transfer_ms(bytes)
    }

    /// The same, within which nine of ten come.
    pub fn transfer_p90_ms(&self, bytes: usize, now: Instant) -> f64 {
        self.transfer_ms(bytes, now) * self.certainty.factor_within(P90_DEVIATIONS)
    }

    /// Estimated round trip in milliseconds.
    pub fn rtt_ms(&self, now: Instant) -> f64 {
        let (learnt, prior) = (self.rtt_ms.get(), self.prior.rtt_ms);
        let age_s = self.learnt_at.map_or(0.0, |at| seconds(at, now));
        if learnt <= prior {
            return learnt;
        }
        prior + (learnt - prior) * 0.5_f64.powf(age_s / BAD_NEWS_HALF_LIFE_S)
    }

    /// Estimated uplink in bits per second.
    pub fn rate_bps(&self, now: Instant) -> f64 {
        8e3 / self.rate.ms_per_byte(now)
    }

    /// Whether the time that a body of so many bytes takes would say something about the rate.
    pub(super) fn tells_rate(&self, bytes: usize, now: Instant) -> bool {
        bytes >= TELLING_BYTES || bytes as f64 * self.rate.ms_per_byte(now) >= TELLING_MS
    }

    /// Bytes of a body that takes long enough to tell the rate exactly if that is four times what it is thought to be.
    pub(super) fn telling_bytes(&self, now: Instant) -> usize {
        whole_bytes(TELLING_MS * HOPE / self.rate.ms_per_byte(now))
    }

    /// When the connection was last used, if it is open.
    pub(super) fn used(&self) -> Option<Instant> {
        self.used
    }

    /// When something was last learnt of its rate, if ever.
    pub(super) fn rate_learnt_at(&self) -> Option<Instant> {
        self.rate.learnt_at()
    }

    /// When something was last learnt of the link, if ever.
    pub fn learnt_at(&self) -> Option<Instant> {
        self.learnt_at
    }

    /// The logarithm of the time the last request took over the time predicted for it.
    pub fn last_error(&self) -> f64 {
        self.certainty.last_error()
    }

    /// The link as it might well be, for all that is known: its connection open, four times as fast as
    /// it is now, was on the whole, or was assumed to be, whichever is fastest.
    #[must_use]
    pub fn at_its_best(&self, now: Instant) -> Self {
        let mut best = self.clone();
        let ms_per_byte = self.rate.fastest_ms_per_byte(now);
        best.rate = Rate::new(ms_per_byte.min(8e3 / self.prior.rate_bps) / HOPE);
        let rtt_ms = self.rtt_ms(now).min(self.prior.rtt_ms) / HOPE;
        best.rtt_ms = Ewma::new(rtt_ms, RTT_WEIGHT_UP);
        best.used = Some(now);
        best.window_bytes = f64::INFINITY;
        best.residue = None;
        best
    }

    /// What state the connection is in.
    pub fn connection(&self, now: Instant) -> Connection {
        match self.used {
            None => Connection::Fresh,
            Some(used) if seconds(used, now) >= IDLE_AFTER_S => Connection::Idle,
            Some(_) => Connection::Busy,
        }
    }

    fn rounds(&self, now: Instant, ms_per_byte: f64) -> Rounds {
        let connection = self.connection(now);
        Rounds::new(connection, self.window_bytes, self.rtt_ms(now), ms_per_byte)
    }

    fn is_asleep(&self, now: Instant) -> bool {
        self.used
            .is_none_or(|used| seconds(used, now) >= ASLEEP_AFTER_S)
    }

    fn residue_ms(&self, ms_per_byte: f64, now: Instant) -> f64 {
        self.residue.map_or(0.0, |(bytes, since)| {
            (bytes as f64 * ms_per_byte - seconds(since, now) * 1e3).max(0.0)
        })
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests;
