//! How far off predictions were, and so how far off the next may be.

/// Errors of predictions that their variance remembers, its start, which counts as one of them, and its
/// bounds; an error is the logarithm of the time taken over the time predicted.
const ERRORS: f64 = 10.0;
const ERROR_VARIANCE_PRIOR: f64 = 0.1;
const ERROR_VARIANCE_MIN: f64 = 0.004;
const ERROR_VARIANCE_MAX: f64 = 1.0;
/// What a request that is not answered counts as: three times as long as predicted.
const LATE_ERROR: f64 = 1.1;

/// The errors of predictions: their variance about none.
#[derive(Debug, Clone)]
pub(super) struct Certainty {
    variance: f64,
    errors: f64,
    last: f64,
}

impl Certainty {
    /// Before anything was predicted.
    pub(super) const fn new() -> Self {
        Self {
            variance: ERROR_VARIANCE_PRIOR,
            errors: 1.0,
            last: 0.0,
        }
    }

    /// What was predicted to take `predicted_ms` took `took_ms`.
    pub(super) fn observe(&mut self, took_ms: f64, predicted_ms: f64) {
        if took_ms > 0.0 && predicted_ms > 0.0 {
            self.blend((took_ms / predicted_ms).ln());
        }
    }

    /// What was predicted did not come.
    pub(super) fn observe_late(&mut self) {
        self.blend(LATE_ERROR);
    }

    /// The logarithm of the time the last request took over the time predicted for it.
    pub(super) const fn last_error(&self) -> f64 {
        self.last
    }

    /// How many times as long as predicted what is within so many standard deviations takes at most.
    pub(super) fn factor_within(&self, deviations: f64) -> f64 {
        (self.variance.sqrt() * deviations).exp()
    }

    fn blend(&mut self, error: f64) {
        self.last = error;
        let error = error * error;
        self.errors = (self.errors + 1.0).min(ERRORS);
        self.variance = (self.variance + (error - self.variance) / self.errors)
            .clamp(ERROR_VARIANCE_MIN, ERROR_VARIANCE_MAX);
    }
}
