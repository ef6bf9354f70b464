//! What came of the requests of a step, counted and measured from the time each was due.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::connection::{Answer, Outcome, ServerMs};
use super::mix::Manner;

/// Longest time that is told apart: an hour, in microseconds.
const MOST_US: u64 = 3_600_000_000;
/// Digits that a time keeps.
const DIGITS: u8 = 3;

/// Times, in microseconds.
#[derive(Debug, Clone)]
pub(super) struct Times(Histogram<u64>);

/// Percentiles of times, in milliseconds; all 0 where there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Times {
    fn new() -> Result<Self> {
        let times = Histogram::new_with_bounds(1, MOST_US, DIGITS);
        Ok(Self(
            times.context("there can be no histogram of these bounds")?,
        ))
    }

    pub(super) fn add(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(MOST_US);
        self.0.saturating_record(us);
    }

    fn add_ms(&mut self, ms: f64) {
        if let Ok(time) = Duration::try_from_secs_f64(ms / 1e3) {
            self.add(time);
        }
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles {
            count: self.0.len(),
            mean: self.0.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64 / 1e3,
        }
    }

    fn merge(&mut self, other: &Self) {
        // All have the same bounds.
        let _ = self.0.add(&other.0);
    }
}

/// Counts and times of a step.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Requests that were due while it was measured, by manner.
    pub(super) due: BTreeMap<Manner, u64>,
    /// Of those, requests that were not sent: too many were under way already.
    pub(super) unsent: u64,
    /// Answers by manner and status.
    pub(super) answers: BTreeMap<Manner, BTreeMap<u16, u64>>,
    /// Given up by their own clients.
    pub(super) cancelled: u64,
    /// Requests without an answer, by manner and reason.
    pub(super) failures: BTreeMap<Manner, BTreeMap<&'static str, u64>>,
    /// Ordinary requests answered 200, within their deadline.
    pub(super) good: u64,
    /// From due to the end of the answer, of ordinary requests answered 200.
    pub(super) accepted: Times,
    /// The same of ordinary requests answered 429 or 503.
    pub(super) refused: Times,
    /// What the server says of the ordinary ones answered 200.
    pub(super) receive: Times,
    pub(super) unpack: Times,
    pub(super) queue: Times,
    pub(super) infer: Times,
    /// Unpacking and running: what remains where nobody waits.
    pub(super) service: Times,
    /// From due to sent: the generator's own delay.
    pub(super) lag: Times,
}

impl Tally {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            due: BTreeMap::new(),
            unsent: 0,
            answers: BTreeMap::new(),
            cancelled: 0,
            failures: BTreeMap::new(),
            good: 0,
            accepted: Times::new()?,
            refused: Times::new()?,
            receive: Times::new()?,
            unpack: Times::new()?,
            queue: Times::new()?,
            infer: Times::new()?,
            service: Times::new()?,
            lag: Times::new()?,
        })
    }

    /// A request was due that is not sent.
    pub(super) fn left_out(&mut self, manner: Manner) {
        *self.due.entry(manner).or_default() += 1;
        self.unsent += 1;
    }

    /// A request ended `took` after it was due, which had been sent after `lag`.
    pub(super) fn add(
        &mut self,
        manner: Manner,
        outcome: &Outcome,
        lag: Duration,
        took: Duration,
        deadline: Option<Duration>,
    ) {
        *self.due.entry(manner).or_default() += 1;
        self.lag.add(lag);
        let answer = match outcome {
            Outcome::Answered(answer) => answer,
            Outcome::Cancelled => {
                self.cancelled += 1;
                return;
            }
            Outcome::Failed(failure) => {
                let of_manner = self.failures.entry(manner).or_default();
                *of_manner.entry(failure.as_str()).or_default() += 1;
                return;
            }
        };
        let of_manner = self.answers.entry(manner).or_default();
        *of_manner.entry(answer.status).or_default() += 1;
        if manner == Manner::Ordinary {
            self.add_ordinary(answer, took, deadline);
        }
    }

    fn add_ordinary(&mut self, answer: &Answer, took: Duration, deadline: Option<Duration>) {
        match answer.status {
            200 => {
                self.accepted.add(took);
                self.good += u64::from(deadline.is_none_or(|deadline| took <= deadline));
                if let Some(ms) = answer.timing {
                    self.add_server(ms);
                }
            }
            429 | 503 => self.refused.add(took),
            _ => {}
        }
    }

    fn add_server(&mut self, ms: ServerMs) {
        self.receive.add_ms(ms.receive);
        self.unpack.add_ms(ms.unpack);
        self.queue.add_ms(ms.queue);
        self.infer.add_ms(ms.infer);
        self.service.add_ms(ms.unpack + ms.infer);
    }

    /// Adds what another generator counted in the same step.
    pub(super) fn merge(&mut self, other: &Self) {
        fn add<K: Ord + Copy>(to: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
            for (&key, count) in from {
                *to.entry(key).or_default() += count;
            }
        }
        add(&mut self.due, &other.due);
        self.unsent += other.unsent;
        for (&manner, answers) in &other.answers {
            add(self.answers.entry(manner).or_default(), answers);
        }
        self.cancelled += other.cancelled;
        for (&manner, failures) in &other.failures {
            add(self.failures.entry(manner).or_default(), failures);
        }
        self.good += other.good;
        for (to, from) in [
            (&mut self.accepted, &other.accepted),
            (&mut self.refused, &other.refused),
            (&mut self.receive, &other.receive),
            (&mut self.unpack, &other.unpack),
            (&mut self.queue, &other.queue),
            (&mut self.infer, &other.infer),
            (&mut self.service, &other.service),
            (&mut self.lag, &other.lag),
        ] {
            to.merge(from);
        }
    }

    /// Requests that were due while it was measured.
    pub(super) fn all_due(&self) -> u64 {
        self.due.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Failure;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn answered(status: u16) -> Outcome {
        Outcome::Answered(Answer {
            status,
            timing: Some(ServerMs {
                unpack: 1.0,
                infer: 2.0,
                ..ServerMs::default()
            }),
            capacity: None,
        })
    }

    #[test]
    fn percentiles_keep_three_digits() {
        let mut times = Times::new().unwrap();
        assert_eq!(times.percentiles(), Percentiles::default());
        for us in 1..=100_000 {
            times.add(Duration::from_micros(us));
        }
        times.add(Duration::from_hours(24));
        let percentiles = times.percentiles();
        assert_eq!(percentiles.count, 100_001);
        for (seen, ms) in [
            (percentiles.p50, 50.0),
            (percentiles.p90, 90.0),
            (percentiles.p99, 99.0),
            (percentiles.p999, 99.9),
            (percentiles.max, 3_600_000.0),
        ] {
            assert!((seen / ms - 1.0).abs() < 2e-3, "{seen} for {ms}");
        }
    }

    #[test]
    fn every_request_is_counted_once_and_only_ordinary_ones_are_measured() {
        let mut tally = Tally::new().unwrap();
        let deadline = Some(10 * MS);
        tally.add(Manner::Ordinary, &answered(200), MS, 5 * MS, deadline);
        tally.add(Manner::Ordinary, &answered(200), MS, 50 * MS, deadline);
        tally.add(Manner::Ordinary, &answered(503), MS, 2 * MS, deadline);
        tally.add(Manner::Bad, &answered(400), MS, MS, deadline);
        tally.add(Manner::Cancels, &Outcome::Cancelled, MS, MS, deadline);
        let reset = Outcome::Failed(Failure::Reset);
        tally.add(Manner::Ordinary, &reset, MS, MS, deadline);
        tally.left_out(Manner::Ordinary);

        let mut both = Tally::new().unwrap();
        both.merge(&tally);
        both.merge(&tally);
        assert_eq!(both.all_due(), 14);
        let answers: u64 = both.answers.values().flat_map(|a| a.values()).sum();
        let failures: u64 = both.failures.values().flat_map(|f| f.values()).sum();
        assert_eq!(answers + failures + both.cancelled + both.unsent, 14);
        assert_eq!(both.good, 2, "the other one came after its deadline");
        assert_eq!(both.accepted.percentiles().count, 4);
        assert_eq!(both.refused.percentiles().count, 2);
        assert_eq!(both.lag.percentiles().count, 12);
        let service = both.service.percentiles();
        assert!((service.p50 - 3.0).abs() < 0.01, "{service:?}");
    }
}
