//! Round trips that TCP waits before the rate of the link counts.
//!
//! A connection that is fresh, or was idle for about a second, starts with ten segments and grows by
//! about half with every round trip (delayed acknowledgements keep it from doubling; measured with
//! Linux's reno: 13, 30–36, 60–69, 118, 190 and 300 kB in one to six round trips, whatever the rate).

/// What TCP sends in its first round trip (10 segments), in bytes.
pub(super) const FIRST_WINDOW_BYTES: f64 = 14_000.0;
/// Growth of the window in a round trip.
const GROWTH: f64 = 1.55;
/// More round trips than this are never predicted: by then (1.5 MB) the rate decides.
const MAX_ROUNDS: usize = 10;
/// Round trips to open a connection, before the request's own.
const CONNECT_ROUNDS: f64 = 1.0;

/// What state the connection is in when a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// There is none.
    Fresh,
    /// It was not used for a while, and starts over at the first window.
    Idle,
    /// It was used just now.
    Busy,
}

/// What becomes of a window that carries `bytes`: each round trip that fills it makes it half as large
/// again.
pub(super) fn grown(window_bytes: f64, bytes: f64) -> f64 {
    let (mut window, mut left) = (window_bytes, bytes);
    while left > window && window.is_finite() {
        left -= window;
        window *= GROWTH;
    }
    window
}

/// How long bodies take on one connection now: made once for a decision, asked for every plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rounds {
    /// Bytes sent, and milliseconds passed, when the window has been waited for so many times.
    waits: [(f64, f64); MAX_ROUNDS],
    waits_len: usize,
    ms_per_byte: f64,
    base_ms: f64,
}

impl Rounds {
    /// On a connection whose window is `window_bytes` wide, if it was used just now.
    pub(super) fn new(
        connection: Connection,
        window_bytes: f64,
        rtt_ms: f64,
        ms_per_byte: f64,
    ) -> Self {
        let mut waits = [(0.0, 0.0); MAX_ROUNDS];
        let mut waits_len = 1;
        let (connect_ms, mut window) = match connection {
            Connection::Fresh => (CONNECT_ROUNDS * rtt_ms, FIRST_WINDOW_BYTES),
            Connection::Idle => (0.0, FIRST_WINDOW_BYTES),
            Connection::Busy => (0.0, window_bytes),
        };
        // Once a window takes a round trip to send, acknowledgements come in time.
        while waits_len < MAX_ROUNDS && window * ms_per_byte < rtt_ms {
            let (bytes, wait_ms) = waits[waits_len - 1];
            waits[waits_len] = (bytes + window, wait_ms + rtt_ms);
            waits_len += 1;
            window *= GROWTH;
        }
        Self {
            waits,
            waits_len,
            ms_per_byte,
            base_ms: connect_ms + rtt_ms,
        }
    }

    /// Milliseconds from sending a body of `bytes` to its small answer.
    pub(super) fn transfer_ms(&self, bytes: f64) -> f64 {
        self.base_ms + self.sending_ms(bytes)
    }

    /// Milliseconds from its first to its last byte.
    pub(super) fn sending_ms(&self, bytes: f64) -> f64 {
        let (sent, wait_ms) = self.last_wait(bytes);
        wait_ms + (bytes - sent) * self.ms_per_byte
    }

    /// Bytes that had been sent when `bytes` waited for a window the last time, and when that was.
    pub(super) fn last_wait(&self, bytes: f64) -> (f64, f64) {
        let mut last = (0.0, 0.0);
        // Most bodies wait for few windows.
        for wait in &self.waits[..self.waits_len] {
            if bytes <= wait.0 {
                break;
            }
            last = *wait;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 ms and a rate that takes no time.
    fn trips(connection: Connection, bytes: f64) -> f64 {
        let rounds = Rounds::new(connection, f64::INFINITY, 100.0, 1e-6);
        (rounds.transfer_ms(bytes) / 100.0).round()
    }

    #[test]
    fn round_trips_grow_in_steps_unless_the_window_is_open() {
        for (bytes, expected) in [
            (0.0, 1.0),
            (14e3, 1.0),
            (20e3, 2.0),
            (60e3, 3.0),
            (100e3, 4.0),
        ] {
            assert!(
                (trips(Connection::Idle, bytes) - expected).abs() < 1e-9,
                "{bytes}"
            );
            assert!((trips(Connection::Fresh, bytes) - expected - 1.0).abs() < 1e-9);
            assert!((trips(Connection::Busy, bytes) - 1.0).abs() < 1e-9);
        }
        assert!(trips(Connection::Idle, 1e12).is_finite());
    }

    #[test]
    fn what_was_carried_opens_the_window() {
        let trips = |carried| {
            let window = grown(FIRST_WINDOW_BYTES, carried);
            let rounds = Rounds::new(Connection::Busy, window, 100.0, 1e-6);
            (rounds.transfer_ms(100e3) / 100.0).round()
        };
        let found = [0.0, 20e3, 100e3, 300e3].map(trips);
        assert!(found.is_sorted_by(|a, b| a >= b), "{found:?}");
        assert!(
            (found[0] - 4.0).abs() < 1e-9 && (found[3] - 1.0).abs() < 1e-9,
            "{found:?}"
        );
    }

    #[test]
    fn on_a_slow_link_the_rate_alone_counts() {
        // 1 Mbit/s: a window takes 112 ms, a round trip 50.
        let rounds = Rounds::new(Connection::Idle, 0.0, 50.0, 8e-3);
        assert!((rounds.transfer_ms(100e3) - 850.0).abs() < 1e-9);
    }

    #[test]
    fn more_bytes_never_take_less() {
        for connection in [Connection::Fresh, Connection::Idle, Connection::Busy] {
            let rounds = Rounds::new(connection, 0.0, 40.0, 8e3 / 20e6);
            let times: Vec<f64> = (0..400)
                .map(|i| rounds.transfer_ms(f64::from(i) * 1e3))
                .collect();
            assert!(times.is_sorted());
        }
    }
}
