//! A stage of the way to an answer, as far as this client fills it: one thing after the other.
//!
//! The uplink carries one body after the other, the server runs one tail after the other. When each
//! is done is predicted from estimates; an answer tells that it is.

use std::time::{Duration, Instant};

/// Shorter waits are none.
pub(super) const NEGLIGIBLE: Duration = Duration::from_millis(1);

/// Until when a stage is busy with what it was given.
#[derive(Debug, Default)]
pub(super) struct Line {
    free_at: Option<Instant>,
    /// How much sooner than predicted things were done: predictions are kept as they were made, and
    /// come true this much earlier.
    ahead: Duration,
}

/// When something was given to a stage and when it will be done, on the clock of its predictions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) given_at: Instant,
    pub(super) done_at: Instant,
}

impl Line {
    /// How long what comes at `at` waits.
    pub(super) fn wait(&self, at: Instant) -> Duration {
        let wait = self.free_at.map_or(Duration::ZERO, |free_at| {
            free_at.saturating_duration_since(at + self.ahead)
        });
        if wait < NEGLIGIBLE {
            Duration::ZERO
        } else {
            wait
        }
    }

    /// Something that takes so long comes at `at`.
    pub(super) fn give(&mut self, takes: Duration, at: Instant) -> Slot {
        let given_at = at + self.ahead;
        let done_at = self
            .free_at
            .map_or(given_at, |free_at| free_at.max(given_at))
            + takes;
        self.free_at = Some(done_at);
        Slot { given_at, done_at }
    }

    /// At `now` it is known to be done, or to be of no interest any more.
    pub(super) fn is_done(&mut self, slot: Slot, now: Instant) {
        let early = slot.done_at.saturating_duration_since(now);
        self.ahead = self.ahead.max(early);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn one_waits_for_the_other() {
        let (mut line, now) = (Line::default(), Instant::now());
        assert_eq!(line.wait(now), Duration::ZERO);
        line.give(MS * 30, now);
        line.give(MS * 20, now + MS * 10);
        assert_eq!(line.wait(now + MS * 10), MS * 40);
        assert_eq!(line.wait(now + MS * 60), Duration::ZERO);
        line.give(MS * 5, now + MS * 60);
        assert_eq!(line.wait(now + MS * 60), MS * 5);
    }

    #[test]
    fn what_is_done_early_lets_those_behind_it_be_earlier() {
        let (mut line, now) = (Line::default(), Instant::now());
        let [first, second, _] = [0; 3].map(|_| line.give(MS * 100, now));
        let later = now + MS * 40;
        line.is_done(first, later);
        assert_eq!(line.wait(later), MS * 200);
        let later = now + MS * 80;
        line.is_done(second, later);
        assert_eq!(line.wait(later), MS * 100);
        line.is_done(first, later);
        assert_eq!(line.wait(later), MS * 100, "nothing new");
    }

    #[test]
    fn what_is_done_late_tells_nothing() {
        let (mut line, now) = (Line::default(), Instant::now());
        let first = line.give(MS * 10, now);
        line.give(MS * 100, now);
        line.is_done(first, now + MS * 50);
        assert_eq!(line.wait(now + MS * 50), MS * 60);
    }
}
