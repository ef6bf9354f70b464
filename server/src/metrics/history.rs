//! The last minutes, for the status page: what no scraper has to be set up for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Between two samples.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// Samples kept: five minutes.
const SAMPLES: usize = 150;
/// Upper bound of the first latency that is told apart from others, in milliseconds.
const FIRST_MS: f64 = 0.25;
/// Latencies that are told apart between one and its double: percentiles are right to 9 %.
const PER_DOUBLE: f64 = 8.0;
/// Latencies told apart: up to a minute.
const LATENCIES: usize = 144;

/// What happens, counted, and the samples made of it.
#[derive(Debug)]
pub(super) struct History {
    requests: AtomicU64,
    shed: AtomicU64,
    inferences: AtomicU64,
    executions: AtomicU64,
    latencies: [AtomicU64; LATENCIES],
    samples: Mutex<VecDeque<Sample>>,
}

/// One interval.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
pub(super) struct Sample {
    requests_per_s: f64,
    shed_per_s: f64,
    /// Of inferences that went well; none without one.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// Mean; none without a run.
    batch: Option<f64>,
    /// At the interval's end, like what follows.
    queue_depth: i64,
    in_flight: usize,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            requests: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            inferences: AtomicU64::new(0),
            executions: AtomicU64::new(0),
            latencies: [const { AtomicU64::new(0) }; LATENCIES],
            samples: Mutex::default(),
        }
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn batch(&self, size: usize) {
        self.executions.fetch_add(1, Ordering::Relaxed);
        self.inferences.fetch_add(size as u64, Ordering::Relaxed);
    }

    /// An inference went well.
    pub(super) fn latency(&self, total: Duration) {
        self.latencies[latency_index(total)].fetch_add(1, Ordering::Relaxed);
    }

    /// Ends an interval: what was counted since the last one becomes a sample.
    pub(super) fn sample(&self, queue_depth: i64, in_flight: usize) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let per_s = |count: u64| count as f64 / INTERVAL.as_secs_f64();
        let latencies: Vec<u64> = self.latencies.iter().map(take).collect();
        let (inferences, executions) = (take(&self.inferences), take(&self.executions));
        let sample = Sample {
            requests_per_s: per_s(take(&self.requests)),
            shed_per_s: per_s(take(&self.shed)),
            p50_ms: percentile(&latencies, 0.5),
            p99_ms: percentile(&latencies, 0.99),
            batch: (executions > 0).then(|| inferences as f64 / executions as f64),
            queue_depth,
            in_flight,
        };
        let mut samples = self.lock();
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Oldest first.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the indices there are"
)]
fn latency_index(total: Duration) -> usize {
    let doubles = (total.as_secs_f64() * 1e3 / FIRST_MS).log2();
    (doubles * PER_DOUBLE)
        .ceil()
        .clamp(0.0, (LATENCIES - 1) as f64) as usize
}

/// The latency, in milliseconds, that such a share of the counted ones is not above.
fn percentile(counts: &[u64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = (share * all as f64).ceil();
    let mut below = 0;
    let index = counts.iter().position(|count| {
        below += count;
        below as f64 >= rank
    })?;
    Some(FIRST_MS * (index as f64 / PER_DOUBLE).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_nine_percent() {
        let history = History::new();
        for ms in 1..=1000 {
            history.latency(Duration::from_millis(ms));
        }
        history.sample(0, 0);
        let sample = history.samples()[0];
        for (got, is) in [(sample.p50_ms, 500.0), (sample.p99_ms, 990.0)] {
            let ratio = got.unwrap() / is;
            assert!((1.0..1.09).contains(&ratio), "{got:?} instead of {is}");
        }
    }

    #[test]
    fn no_latency_is_too_short_or_too_long() {
        assert_eq!(latency_index(Duration::ZERO), 0);
        assert_eq!(latency_index(Duration::MAX), LATENCIES - 1);
        assert!(latency_index(Duration::from_secs(50)) < LATENCIES - 1);
    }

    #[test]
    fn an_interval_says_what_happened_in_it_and_five_minutes_are_kept() {
        let history = History::new();
        for _ in 0..4 {
            history.request();
        }
        history.shed();
        history.batch(3);
        history.batch(1);
        history.sample(7, 9);
        let expected = Sample {
            requests_per_s: 2.0,
            shed_per_s: 0.5,
            p50_ms: None,
            p99_ms: None,
            batch: Some(2.0),
            queue_depth: 7,
            in_flight: 9,
        };
        assert_eq!(history.samples(), [expected]);
        for _ in 0..SAMPLES {
            history.sample(0, 0);
        }
        let samples = history.samples();
        assert_eq!(samples.len(), SAMPLES);
        assert_eq!((samples[0].requests_per_s, samples[0].batch), (0.0, None));
    }
}
