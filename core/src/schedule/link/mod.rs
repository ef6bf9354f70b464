//! The link: how long a body of some size takes to get there and its answer back.
//!
//! `wake-up + round trips (size, state of the connection) + bytes before it + size / rate`. The rate
//! comes from the server's first-to-last-byte times ([`rate`]), the round trips from what TCP does
//! with windows ([`rounds`]). How far off predictions were says how far off the next may be.

mod rate;
mod rounds;

use std::time::{Duration, Instant};

use self::rate::Rate;
pub use self::rounds::Connection;
use self::rounds::{FIRST_WINDOW_BYTES, Rounds};
use super::ewma::Ewma;
use crate::{Error, ErrorKind, Result};

/// A connection unused for this long starts over at the first window.
pub(super) const IDLE_AFTER_S: f64 = 1.0;
/// A radio unused for this long sleeps: the first packet after it waits until it is awake.
const ASLEEP_AFTER_S: f64 = 5.0;
/// Weight of the newest wake-up.
const WAKE_WEIGHT: f64 = 0.3;
/// Bisections that find the rate of a body that waited for windows: to a hundredth and better.
const FITTING_STEPS: usize = 12;
/// How exact the times of bodies are that waited for no window.
const CLOCK_MS: f64 = 0.2;
/// A body tells the rate if it has so many bytes, two segments, or takes so long: ten times as long as clocks are exact to.
const TELLING_BYTES: usize = 2_800;
const TELLING_MS: f64 = 2.0;
/// Weight of a round trip below and above the estimate: queues and handshakes add to a round
/// trip, nothing ever subtracts from it.
const RTT_WEIGHT_DOWN: f64 = 0.7;
const RTT_WEIGHT_UP: f64 = 0.15;
/// A round trip worse than the prior loses half of the difference for every such time without a new
/// sample: a link that was left for being slow would otherwise never be tried again.
const BAD_NEWS_HALF_LIFE_S: f64 = 60.0;
/// Errors of predictions that their variance remembers, its start, which counts as one of them, and its
/// bounds; an error is the logarithm of the time taken over the time predicted.
const ERRORS: f64 = 10.0;
const ERROR_VARIANCE_PRIOR: f64 = 0.1;
const ERROR_VARIANCE_MIN: f64 = 0.004;
const ERROR_VARIANCE_MAX: f64 = 1.0;
/// How many times as fast as was ever known a link is hoped to be.
const HOPE: f64 = 4.0;
/// What a request that is not answered counts as: three times as long as predicted.
const LATE_ERROR: f64 = 1.1;
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
    error_variance: f64,
    errors: f64,
    last_error: f64,
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
            error_variance: ERROR_VARIANCE_PRIOR,
            errors: 1.0,
            last_error: 0.0,
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
            p95_factor: self.factor_within(P95_DEVIATIONS),
        }
    }

    /// Milliseconds for a body of `bytes` to get there and for a small answer to come back,
    /// without the server's work.
    pub fn transfer_ms(&self, bytes: usize, now: Instant) -> f64 {
        self.at(now).transfer_ms(bytes)
    }

    /// The same, within which nine of ten come.
    pub fn transfer_p90_ms(&self, bytes: usize, now: Instant) -> f64 {
        self.transfer_ms(bytes, now) * self.factor_within(P90_DEVIATIONS)
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
        self.last_error
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

    /// A connection was opened; `rtt_ms` if a round trip on it was timed.
    pub fn connected(&mut self, rtt_ms: Option<f64>, now: Instant) {
        if let Some(rtt_ms) = rtt_ms {
            self.observe_rtt(rtt_ms, now);
            self.learnt_at = Some(now);
        }
        self.used = Some(now);
    }

    /// Learns from an answered request, even from one whose answer came too late to be used.
    pub fn answered(&mut self, sample: LinkSample) {
        let network_ms = (sample.wall_ms - sample.server_ms + sample.receive_ms).max(0.0);
        self.observe_error(
            network_ms,
            self.transfer_ms(sample.bytes + sample.others, sample.sent),
        );
        let connection = self.connection(sample.sent);
        let rtt_ms = (sample.wall_ms - sample.server_ms).max(0.0);
        let wall = Duration::try_from_secs_f64(sample.wall_ms / 1e3).unwrap_or_default();
        let answered = sample.sent + wall;
        if sample.others > 0 {
            // It waited for them, nobody knows for how long.
        } else if connection != Connection::Fresh && self.is_asleep(sample.sent) {
            self.wake_ms.observe((rtt_ms - self.rtt_ms.get()).max(0.0));
        } else {
            self.observe_rtt(
                match connection {
                    Connection::Fresh => rtt_ms / 2.0,
                    Connection::Idle | Connection::Busy => rtt_ms,
                },
                answered,
            );
        }
        self.observe_rate(&sample, answered);
        if connection != Connection::Busy {
            self.window_bytes = FIRST_WINDOW_BYTES;
        }
        self.window_bytes = rounds::grown(self.window_bytes, sample.bytes as f64);
        self.used = self.used.max(Some(answered));
        self.learnt_at = self.learnt_at.max(Some(answered));
        self.residue = None;
    }

    /// A request of `bytes` sent at `sent` was given up at `now`: the link is slower than predicted,
    /// nobody knows how much. Requests that were under way together are late together, and count
    /// once.
    pub fn late(&mut self, bytes: usize, sent: Instant, now: Instant) {
        if self.late_at.is_some_and(|at| sent <= at) {
            return;
        }
        self.took_at_least(bytes, sent, now);
        self.blend_error(LATE_ERROR);
        self.late_at = Some(now);
        self.learnt_at = Some(now);
        self.used = None;
    }

    /// A request of `bytes` sent at `sent` goes on at `now`, though the device has answered: what is sent next is
    /// expected to be as slow. Its own end is learnt from as well.
    pub fn goes_on(&mut self, bytes: usize, sent: Instant, now: Instant) {
        if self.late_at.is_none_or(|at| sent > at) {
            self.took_at_least(bytes, sent, now);
        }
    }

    fn took_at_least(&mut self, bytes: usize, sent: Instant, now: Instant) {
        let sending_ms = seconds(sent, now) * 1e3 - self.rtt_ms.get();
        let ms_per_byte = sending_ms / bytes.max(1) as f64;
        self.rate.at_least(ms_per_byte, self.is_probed, now);
    }

    /// A request was abandoned at `now` with `bytes` of it on their way or in the kernel: they go
    /// before whatever is sent next.
    pub fn abandoned(&mut self, bytes: usize, now: Instant) {
        self.residue = Some((bytes, now));
    }

    /// The connection is gone; the next request opens another.
    pub fn broken(&mut self) {
        self.used = None;
        self.residue = None;
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

    fn factor_within(&self, deviations: f64) -> f64 {
        (self.error_variance.sqrt() * deviations).exp()
    }

    fn observe_error(&mut self, took_ms: f64, predicted_ms: f64) {
        if took_ms > 0.0 && predicted_ms > 0.0 {
            self.blend_error((took_ms / predicted_ms).ln());
        }
    }

    fn blend_error(&mut self, error: f64) {
        self.last_error = error;
        let error = error * error;
        self.errors = (self.errors + 1.0).min(ERRORS);
        self.error_variance = (self.error_variance + (error - self.error_variance) / self.errors)
            .clamp(ERROR_VARIANCE_MIN, ERROR_VARIANCE_MAX);
    }

    fn observe_rtt(&mut self, rtt_ms: f64, now: Instant) {
        let faded_ms = self.rtt_ms(now);
        self.rtt_ms.resume(faded_ms, rtt_ms);
        let weight = if rtt_ms < self.rtt_ms.get() {
            RTT_WEIGHT_DOWN
        } else {
            RTT_WEIGHT_UP
        };
        self.rtt_ms.observe_weighted(rtt_ms, weight);
    }

    /// The body's time at the server, less the round trips that TCP waited, is its bytes at the rate: the server's
    /// clock starts with the headers, which leave before the body, in a segment of their own. How many round trips it waited
    /// is known to about half a one, so that what came after the last of them has to be long against a round
    /// trip to tell much.
    fn observe_rate(&mut self, sample: &LinkSample, now: Instant) {
        if !self.tells_rate(sample.bytes, now) {
            return;
        }
        let bytes = sample.bytes as f64;
        let (ms_per_byte, last_wait) = self.fit(sample, bytes);
        let (sent, wait_ms) = last_wait;
        let unsure_ms = if wait_ms > 0.0 {
            self.rtt_ms.get() / 2.0
        } else {
            CLOCK_MS
        };
        let deviation = unsure_ms / (ms_per_byte * (bytes - sent)).max(f64::MIN_POSITIVE);
        // Bodies that leave together may be mixed, so that its time holds some of theirs.
        let unmixed = bytes / (bytes + sample.others as f64);
        let known = self.rate.ms_per_byte(now);
        let ms_per_byte = known.max(ms_per_byte * unmixed).min(ms_per_byte);
        self.rate.observe(ms_per_byte, deviation * deviation, now);
    }

    /// The milliseconds a byte at which `bytes` take as long as they did, and their last wait: how long
    /// they waited for windows follows from the rate, and is longer the faster that is.
    fn fit(&self, sample: &LinkSample, bytes: f64) -> (f64, (f64, f64)) {
        let connection = match self.connection(sample.sent) {
            Connection::Busy => Connection::Busy,
            // The server's clock starts when the connection is open.
            Connection::Fresh | Connection::Idle => Connection::Idle,
        };
        let rounds = |ms_per_byte| {
            Rounds::new(
                connection,
                self.window_bytes,
                self.rtt_ms.get(),
                ms_per_byte,
            )
        };
        let mut most = sample.receive_ms / bytes;
        let mut least = most * 1e-3;
        if rounds(most).sending_ms(bytes) <= sample.receive_ms {
            return (most, rounds(most).last_wait(bytes));
        }
        for _ in 0..FITTING_STEPS {
            let middle = (least * most).sqrt();
            if rounds(middle).sending_ms(bytes) > sample.receive_ms {
                most = middle;
            } else {
                least = middle;
            }
        }
        (least, rounds(least).last_wait(bytes))
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(bytes: usize, sent: Instant, rtt_ms: f64, receive_ms: f64) -> LinkSample {
        LinkSample {
            bytes,
            others: 0,
            sent,
            wall_ms: rtt_ms + receive_ms + 5.0,
            receive_ms,
            server_ms: receive_ms + 5.0,
        }
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

    /// The rate after twelve bodies of `bytes`, over a link that was taken for one of `rate_bps`.
    fn learnt_from_bps(bytes: usize, receive_ms: f64, rate_bps: f64) -> f64 {
        let rtt_ms = 20.0;
        let mut link = Link::new(LinkPrior { rtt_ms, rate_bps });
        let mut now = Instant::now();
        link.connected(None, now);
        for _ in 0..12 {
            link.answered(sample(bytes, now, rtt_ms, receive_ms));
            now += Duration::from_millis(50);
        }
        link.rate_bps(now)
    }

    #[test]
    fn even_a_small_body_tells_the_rate_of_a_slow_link() {
        // All of it came after the headers: 1 Mbit/s, and 0.4.
        let rate_bps = learnt_from_bps(4_200, 33.6, 10e6);
        assert!((rate_bps - 1e6).abs() < 5e4, "{rate_bps}");
        let rate_bps = learnt_from_bps(300, 6.0, 8e5);
        assert!((rate_bps - 4e5).abs() < 2e4, "{rate_bps}");
    }

    #[test]
    fn a_hiccup_of_a_fast_link_is_not_taken_for_its_rate() {
        let rate_bps = learnt_from_bps(300, 6.0, 20e6);
        assert!((rate_bps - 20e6).abs() < 1.0, "{rate_bps}");
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
        assert!(rate_bps > 13e6, "{rate_bps}");
    }

    #[test]
    fn bodies_that_share_the_uplink_are_not_taken_for_a_slow_one() {
        let mut link = Link::new(LinkPrior {
            rtt_ms: 20.0,
            rate_bps: 8e6,
        });
        let mut now = Instant::now();
        link.connected(Some(20.0), now);
        for _ in 0..20 {
            // 20 kB in 20 ms, which waited for as many and were mixed with as many.
            let mut sample = sample(20_000, now, 40.0, 40.0);
            sample.others = 40_000;
            link.answered(sample);
            now += Duration::from_millis(40);
        }
        let (rtt_ms, rate_bps) = (link.rtt_ms(now), link.rate_bps(now));
        assert!((rtt_ms - 20.0).abs() < 1e-6, "{rtt_ms}");
        assert!((rate_bps / 8e6 - 1.0).abs() < 0.01, "{rate_bps}");
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
        link.answered(sample(20_000, now, 60.0, 16.0));
        link.set_probed(false);
        let sent = now + Duration::from_millis(200);
        let before = link.rate_bps(sent);
        let late = sent + Duration::from_secs(1);
        link.late(20_000, sent, late);
        assert!(link.transfer_ms(20_000, late) > 900.0);
        let later = late + Duration::from_secs(20);
        link.connected(None, later);
        let after = link.rate_bps(later);
        assert!((after / before - 1.0).abs() < 0.3, "{before} {after}");
    }

    #[test]
    fn a_request_that_goes_on_makes_predictions_longer_before_it_ends() {
        let mut link = Link::new(LinkPrior::MOBILE);
        let sent = Instant::now();
        link.answered(sample(20_000, sent, 60.0, 16.0));
        let late = sent + Duration::from_secs(1);
        link.goes_on(20_000, sent, late);
        assert!(link.transfer_ms(20_000, late) > 900.0);
        assert_ne!(link.connection(late), Connection::Fresh);
        // It has another second to be late in.
        let later = late + Duration::from_secs(1);
        link.late(20_000, sent, later);
        assert!(link.transfer_ms(20_000, later) > 1_900.0);
        // Less than is known already says nothing.
        let known_ms = link.transfer_ms(20_000, later);
        link.goes_on(20_000, later, later + Duration::from_millis(500));
        assert!((link.transfer_ms(20_000, later) - known_ms).abs() < 1e-9);
    }

    #[test]
    fn requests_that_are_late_together_count_once() {
        let (mut once, mut together) = (Link::new(LinkPrior::MOBILE), Link::new(LinkPrior::MOBILE));
        let sent = Instant::now();
        let late = sent + Duration::from_millis(300);
        once.late(1_000, sent, late);
        for _ in 0..8 {
            together.late(1_000, sent, late);
        }
        let at = late + Duration::from_secs(1);
        let more = together.transfer_ms(1_000, at) - once.transfer_ms(1_000, at);
        assert!(more.abs() < 1e-9, "{more}");
    }

    #[test]
    fn predictions_that_come_true_make_the_link_a_sure_one() {
        let mut link = Link::new(LinkPrior::MOBILE);
        let mut now = Instant::now();
        link.connected(None, now);
        let unsure = link.at(now).p95_factor();
        for _ in 0..60 {
            link.answered(sample(50_000, now, 20.0, 40.0));
            now += Duration::from_millis(100);
        }
        let sure = link.at(now).p95_factor();
        assert!(sure < 1.2 && sure < unsure, "{unsure} {sure}");
    }

    #[test]
    fn a_radio_that_sleeps_is_woken_before_a_round_trip() {
        let mut link = Link::new(LinkPrior::MOBILE);
        let mut now = Instant::now();
        link.connected(Some(40.0), now);
        for _ in 0..10 {
            now += Duration::from_secs(10);
            link.answered(sample(1_000, now, 340.0, 0.0));
        }
        let (awake, asleep) = (now + Duration::from_secs(2), now + Duration::from_secs(10));
        assert!((link.rtt_ms(asleep) - 40.0).abs() < 1e-6);
        let wake_ms = link.transfer_ms(1_000, asleep) - link.transfer_ms(1_000, awake);
        assert!((wake_ms - 300.0).abs() < 1.0, "{wake_ms}");
    }

    #[test]
    fn what_was_abandoned_goes_first() {
        let mut link = Link::new(LinkPrior {
            rtt_ms: 20.0,
            rate_bps: 8e5,
        });
        let now = Instant::now();
        link.connected(None, now);
        let free = link.transfer_ms(1_000, now);
        link.abandoned(30_000, now);
        assert!((link.transfer_ms(1_000, now) - free - 300.0).abs() < 1e-6);
        let later = now + Duration::from_millis(500);
        assert!((link.transfer_ms(1_000, later) - free).abs() < 1e-6);
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
