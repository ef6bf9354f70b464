//! Bytes that were sent over metered networks in the last 24 hours.
//!
//! Kept in memory: a process that starts anew starts with nothing spent.

use std::time::Instant;

/// The day in pieces: bytes are forgotten an hour at a time, and the hour that has begun is no whole one.
const HOURS: usize = 25;
const HOUR_S: u64 = 3_600;

/// A day's bytes, by the hour.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    since: Option<Instant>,
    hour: u64,
    bytes: [u64; HOURS],
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self {
            since: None,
            hour: 0,
            bytes: [0; HOURS],
        }
    }

    /// Bytes of the last day.
    pub(super) fn spent(&self, now: Instant) -> u64 {
        let passed = self.hour_at(now).saturating_sub(self.hour);
        let kept = (HOURS as u64).saturating_sub(passed).min(self.hour + 1);
        let newest_first = (0..kept).map(|back| slot(self.hour - back));
        newest_first
            .map(|slot| self.bytes.get(slot).copied().unwrap_or(0))
            .fold(0, u64::saturating_add)
    }

    /// Adds what was sent at `now`.
    pub(super) fn spend(&mut self, bytes: u64, now: Instant) {
        self.since.get_or_insert(now);
        let hour = self.hour_at(now).max(self.hour);
        for passed in (self.hour + 1..=hour).take(HOURS) {
            // All of them where a day or more has passed.
            let slot = slot(passed);
            if let Some(old) = self.bytes.get_mut(slot) {
                *old = 0;
            }
        }
        self.hour = hour;
        let slot = slot(hour);
        if let Some(newest) = self.bytes.get_mut(slot) {
            *newest = newest.saturating_add(bytes);
        }
    }

    fn hour_at(&self, now: Instant) -> u64 {
        self.since.map_or(0, |since| {
            now.saturating_duration_since(since).as_secs() / HOUR_S
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of 25")]
const fn slot(hour: u64) -> usize {
    (hour % HOURS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_twenty_four_hours_have_more_than_was_spent_in_them() {
        let (mut budget, start) = (Budget::new(), Instant::now());
        let after = |minutes: u64| start + Duration::from_secs(minutes * 60);
        budget.spend(1, start);
        budget.spend(100, after(59));
        assert_eq!(budget.spent(after(24 * 60 + 1)), 101);
        assert_eq!(budget.spent(after(25 * 60)), 0);
    }

    #[test]
    fn bytes_are_forgotten_after_a_day() {
        let (mut budget, start) = (Budget::new(), Instant::now());
        let after = |hours: u64| start + Duration::from_secs(hours * HOUR_S + 1);
        assert_eq!(budget.spent(start), 0);
        budget.spend(100, start);
        budget.spend(10, after(5));
        assert_eq!(budget.spent(after(5)), 110);
        assert_eq!(budget.spent(after(24)), 110);
        assert_eq!(budget.spent(after(25)), 10);
        assert_eq!(budget.spent(after(30)), 0);
        budget.spend(7, after(100));
        assert_eq!(budget.spent(after(100)), 7);
        budget.spend(u64::MAX, after(100));
        assert_eq!(budget.spent(after(100)), u64::MAX);
    }
}
