//! A factor that is steady under noise and yet follows a change within three samples.

use super::ewma::resumed;

/// What a sample counts that is near the estimate, or the first one far from it: a single hiccup of
/// the scheduler is no change of the machine.
const STEADY_WEIGHT: f64 = 0.2;
/// What a sample counts that is far off on the same side as the one before it.
const CHANGE_WEIGHT: f64 = 0.8;
/// How far off is far: the logarithm of a fifth.
const FAR: f64 = 0.18;
/// Weight of the newest deviation in their variance, and the bounds of that.
const VARIANCE_WEIGHT: f64 = 0.05;
const VARIANCE_MIN: f64 = 0.000_4;
const VARIANCE_MAX: f64 = 0.25;

/// A positive factor; the first sample replaces the prior.
#[derive(Debug, Clone)]
pub(super) struct Steady {
    value: f64,
    sampled: bool,
    /// Side of the last sample, if it was far off: 1 above, -1 below, 0 not far.
    far_side: i8,
    variance: f64,
}

impl Steady {
    pub(super) const fn new(prior: f64) -> Self {
        Self {
            value: prior,
            sampled: false,
            far_side: 0,
            variance: VARIANCE_MIN,
        }
    }

    pub(super) const fn get(&self) -> f64 {
        self.value
    }

    /// Variance of the samples' logarithms about the estimate.
    pub(super) const fn variance(&self) -> f64 {
        self.variance
    }

    /// A factor of which less is believed the older it is, `faded` now, goes on from what the next `sample` leaves of it
    /// ([`resumed`]).
    pub(super) fn resume(&mut self, faded: f64, sample: f64) {
        if self.sampled {
            self.value = resumed(self.value, faded, sample);
        }
    }

    /// Takes a sample; one that is not a positive number is ignored, because it comes from clocks
    /// and headers that this program does not control.
    pub(super) fn observe(&mut self, sample: f64) {
        if !sample.is_finite() || sample <= 0.0 {
            return;
        }
        if !self.sampled {
            self.value = sample;
            self.sampled = true;
            return;
        }
        let off = (sample / self.value).ln();
        let side = if off > FAR {
            1
        } else if off < -FAR {
            -1
        } else {
            0
        };
        let weight = if side != 0 && side == self.far_side {
            CHANGE_WEIGHT
        } else {
            STEADY_WEIGHT
        };
        self.far_side = side;
        self.value *= (weight * off).exp();
        self.variance = (self.variance + VARIANCE_WEIGHT * (off * off - self.variance))
            .clamp(VARIANCE_MIN, VARIANCE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled() -> Steady {
        let mut factor = Steady::new(1.0);
        for _ in 0..10 {
            factor.observe(4.0);
        }
        factor
    }

    #[test]
    fn a_change_is_followed_within_three_samples() {
        for to in [1.0, 2.5, 8.0, 64.0] {
            let mut factor = settled();
            for _ in 0..3 {
                factor.observe(to);
            }
            let off = (factor.get() / to - 1.0).abs();
            assert!(off < 0.15, "to {to}: {}", factor.get());
        }
    }

    #[test]
    fn a_single_hiccup_moves_it_little() {
        let mut factor = settled();
        for _ in 0..5 {
            factor.observe(8.0);
            assert!(factor.get() < 1.25 * 4.0, "{}", factor.get());
            for _ in 0..6 {
                factor.observe(4.0);
            }
        }
    }

    #[test]
    fn noise_of_a_tenth_leaves_it_within_a_twentieth() {
        let mut factor = settled();
        for i in 0..100 {
            factor.observe(if i % 3 == 0 { 4.4 } else { 3.8 });
            assert!((factor.get() / 4.0 - 1.0).abs() < 0.05, "{}", factor.get());
        }
    }

    #[test]
    fn senseless_samples_change_nothing() {
        let mut factor = settled();
        for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            factor.observe(nonsense);
        }
        assert!((factor.get() - 4.0).abs() < 1e-9);
    }
}
