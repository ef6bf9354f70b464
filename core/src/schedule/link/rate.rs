//! The rate of the uplink: a logarithm that wanders, followed by a one-dimensional Kalman filter.
//!
//! Rates of mobile links change by factors, so the filter works on their logarithms. What it knows
//! decays: the longer the last sample ago, the more the next one counts, and the nearer the estimate
//! comes to what the link was on the whole.

use std::time::Instant;

/// How much the logarithm's variance grows in a second: a link is another one after some seconds.
const WANDERING_PER_S: f64 = 0.3;
/// Variance of one sample of a large body, and how much more a small one's is, times its size.
const SAMPLE_VARIANCE: f64 = 0.03;
const SMALL_BODY_VARIANCE_BYTES: f64 = 600.0;
/// Variance before anything was sent, and the most that is ever assumed: a factor of four.
const MAX_VARIANCE: f64 = 2.0;
/// A sample this many standard deviations off is a link that has changed, ...
const STEP_DEVIATIONS: f64 = 2.5;
/// ... and changes by less than this (a tenth) are not looked at so.
const MIN_STEP: f64 = 0.1;
/// Without samples the estimate returns to the whole's mean in this time (to 1/e); ...
const RETURN_S: f64 = 20.0;
/// ... after a request that was not answered sooner, since outages are short, and later again with
/// each further one.
const RETURN_AFTER_OUTAGE_S: f64 = 3.0;
/// How much a request that was not answered says of the link on the whole where no answer ever did.
const OUTAGE_WEIGHT: f64 = 0.2;
/// The whole's mean forgets: a sample counts one in so many, once there were so many.
const WHOLE_SAMPLES: f64 = 50.0;

/// The estimated rate, as milliseconds a byte.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    ln_ms_per_byte: f64,
    variance: f64,
    whole: f64,
    whole_samples: f64,
    return_s: f64,
    at: Option<Instant>,
}

impl Rate {
    /// Holds `ms_per_byte` until the first sample.
    pub(super) fn new(ms_per_byte: f64) -> Self {
        Self {
            ln_ms_per_byte: ms_per_byte.ln(),
            variance: MAX_VARIANCE,
            whole: ms_per_byte.ln(),
            whole_samples: 0.0,
            return_s: RETURN_S,
            at: None,
        }
    }

    /// The estimate at `now`, in milliseconds a byte.
    pub(super) fn ms_per_byte(&self, now: Instant) -> f64 {
        let kept = (-self.age_s(now) / self.return_s).exp();
        (self.whole + (self.ln_ms_per_byte - self.whole) * kept).exp()
    }

    /// The faster of what it is now and what it was on the whole.
    pub(super) fn fastest_ms_per_byte(&self, now: Instant) -> f64 {
        self.ms_per_byte(now).min(self.whole.exp())
    }

    /// Takes a sample of `ms_per_byte` that `bytes` gave.
    pub(super) fn observe(&mut self, ms_per_byte: f64, bytes: f64, now: Instant) {
        if !ms_per_byte.is_finite() || ms_per_byte <= 0.0 {
            return;
        }
        let sample = ms_per_byte.ln();
        let before = self.ms_per_byte(now).ln();
        let variance = (self.variance + WANDERING_PER_S * self.age_s(now)).min(MAX_VARIANCE);
        let sample_variance = SAMPLE_VARIANCE + SMALL_BODY_VARIANCE_BYTES / bytes.max(1.0);
        let off = sample - before;
        let is_step = off.abs() > MIN_STEP
            && off * off > STEP_DEVIATIONS * STEP_DEVIATIONS * (variance + sample_variance);
        let variance = if is_step { MAX_VARIANCE } else { variance };
        let gain = variance / (variance + sample_variance);
        self.ln_ms_per_byte = before + gain * off;
        self.variance = (1.0 - gain) * variance;
        self.at = Some(now);
        self.return_s = RETURN_S;
        self.whole_samples = (self.whole_samples + 1.0).min(WHOLE_SAMPLES);
        self.whole += (sample - self.whole) / self.whole_samples;
    }

    /// A request of which no answer came says that a byte takes at least `ms_per_byte`.
    pub(super) fn at_least(&mut self, ms_per_byte: f64, now: Instant) {
        if ms_per_byte.is_finite() && ms_per_byte > self.ms_per_byte(now) {
            self.return_s = if self.return_s < RETURN_S {
                (self.return_s * 2.0).min(RETURN_S / 2.0)
            } else {
                RETURN_AFTER_OUTAGE_S
            };
            self.ln_ms_per_byte = ms_per_byte.ln();
            self.variance = MAX_VARIANCE;
            self.at = Some(now);
            let weight = OUTAGE_WEIGHT / (1.0 + self.whole_samples).powi(2);
            self.whole += (self.ln_ms_per_byte - self.whole).max(0.0) * weight;
        }
    }

    fn age_s(&self, now: Instant) -> f64 {
        self.at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const EVERY: Duration = Duration::from_millis(200);

    fn settled(ms_per_byte: f64) -> (Rate, Instant) {
        let (mut rate, mut now) = (Rate::new(1e-3), Instant::now());
        for _ in 0..20 {
            rate.observe(ms_per_byte, 20e3, now);
            now += EVERY;
        }
        (rate, now)
    }

    #[test]
    fn a_step_is_followed_within_three_samples() {
        for to in [1e-4, 3e-4, 3e-3, 3e-2] {
            let (mut rate, mut now) = settled(1e-3);
            for _ in 0..3 {
                rate.observe(to, 20e3, now);
                now += EVERY;
            }
            let off = (rate.ms_per_byte(now) / to).ln().abs();
            assert!(off < 0.1, "{to}: {}", rate.ms_per_byte(now));
        }
    }

    #[test]
    fn noise_of_small_bodies_is_mostly_ignored() {
        let (mut rate, mut now) = settled(1e-3);
        for i in 0..20 {
            let noise: f64 = if i % 2 == 0 { 1.25 } else { 0.8 };
            rate.observe(1e-3 * noise, 3e3, now);
            now += EVERY;
            let off = (rate.ms_per_byte(now) / 1e-3).ln().abs();
            assert!(off < 0.16, "{i}: {off}");
        }
    }

    #[test]
    fn an_outage_is_forgotten_in_favour_of_the_whole() {
        let (mut rate, now) = settled(1e-3);
        rate.at_least(0.1, now);
        assert!((rate.ms_per_byte(now) / 0.1 - 1.0).abs() < 1e-6);
        let later = now + Duration::from_secs(20);
        assert!((rate.ms_per_byte(later) / 1e-3).ln().abs() < 0.1);
    }

    #[test]
    fn samples_that_make_no_sense_teach_nothing() {
        let (mut rate, now) = settled(1e-3);
        for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            rate.observe(nonsense, 20e3, now);
            rate.at_least(nonsense, now);
        }
        assert!((rate.ms_per_byte(now) / 1e-3).ln().abs() < 1e-6);
    }
}
