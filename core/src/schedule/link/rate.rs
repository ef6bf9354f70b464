//! The rate of the uplink: a logarithm that wanders, followed as quickly as it turns out to be worth.
//!
//! Rates of mobile links change by factors, so their logarithms are smoothed. How much a sample counts
//! follows from how the errors of the last predictions agree (Trigg and Leach, "Exponential smoothing
//! with an adaptive response rate", 1967): errors to one side are a link that has changed, errors to
//! both sides are noise. Without samples the estimate comes back to what the link was on the whole.

use std::time::Instant;

/// Weight of the newest error in the mean error and in the mean size of errors.
const ERROR_WEIGHT: f64 = 0.15;
/// Least and most that a sure sample counts.
const GAIN_MIN: f64 = 0.15;
const GAIN_MAX: f64 = 0.95;
/// A sample whose logarithm is unsure by this variance counts half; by that much more, the longer ago
/// the last one was, a second.
const HALF_SURE: f64 = 0.1;
const HALF_SURE_PER_S: f64 = 0.3;
/// What is known becomes worthless in this time (to 1/e): after it any sample counts.
const FORGET_S: f64 = 5.0;
/// Without samples the estimate returns to the whole's mean in this time (to 1/e); ...
const RETURN_S: f64 = 20.0;
/// ... after a request that was not answered sooner, since outages are short, and later again with
/// each further one; but not where probes find out when it is over.
const RETURN_AFTER_OUTAGE_S: f64 = 3.0;
/// How much a request that was not answered says of the link on the whole where no answer ever did.
const OUTAGE_WEIGHT: f64 = 0.2;
/// The whole's mean forgets: a sample counts one in so many, once there were so many.
const WHOLE_SAMPLES: f64 = 50.0;

/// The estimated rate, as milliseconds a byte.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    ln_ms_per_byte: f64,
    error: f64,
    error_size: f64,
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
            error: 0.0,
            error_size: 0.0,
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

    /// Takes a sample of `ms_per_byte` whose logarithm is unsure by `unsure`, a variance.
    pub(super) fn observe(&mut self, ms_per_byte: f64, unsure: f64, now: Instant) {
        if !ms_per_byte.is_finite() || ms_per_byte <= 0.0 || !unsure.is_finite() {
            return;
        }
        let sample = ms_per_byte.ln();
        let before = self.ms_per_byte(now).ln();
        let half_sure = HALF_SURE + HALF_SURE_PER_S * self.age_s(now);
        let sure = half_sure / (half_sure + unsure);
        let error = (sample - before) * sure;
        let gain = if self.at.is_none() {
            1.0
        } else {
            self.error += ERROR_WEIGHT * (error - self.error);
            self.error_size += ERROR_WEIGHT * (error.abs() - self.error_size);
            let response = self.error.abs() / self.error_size.max(f64::MIN_POSITIVE);
            let known = (-self.age_s(now) / FORGET_S).exp();
            1.0 - (1.0 - response.clamp(GAIN_MIN, GAIN_MAX)) * known
        };
        self.ln_ms_per_byte = before + gain * error;
        self.at = Some(now);
        self.return_s = RETURN_S;
        self.whole_samples = (self.whole_samples + 1.0).min(WHOLE_SAMPLES);
        self.whole += (sample - self.whole) * sure / self.whole_samples;
    }

    /// A request of which no answer came says that a byte takes at least `ms_per_byte`.
    /// Where nothing will tell when that is over, it is believed to be soon.
    pub(super) fn at_least(&mut self, ms_per_byte: f64, is_probed: bool, now: Instant) {
        if ms_per_byte.is_finite() && ms_per_byte > self.ms_per_byte(now) {
            self.return_s = if is_probed {
                RETURN_S
            } else if self.return_s < RETURN_S {
                (self.return_s * 2.0).min(RETURN_S / 2.0)
            } else {
                RETURN_AFTER_OUTAGE_S
            };
            self.ln_ms_per_byte = ms_per_byte.ln();
            self.at = Some(now);
            let weight = OUTAGE_WEIGHT / (1.0 + self.whole_samples).powi(2);
            self.whole += (self.ln_ms_per_byte - self.whole).max(0.0) * weight;
        }
    }

    /// When it last took a sample.
    pub(super) fn learnt_at(&self) -> Option<Instant> {
        self.at
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
            rate.observe(ms_per_byte, 0.01, now);
            now += EVERY;
        }
        (rate, now)
    }

    #[test]
    fn a_step_is_followed_within_three_samples() {
        for to in [1e-4, 3e-4, 3e-3, 3e-2] {
            let (mut rate, mut now) = settled(1e-3);
            for _ in 0..3 {
                rate.observe(to, 0.01, now);
                now += EVERY;
            }
            let off = (rate.ms_per_byte(now) / to).ln().abs();
            assert!(off < 0.1, "{to}: {}", rate.ms_per_byte(now));
        }
    }

    #[test]
    fn noise_is_averaged_and_that_of_unsure_samples_mostly_ignored() {
        for (unsure, most) in [(0.01, 0.55), (0.3, 0.2)] {
            let (mut rate, mut now) = settled(1e-3);
            for i in 0..40 {
                let noise: f64 = if i % 2 == 0 { 2.0 } else { 0.5 };
                rate.observe(1e-3 * noise, unsure, now);
                now += EVERY;
                let off = (rate.ms_per_byte(now) / 1e-3).ln().abs();
                assert!(i < 8 || off < most, "{i}: {off}");
            }
        }
    }

    #[test]
    fn an_outage_is_forgotten_in_favour_of_the_whole() {
        let (mut rate, now) = settled(1e-3);
        rate.at_least(0.1, false, now);
        assert!((rate.ms_per_byte(now) / 0.1 - 1.0).abs() < 1e-6);
        let later = now + Duration::from_secs(20);
        assert!((rate.ms_per_byte(later) / 1e-3).ln().abs() < 0.1);
    }

    #[test]
    fn samples_that_make_no_sense_teach_nothing() {
        let (mut rate, now) = settled(1e-3);
        for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            rate.observe(nonsense, 0.01, now);
            rate.at_least(nonsense, false, now);
        }
        assert!((rate.ms_per_byte(now) / 1e-3).ln().abs() < 1e-6);
    }
}
