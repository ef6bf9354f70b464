//! What the link learns from: answers, answers that do not come, connections that come and go.

use std::time::{Duration, Instant};

use super::rounds::{self, Connection, FIRST_WINDOW_BYTES, Rounds};
use super::{Link, LinkSample, RTT_WEIGHT_DOWN, RTT_WEIGHT_UP, seconds};

/// Bisections that find the rate of a body that waited for windows: to a hundredth and better.
const FITTING_STEPS: usize = 12;
/// How exact the times of bodies are that waited for no window.
const CLOCK_MS: f64 = 0.2;

impl Link {
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
        let expected_ms = self.transfer_ms(sample.bytes + sample.others, sample.sent);
        self.certainty.observe(network_ms, expected_ms);
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
        self.certainty.observe_late();
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
