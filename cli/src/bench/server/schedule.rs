//! When requests are due: an open loop, whose arrivals do not wait for answers.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// How arrivals follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Arrivals {
    /// Independent of each other, as those of many phones are: exponential gaps.
    Poisson,
    /// Equal gaps.
    Constant,
}

/// Times of arrivals since the start, without an end.
#[derive(Debug)]
pub(super) struct Schedule {
    arrivals: Arrivals,
    gap_s: f64,
    random: Random,
    next_s: f64,
}

impl Schedule {
    /// `rate` arrivals a second (above 0), the same ones for the same seed.
    pub(super) fn new(arrivals: Arrivals, rate: f64, seed: u64) -> Self {
        let mut schedule = Self {
            arrivals,
            gap_s: 1.0 / rate,
            random: Random::new(seed),
            next_s: 0.0,
        };
        // Several generators must not all begin at once.
        schedule.next_s = schedule.gap_s * schedule.random.share();
        schedule
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = self.next_s;
        self.next_s += match self.arrivals {
            Arrivals::Constant => self.gap_s,
            // 1 - share is never 0.
            Arrivals::Poisson => -self.gap_s * (1.0 - self.random.share()).ln(),
        };
        Duration::try_from_secs_f64(due).ok()
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): the same sequence for the same seed.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 up to, and without, 1.
    pub(super) fn share(&mut self) -> f64 {
        const BITS: u32 = 53;
        (self.bits() >> (u64::BITS - BITS)) as f64 / (1u64 << BITS) as f64
    }

    /// One of `count` (at least 1), evenly.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.bits() % count.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(arrivals: Arrivals, rate: f64, seed: u64, count: usize) -> Vec<f64> {
        let schedule = Schedule::new(arrivals, rate, seed);
        schedule.take(count).map(|due| due.as_secs_f64()).collect()
    }

    #[test]
    fn constant_arrivals_are_a_gap_apart() {
        let due = first(Arrivals::Constant, 200.0, 1, 100);
        assert!(due[0] < 0.005);
        assert!(
            due.windows(2)
                .all(|pair| (pair[1] - pair[0] - 0.005).abs() < 1e-6)
        );
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_vary_as_they_should() {
        let due = first(Arrivals::Poisson, 1000.0, 7, 50_001);
        let gaps: Vec<f64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean * 1000.0 - 1.0).abs() < 0.02, "{mean}");
        // Of an exponential distribution the deviation is the mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn a_seed_is_a_schedule() {
        let times = |seed| first(Arrivals::Poisson, 50.0, seed, 100);
        assert_eq!(times(3), times(3));
        assert_ne!(times(3), times(4));
    }

    #[test]
    fn shares_are_even() {
        let mut random = Random::new(1);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            let share = random.share();
            assert!((0.0..1.0).contains(&share));
            counts[random.below(10)] += 1;
        }
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
        assert_eq!(Random::new(1).below(0), 0);
    }
}
