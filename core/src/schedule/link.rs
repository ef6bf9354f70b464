//! The link: how long a body of some size takes to get there and its answer back.
//!
//! The model is `round trip × rounds(size, state of the connection) + size / rate`. TCP starts
//! with about 14 kB, restarts there after a second of idleness, and doubles with every round
//! trip: for the bodies DynO sends, round trips count before the rate does.

use std::time::{Duration, Instant};

use super::ewma::Ewma;
use crate::{Error, ErrorKind, Result};

/// What TCP sends in its first round trip on a fresh or idle connection (10 segments).
const FIRST_WINDOW_BYTES: usize = 14_000;
/// More round trips than this are never predicted: by then (14 MB) the rate decides.
const MAX_ROUNDS: u32 = 10;
/// A connection unused for this long starts over at the first window.
const IDLE_AFTER_S: f64 = 1.0;
/// Round trips to open a connection, before the request's own.
const CONNECT_ROUNDS: u32 = 1;
/// Bytes that arrive together with the request's headers, in one segment: the server's clock
/// starts with them.
const SEGMENT_BYTES: usize = 1_400;
/// Smaller bodies say nothing about the rate.
const MIN_RATE_BODY_BYTES: usize = 2 * SEGMENT_BYTES;
/// Weight of the newest sample of the rate.
const RATE_WEIGHT: f64 = 0.4;
/// Weight of a round trip below and above the estimate: queues and handshakes add to a round
/// trip, nothing ever subtracts from it.
const RTT_WEIGHT_DOWN: f64 = 0.7;
const RTT_WEIGHT_UP: f64 = 0.3;
/// What a missed deadline does to predictions: doubles them, at most to sixteen-fold.
const LATE_FACTOR: f64 = 2.0;
const MAX_LATE_FACTOR: f64 = 16.0;
/// Half of that penalty is forgotten after this long, so that the link is tried again.
const LATE_HALF_LIFE_S: f64 = 10.0;

/// The 90th percentile of a transfer, as a multiple of what is expected.
const P90_FACTOR: f64 = 2.0;

/// Estimates worse than the prior lose half of the difference for every such time without a new
/// sample: a link that was left for being slow would otherwise never be tried again.
const BAD_NEWS_HALF_LIFE_S: f64 = 60.0;

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
/// assert_eq!(link.transfer_ms(10_000, Instant::now()), 110.0);
/// ```
#[derive(Debug, Clone)]
pub struct Link {
    prior: LinkPrior,
    rtt_ms: Ewma,
    ms_per_byte: Ewma,
    learnt_at: Option<Instant>,
    late_factor: f64,
    late_at: Option<Instant>,
    used: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Fresh,
    Idle,
    Busy,
}

impl Link {
    /// A link of which nothing is known but `prior`.
    pub fn new(prior: LinkPrior) -> Self {
        Self {
            rtt_ms: Ewma::new(prior.rtt_ms, RTT_WEIGHT_UP),
            ms_per_byte: Ewma::new(8e3 / prior.rate_bps, RATE_WEIGHT),
            prior,
            learnt_at: None,
            late_factor: 1.0,
            late_at: None,
            used: None,
        }
    }

    /// Milliseconds for a body of `bytes` to get there and for a small answer to come back,
    /// without the server's work.
    pub fn transfer_ms(&self, bytes: usize, now: Instant) -> f64 {
        let rounds = rounds(bytes, self.connection(now));
        let sending_ms = bytes as f64 * 8e3 / self.rate_bps(now);
        let once = self.rtt_ms(now) * f64::from(rounds) + sending_ms;
        once * self.penalty(now)
    }

    /// The same, within which nine of ten come.
    pub fn transfer_p90_ms(&self, bytes: usize, now: Instant) -> f64 {
        self.transfer_ms(bytes, now) * P90_FACTOR
    }

    /// Estimated round trip in milliseconds.
    pub fn rtt_ms(&self, now: Instant) -> f64 {
        self.aged(self.rtt_ms.get(), self.prior.rtt_ms, now)
    }

    /// Estimated uplink in bits per second.
    pub fn rate_bps(&self, now: Instant) -> f64 {
        8e3 / self.aged(self.ms_per_byte.get(), 8e3 / self.prior.rate_bps, now)
    }

    /// A connection was opened; `rtt_ms` if a round trip on it was timed.
    pub fn connected(&mut self, rtt_ms: Option<f64>, now: Instant) {
        if let Some(rtt_ms) = rtt_ms {
            self.observe_rtt(rtt_ms);
            self.learnt_at = Some(now);
        }
        self.used = Some(now);
    }

    /// Learns from an answered request, even from one whose answer came too late to be used.
    pub fn answered(&mut self, sample: LinkSample) {
        let connection = self.connection(sample.sent);
        let rtt_ms = (sample.wall_ms - sample.server_ms).max(0.0);
        self.observe_rtt(match connection {
            Connection::Fresh => rtt_ms / f64::from(1 + CONNECT_ROUNDS),
            Connection::Idle | Connection::Busy => rtt_ms,
        });
        self.observe_rate(&sample, connection);
        self.late_factor = 1.0;
        let wall = Duration::try_from_secs_f64(sample.wall_ms / 1e3).unwrap_or_default();
        self.used = Some(sample.sent + wall);
        self.learnt_at = self.used;
    }

    /// A request sent at `sent` was not answered in time: the link is slower than predicted,
    /// nobody knows how much. Requests that were under way together are late together, and count
    /// once.
    pub fn late(&mut self, sent: Instant, now: Instant) {
        if self.late_at.is_some_and(|at| sent <= at) {
            return;
        }
        self.late_factor = (self.penalty(now) * LATE_FACTOR).min(MAX_LATE_FACTOR);
        self.late_at = Some(now);
        self.used = None;
    }

    /// The connection is gone; the next request opens another.
    pub fn broken(&mut self) {
        self.used = None;
    }

    fn connection(&self, now: Instant) -> Connection {
        match self.used {
            None => Connection::Fresh,
            Some(used) if now.saturating_duration_since(used).as_secs_f64() >= IDLE_AFTER_S => {
                Connection::Idle
            }
            Some(_) => Connection::Busy,
        }
    }

    fn penalty(&self, now: Instant) -> f64 {
        let age_s = self
            .late_at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        1.0 + (self.late_factor - 1.0) * 0.5_f64.powf(age_s / LATE_HALF_LIFE_S)
    }

    /// A time per something that is longer than assumed comes back to that.
    fn aged(&self, learnt: f64, prior: f64, now: Instant) -> f64 {
        let age_s = self
            .learnt_at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        if learnt <= prior {
            return learnt;
        }
        prior + (learnt - prior) * 0.5_f64.powf(age_s / BAD_NEWS_HALF_LIFE_S)
    }

    fn observe_rtt(&mut self, rtt_ms: f64) {
        let weight = if rtt_ms < self.rtt_ms.get() {
            RTT_WEIGHT_DOWN
        } else {
            RTT_WEIGHT_UP
        };
        self.rtt_ms.observe_weighted(rtt_ms, weight);
    }

    /// The body's time at the server, less the round trips that TCP waited, is its bytes at the
    /// rate. Where waiting was more than half of it, the rest is too uncertain to learn from.
    fn observe_rate(&mut self, sample: &LinkSample, connection: Connection) {
        if sample.bytes < MIN_RATE_BODY_BYTES {
            return;
        }
        let waited = match connection {
            Connection::Busy => 0,
            Connection::Idle | Connection::Fresh => rounds(sample.bytes, Connection::Idle) - 1,
        };
        let sending_ms = sample.receive_ms - f64::from(waited) * self.rtt_ms.get();
        if sending_ms > 0.0 && sending_ms * 2.0 >= sample.receive_ms {
            let timed_bytes = sample.bytes - SEGMENT_BYTES;
            self.ms_per_byte.observe(sending_ms / timed_bytes as f64);
        }
    }
}

/// Round trips from the first byte of the body to the last of the answer.
fn rounds(bytes: usize, connection: Connection) -> u32 {
    if connection == Connection::Busy {
        return 1;
    }
    let mut rounds = 1;
    // 14, 42, 98, 210 kB: each round trip doubles the window.
    while rounds < MAX_ROUNDS && bytes > FIRST_WINDOW_BYTES * ((1 << rounds) - 1) {
        rounds += 1;
    }
    match connection {
        Connection::Fresh => rounds + CONNECT_ROUNDS,
        Connection::Idle | Connection::Busy => rounds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(bytes: usize, sent: Instant, rtt_ms: f64, receive_ms: f64) -> LinkSample {
        LinkSample {
            bytes,
            sent,
            wall_ms: rtt_ms + receive_ms + 5.0,
            receive_ms,
            server_ms: receive_ms + 5.0,
        }
    }

    #[test]
    fn round_trips_grow_in_steps_on_an_idle_connection_only() {
        for (bytes, expected) in [(0, 1), (14_000, 1), (14_001, 2), (42_000, 2), (98_000, 3)] {
            assert_eq!(rounds(bytes, Connection::Idle), expected, "{bytes} bytes");
            assert_eq!(rounds(bytes, Connection::Fresh), expected + 1);
            assert_eq!(rounds(bytes, Connection::Busy), 1);
        }
        assert_eq!(rounds(usize::MAX, Connection::Idle), MAX_ROUNDS);
    }

    #[test]
    fn estimates_come_to_what_was_measured() {
        let mut link = Link::new(LinkPrior::MOBILE);
        let mut now = Instant::now();
        link.connected(None, now);
        for _ in 0..12 {
            // 100 kB in 400 ms: 2 Mbit/s.
            link.answered(sample(100_000, now, 20.0, 400.0));
            now += Duration::from_millis(430);
        }
        let rtt_ms = link.rtt_ms(now);
        assert!((rtt_ms - 20.0).abs() < 1.0, "{rtt_ms}");
        let rate_bps = link.rate_bps(now);
        assert!((rate_bps - 2e6).abs() < 1e5, "{rate_bps}");
    }

    #[test]
    fn even_a_small_body_tells_the_rate_of_a_slow_link() {
        let mut link = Link::new(LinkPrior::MOBILE);
        let mut now = Instant::now();
        link.connected(None, now);
        for _ in 0..12 {
            // 4.2 kB, of which 2.8 kB came after the headers, in 22.4 ms: 1 Mbit/s.
            link.answered(sample(4_200, now, 20.0, 22.4));
            now += Duration::from_millis(50);
        }
        let rate_bps = link.rate_bps(now);
        assert!((rate_bps - 1e6).abs() < 5e4, "{rate_bps}");
    }

    #[test]
    fn waiting_for_tcp_is_not_taken_for_a_slow_rate() {
        let mut link = Link::new(LinkPrior {
            rtt_ms: 100.0,
            rate_bps: 20e6,
        });
        let now = Instant::now();
        link.connected(Some(100.0), now);
        // 100 kB on an idle connection at 20 Mbit/s: 300 ms of waiting, 40 ms of sending.
        link.answered(sample(100_000, now + Duration::from_secs(5), 100.0, 340.0));
        let rate_bps = link.rate_bps(now);
        assert!((rate_bps - 20e6).abs() < 1.0, "{rate_bps}");
    }

    #[test]
    fn the_handshake_of_a_fresh_connection_is_not_taken_for_a_round_trip() {
        let mut link = Link::new(LinkPrior::MOBILE);
        let now = Instant::now();
        link.answered(sample(1_000, now, 80.0, 0.0));
        assert!((link.rtt_ms(now) - 40.0).abs() < 1e-9);
    }

    #[test]
    fn a_late_answer_makes_predictions_longer_for_a_while() {
        let mut link = Link::new(LinkPrior::MOBILE);
        let now = Instant::now();
        let before = link.transfer_ms(1_000, now);
        let mut late = now;
        for _ in 0..9 {
            let sent = late + Duration::from_nanos(1);
            late = sent + Duration::from_nanos(1);
            link.late(sent, late);
        }
        assert!((link.transfer_ms(1_000, late) - 16.0 * before).abs() < 1e-3);
        let later = now + Duration::from_secs(200);
        assert!(link.transfer_ms(1_000, later) < 1.01 * before);
        link.answered(sample(1_000, now, 60.0, 0.0));
        assert!(link.transfer_ms(1_000, now) < before);
    }

    #[test]
    fn requests_that_are_late_together_count_once() {
        let mut link = Link::new(LinkPrior::MOBILE);
        let sent = Instant::now();
        let before = link.transfer_ms(1_000, sent);
        let late = sent + Duration::from_millis(300);
        for _ in 0..8 {
            link.late(sent, late);
        }
        assert!((link.transfer_ms(1_000, late) - 2.0 * before).abs() < 1e-6);
    }

    #[test]
    fn bad_news_are_forgotten_and_good_ones_are_not() {
        let (mut slow, mut fast) = (Link::new(LinkPrior::MOBILE), Link::new(LinkPrior::MOBILE));
        let now = Instant::now();
        slow.connected(Some(660.0), now);
        fast.connected(Some(6.0), now);
        let later = now + Duration::from_mins(2);
        assert!((slow.rtt_ms(now) - 660.0).abs() < 1e-6);
        assert!((slow.rtt_ms(later) - 210.0).abs() < 1e-6);
        assert!((fast.rtt_ms(later) - 6.0).abs() < 1e-6);
    }

    #[test]
    fn a_prior_that_makes_no_sense_is_refused() {
        for (rtt_ms, rate_bps) in [(0.0, 1e6), (10.0, -1.0), (f64::NAN, 1e6)] {
            let error = LinkPrior { rtt_ms, rate_bps }.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        LinkPrior::MOBILE.check().unwrap();
    }
}
