//! When the server is left alone: for a while after a failure, for good after a refusal.

use std::time::{Duration, Instant};

use crate::ErrorKind;

/// Decides whether a call may try the server.
///
/// The wait starts at `min` and doubles with every failure up to `max`; a success ends it. Time
/// is passed in, so that tests pass time.
#[derive(Debug)]
pub(super) struct HoldOff {
    min: Duration,
    max: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Waiting {
        since: Instant,
        wait: Duration,
        after: ErrorKind,
    },
    /// The server does not have this bundle: it never will, as far as this client is concerned.
    Off {
        after: ErrorKind,
    },
}

/// Why the server is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// The failure that it follows.
    pub(super) after: ErrorKind,
    /// For how long yet; for good if none.
    pub(super) remaining: Option<Duration>,
}

impl HoldOff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            state: State::Open,
        }
    }

    /// Why the server may not be tried at `now`; none if it may.
    pub(super) fn held(&self, now: Instant) -> Option<Held> {
        match self.state {
            State::Open => None,
            State::Off { after } => Some(Held {
                after,
                remaining: None,
            }),
            State::Waiting { since, wait, after } => {
                let remaining = wait.saturating_sub(now.saturating_duration_since(since));
                (!remaining.is_zero()).then_some(Held {
                    after,
                    remaining: Some(remaining),
                })
            }
        }
    }

    /// A request sent at `sent` failed at `now`. Returns whether this switched the server off.
    pub(super) fn failed(&mut self, kind: ErrorKind, sent: Instant, now: Instant) -> bool {
        if matches!(self.state, State::Off { .. }) {
            return false;
        }
        if matches!(kind, ErrorKind::BundleMismatch | ErrorKind::NotFound) {
            self.state = State::Off { after: kind };
            return true;
        }
        let wait = match self.state {
            // Requests that were under way together fail together, and count once.
            State::Waiting { since, .. } if sent <= since => return false,
            State::Waiting { wait, .. } => wait.saturating_mul(2).min(self.max),
            State::Open | State::Off { .. } => self.min,
        };
        self.state = State::Waiting {
            since: now,
            wait,
            after: kind,
        };
        false
    }

    /// The server answered. That of a request sent before a refusal does not undo the refusal.
    pub(super) fn succeeded(&mut self) {
        if !matches!(self.state, State::Off { .. }) {
            self.state = State::Open;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_a_success_ends_it() {
        let mut holdoff = HoldOff::new(MIN, MAX);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..9 {
            holdoff.failed(ErrorKind::Unreachable, now, now);
            let wait = holdoff.held(now).and_then(|held| held.remaining).unwrap();
            assert!(
                holdoff
                    .held(now + wait.saturating_sub(Duration::from_nanos(1)))
                    .is_some()
            );
            assert!(holdoff.held(now + wait).is_none());
            waits.push(wait.as_millis());
            now += wait;
        }
        assert_eq!(
            waits,
            [
                500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000
            ]
        );
        holdoff.succeeded();
        holdoff.failed(ErrorKind::Overloaded, now, now);
        assert_eq!(holdoff.held(now).unwrap().remaining, Some(MIN));
    }

    #[test]
    fn requests_that_fail_together_count_once() {
        let mut holdoff = HoldOff::new(MIN, MAX);
        let sent = Instant::now();
        for late in 1..=8 {
            let now = sent + Duration::from_millis(late);
            holdoff.failed(ErrorKind::DeadlineExceeded, sent, now);
        }
        let first_failure = sent + Duration::from_millis(1);
        assert_eq!(holdoff.held(first_failure).unwrap().remaining, Some(MIN));
    }

    #[test]
    fn a_server_without_this_bundle_is_left_alone_for_good() {
        for kind in [ErrorKind::BundleMismatch, ErrorKind::NotFound] {
            let mut holdoff = HoldOff::new(MIN, MAX);
            let now = Instant::now();
            assert!(holdoff.failed(kind, now, now));
            assert!(!holdoff.failed(kind, now, now), "said once");
            holdoff.succeeded();
            let held = holdoff.held(now + Duration::from_secs(1_000_000)).unwrap();
            assert_eq!((held.after, held.remaining), (kind, None));
        }
    }
}
