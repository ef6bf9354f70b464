//! When the server is left alone: for a while after failures, for good after a refusal.
//!
//! A circuit breaker. Closed, it lets every call through; open, none; after a while, half open,
//! exactly one, whose end decides. The wait doubles with every failure and is drawn at random, so
//! that the clients of a server that comes back do not come back together.

use std::time::{Duration, Instant};

use super::random::Random;
use crate::{Error, ErrorKind};

/// This many requests that were never answered ...
const MAX_MISSES: u32 = 3;
/// ... among this many of the latest open the breaker. One alone does not: a link stalls for a
/// second now and then, and the device has answered meanwhile.
const MISS_WINDOW: u32 = 10;
/// `Retry-After` is obeyed up to this long.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);
/// A trial that has not ended after this long is forgotten, and another one is allowed.
const MAX_TRIAL: Duration = Duration::from_mins(2);

/// Decides whether a call may try the server. Time is passed in, so that tests pass time.
#[derive(Debug)]
pub(super) struct Breaker {
    min: Duration,
    max: Duration,
    random: Random,
    state: State,
    /// Times that it opened since the last answer.
    openings: u32,
    /// The latest requests, newest in the lowest bit: 1 for those that were never answered.
    misses: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open {
        since: Instant,
        wait: Duration,
        after: ErrorKind,
    },
    HalfOpen {
        since: Instant,
        after: ErrorKind,
    },
    /// No later request of this client will fare better.
    Off {
        after: ErrorKind,
    },
}

/// Leave to send one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// One of many.
    Free,
    /// The one request that finds out whether the server is back; begun then.
    Trial(Instant),
}

/// Why the server is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// The failure that it follows.
    pub(super) after: ErrorKind,
    pub(super) until: Until,
}

/// How long the server is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// For so long yet.
    After(Duration),
    /// Until the one request that tries it has ended.
    TrialEnds,
    Forever,
}

impl Breaker {
    /// Closed. The wait after a first failure is `min` to twice that; it never exceeds `max`, but
    /// for a server that asks for more.
    pub(super) fn new(min: Duration, max: Duration, random: Random) -> Self {
        Self {
            min,
            max,
            random,
            state: State::Closed,
            openings: 0,
            misses: 0,
        }
    }

    /// Leave to send at `now`; a [`Pass::Trial`] must be given back, one way or another.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Pass, Held> {
        match self.state {
            State::Closed => Ok(Pass::Free),
            State::Off { after } => Err(Held {
                after,
                until: Until::Forever,
            }),
            State::Open { since, wait, after } => {
                let left = wait.saturating_sub(now.saturating_duration_since(since));
                if left.is_zero() {
                    return Ok(self.begin_trial(now, after));
                }
                Err(Held {
                    after,
                    until: Until::After(left),
                })
            }
            State::HalfOpen { since, after } => {
                if now.saturating_duration_since(since) >= MAX_TRIAL {
                    return Ok(self.begin_trial(now, after));
                }
                Err(Held {
                    after,
                    until: Until::TrialEnds,
                })
            }
        }
    }

    /// The failure after which the server is left alone for good, if it is.
    pub(super) fn off(&self) -> Option<ErrorKind> {
        match self.state {
            State::Off { after } => Some(after),
            _ => None,
        }
    }

    /// A request sent at `sent` was answered. What was sent before the breaker opened says nothing
    /// about the time since.
    pub(super) fn answered(&mut self, sent: Instant) {
        match self.state {
            State::Off { .. } => return,
            State::Open { since, .. } | State::HalfOpen { since, .. } if sent < since => return,
            State::Closed => self.misses <<= 1,
            State::Open { .. } | State::HalfOpen { .. } => self.close(),
        }
        self.openings = 0;
    }

    /// A request sent at `sent` failed at `now`. Returns whether this switched the server off.
    pub(super) fn failed(&mut self, error: &Error, sent: Instant, now: Instant) -> bool {
        let after = error.kind();
        match self.state {
            State::Off { .. } => return false,
            _ if is_final(after) => {
                self.state = State::Off { after };
                return true;
            }
            // Requests that were under way together fail together, and count once.
            State::Open { since, wait, after } if sent <= since => {
                let left = wait.saturating_sub(now.saturating_duration_since(since));
                if let Some(asked) = asked(error).filter(|asked| *asked > left) {
                    let wait = now.saturating_duration_since(since) + asked;
                    self.state = State::Open { since, wait, after };
                }
                return false;
            }
            State::HalfOpen { since, .. } if sent < since => return false,
            State::Closed if after == ErrorKind::DeadlineExceeded => {
                self.misses = self.misses << 1 | 1;
                let recent = self.misses & ((1 << MISS_WINDOW) - 1);
                if recent.count_ones() < MAX_MISSES {
                    return false;
                }
            }
            State::Closed | State::Open { .. } | State::HalfOpen { .. } => {}
        }
        self.open(error, now);
        false
    }

    /// A trial ended without an answer and without a failure: another may begin.
    pub(super) fn release(&mut self, pass: Pass) {
        if let (Pass::Trial(begun), State::HalfOpen { since, after }) = (pass, self.state)
            && begun == since
        {
            self.state = State::Open {
                since,
                wait: Duration::ZERO,
                after,
            };
        }
    }

    /// Failures of another network say nothing about this one; refusals do.
    pub(super) fn network_changed(&mut self) {
        if self.off().is_none() {
            self.close();
            self.openings = 0;
        }
    }

    fn begin_trial(&mut self, now: Instant, after: ErrorKind) -> Pass {
        self.state = State::HalfOpen { since: now, after };
        Pass::Trial(now)
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.misses = 0;
    }

    fn open(&mut self, error: &Error, now: Instant) {
        self.openings = self.openings.saturating_add(1);
        let longest = 2_u32
            .checked_pow(self.openings)
            .map_or(self.max, |factor| self.min.saturating_mul(factor))
            .min(self.max);
        let drawn = self.random.between(self.min, longest);
        self.state = State::Open {
            since: now,
            wait: asked(error).unwrap_or_default() + drawn,
            after: error.kind(),
        };
        self.misses = 0;
    }
}

/// How long the server asks to be left alone, as far as it is obeyed.
fn asked(error: &Error) -> Option<Duration> {
    error.retry_after().map(|asked| asked.min(MAX_RETRY_AFTER))
}

/// Refusals that concern every request of this client: it has the wrong bundle, or no leave.
fn is_final(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::BundleMismatch | ErrorKind::NotFound | ErrorKind::Unauthorized
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(30);
    const NANO: Duration = Duration::from_nanos(1);

    fn breaker() -> Breaker {
        Breaker::new(MIN, MAX, Random::seeded(7))
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "so it goes")
    }

    fn unreachable() -> Error {
        error(ErrorKind::Unreachable)
    }

    fn left(breaker: &mut Breaker, now: Instant) -> Duration {
        match breaker.admit(now) {
            Err(Held {
                until: Until::After(left),
                ..
            }) => left,
            other => panic!("not open: {other:?}"),
        }
    }

    #[test]
    fn the_wait_grows_up_to_its_bound_at_random_and_an_answer_ends_it() {
        let (mut breaker, mut now) = (breaker(), Instant::now());
        for opening in 1..=9 {
            breaker.failed(&unreachable(), now, now);
            let wait = left(&mut breaker, now);
            let longest = MIN.saturating_mul(1 << opening).min(MAX);
            assert!((MIN..=longest).contains(&wait), "{opening}: {wait:?}");
            now += wait.saturating_sub(NANO);
            assert!(breaker.admit(now).is_err());
            now += NANO;
            assert_eq!(breaker.admit(now), Ok(Pass::Trial(now)));
        }
        breaker.answered(now);
        assert_eq!(breaker.admit(now), Ok(Pass::Free));
        breaker.failed(&unreachable(), now, now);
        assert!(left(&mut breaker, now) <= MIN * 2, "from the start");
    }

    #[test]
    fn waits_of_two_clients_differ() {
        let now = Instant::now();
        let waits = [1, 2].map(|seed| {
            let mut breaker = Breaker::new(MIN, MAX, Random::seeded(seed));
            breaker.failed(&unreachable(), now, now);
            left(&mut breaker, now)
        });
        assert_ne!(waits[0], waits[1]);
    }

    #[test]
    fn half_open_lets_exactly_one_through() {
        let (mut breaker, now) = (breaker(), Instant::now());
        breaker.failed(&unreachable(), now, now);
        let later = now + MIN * 2;
        let trial = breaker.admit(later).unwrap();
        let held = breaker.admit(later + MIN).unwrap_err();
        assert_eq!(held.until, Until::TrialEnds);

        breaker.release(trial);
        let trial = breaker.admit(later + MIN).unwrap();
        assert_eq!(trial, Pass::Trial(later + MIN), "one that ends undecided");
        breaker.failed(&unreachable(), later + MIN, later + MIN * 2);
        assert!(left(&mut breaker, later + MIN * 2) <= MIN * 4);

        let end = later + MAX;
        breaker.admit(end).unwrap();
        let almost = MAX_TRIAL.saturating_sub(NANO);
        assert!(breaker.admit(end + almost).is_err());
        assert!(breaker.admit(end + MAX_TRIAL).is_ok(), "one that is lost");
    }

    #[test]
    fn three_misses_in_ten_open_it_and_two_do_not() {
        let miss = error(ErrorKind::DeadlineExceeded);
        let (mut breaker, now) = (breaker(), Instant::now());
        for answers_between in [9, 9, 4] {
            breaker.failed(&miss, now, now);
            assert_eq!(breaker.admit(now), Ok(Pass::Free));
            for _ in 0..answers_between {
                breaker.answered(now);
            }
        }
        breaker.failed(&miss, now, now);
        assert_eq!(breaker.admit(now), Ok(Pass::Free), "two in the last ten");
        breaker.failed(&miss, now, now);
        assert_eq!(breaker.admit(now).unwrap_err().after, miss.kind());
    }

    #[test]
    fn requests_that_fail_together_count_once() {
        let mut breaker = breaker();
        let sent = Instant::now();
        for late in 1..=8 {
            breaker.failed(&unreachable(), sent, sent + Duration::from_millis(late));
        }
        let first_failure = sent + Duration::from_millis(1);
        assert!(left(&mut breaker, first_failure) <= MIN * 2);
    }

    #[test]
    fn an_answer_from_before_does_not_close_it() {
        let (mut breaker, sent) = (breaker(), Instant::now());
        let now = sent + NANO;
        breaker.failed(&unreachable(), now, now);
        breaker.answered(sent);
        assert!(breaker.admit(now).is_err());
    }

    #[test]
    fn a_server_that_asks_to_be_left_alone_is() {
        let full = |asked: Duration| error(ErrorKind::Overloaded).with_retry_after(Some(asked));
        let (mut breaker, now) = (breaker(), Instant::now());
        let ten_s = Duration::from_secs(10);
        breaker.failed(&full(ten_s), now, now);
        let first = left(&mut breaker, now);
        assert!(
            first >= ten_s + MIN && first <= ten_s + MIN * 2,
            "{first:?}"
        );
        breaker.failed(&full(ten_s * 2), now, now);
        assert_eq!(left(&mut breaker, now), ten_s * 2, "the longer of two");

        let later = now + ten_s * 2;
        breaker.admit(later).unwrap();
        breaker.failed(&full(Duration::MAX), later, later);
        assert!(left(&mut breaker, later) <= MAX_RETRY_AFTER + MIN * 4);
    }

    #[test]
    fn another_network_is_another_chance_but_not_after_a_refusal() {
        let now = Instant::now();
        for (kind, helps) in [
            (ErrorKind::Unreachable, true),
            (ErrorKind::Protocol, true),
            (ErrorKind::BundleMismatch, false),
            (ErrorKind::NotFound, false),
            (ErrorKind::Unauthorized, false),
        ] {
            let mut breaker = breaker();
            breaker.failed(&error(kind), now, now);
            breaker.network_changed();
            assert_eq!(breaker.admit(now).is_ok(), helps, "{kind}");
        }
    }

    #[test]
    fn a_refusal_is_for_good_and_said_once() {
        for kind in [
            ErrorKind::BundleMismatch,
            ErrorKind::NotFound,
            ErrorKind::Unauthorized,
        ] {
            let (mut breaker, now) = (breaker(), Instant::now());
            assert!(breaker.failed(&error(kind), now, now));
            assert!(!breaker.failed(&error(kind), now, now), "said once");
            breaker.answered(now);
            let held = breaker
                .admit(now + Duration::from_hours(1_000))
                .unwrap_err();
            assert_eq!((held.after, held.until), (kind, Until::Forever));
            assert_eq!(breaker.off(), Some(kind));
        }
    }
}
