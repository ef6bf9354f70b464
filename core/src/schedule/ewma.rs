//! A running mean that forgets: what every estimate of the planner is kept in.

/// Exponentially weighted mean; the first sample replaces the prior.
#[derive(Debug, Clone)]
pub(super) struct Ewma {
    value: f64,
    weight: f64,
    sampled: bool,
}

impl Ewma {
    /// Holds `prior` until the first sample; a sample then counts `weight` (0 to 1).
    pub(super) const fn new(prior: f64, weight: f64) -> Self {
        Self {
            value: prior,
            weight,
            sampled: false,
        }
    }

    pub(super) fn get(&self) -> f64 {
        self.value
    }

    /// Takes a sample; one that is negative or not a number is ignored, because it comes from
    /// clocks and headers that this program does not control.
    pub(super) fn observe(&mut self, sample: f64) {
        self.observe_weighted(sample, self.weight);
    }

    /// A mean of which less is believed the older it is, `faded` now, goes on from what the next `sample` leaves of it
    /// ([`resumed`]).
    pub(super) fn resume(&mut self, faded: f64, sample: f64) {
        if self.sampled {
            self.value = resumed(self.value, faded, sample);
        }
    }

    /// Takes a sample that counts `weight` instead of the usual.
    pub(super) fn observe_weighted(&mut self, sample: f64, weight: f64) {
        if !sample.is_finite() || sample < 0.0 {
            return;
        }
        if self.sampled {
            self.value += weight * (sample - self.value);
        } else {
            self.value = sample;
            self.sampled = true;
        }
    }
}

/// What an estimate that was `held` and has `faded` begins again with: the next `sample` where that is between the two, since
/// it was right to fade that far.
pub(super) fn resumed(held: f64, faded: f64, sample: f64) -> f64 {
    if faded < held {
        sample.max(faded).min(held)
    } else {
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sample_replaces_the_prior_and_later_ones_are_weighted() {
        let mut mean = Ewma::new(100.0, 0.5);
        mean.observe(10.0);
        assert!((mean.get() - 10.0).abs() < 1e-9);
        mean.observe(20.0);
        assert!((mean.get() - 15.0).abs() < 1e-9);
    }

    #[test]
    fn what_has_faded_comes_back_as_far_as_a_sample_says() {
        for (sample, expected) in [(0.0, 15.0), (100.0, 100.0), (400.0, 400.0), (800.0, 600.0)] {
            let mut mean = Ewma::new(0.0, 0.5);
            mean.observe(400.0);
            mean.resume(30.0, sample);
            mean.observe(sample);
            assert!((mean.get() - expected).abs() < 1e-9, "{sample}: {mean:?}");
        }
    }

    #[test]
    fn senseless_samples_change_nothing() {
        let mut mean = Ewma::new(7.0, 0.5);
        for sample in [f64::NAN, f64::INFINITY, -1.0] {
            mean.observe(sample);
        }
        assert!((mean.get() - 7.0).abs() < 1e-9);
    }
}
