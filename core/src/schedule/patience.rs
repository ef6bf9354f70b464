//! How long a request is waited for before the device finishes the work itself.

/// Two moments in the life of a request, counted from its sending.
///
/// Between them the device computes and the answer may still come: the first of the two wins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// After this long without an answer the device resumes from the cut, in milliseconds.
    pub resume_after_ms: f64,
    /// After this long nobody reads the answer any more, in milliseconds. One that comes before is
    /// measured, even if the device was faster.
    pub give_up_after_ms: f64,
}

/// Finishing on the device may take so many times as long as expected, ...
const DEVICE_MARGIN_FACTOR: f64 = 1.1;
/// ... and so many milliseconds longer: what a last safe moment leaves for it.
const DEVICE_MARGIN_MS: f64 = 20.0;
/// An answer is read until this many times its 90th percentile, ...
const GIVE_UP_FACTOR: f64 = 3.0;
/// ... and this much longer.
const GIVE_UP_MARGIN_MS: f64 = 200.0;
/// ... but at least this long: a link that has become slow is measured, not guessed at.
const MIN_GIVE_UP_MS: f64 = 1_000.0;

impl Patience {
    /// Patience with an answer that is expected after `expected_ms` and comes within `p90_ms` nine times
    /// out of ten, where the device needs `resume_ms` from the cut and the call is to be answered within
    /// `left_ms`, if it has a limit.
    ///
    /// The device resumes at the 90th percentile; earlier at the last moment at which it still keeps
    /// the limit, and when the answer is late by as long as the device would take.
    pub fn new(expected_ms: f64, p90_ms: f64, resume_ms: f64, left_ms: Option<f64>) -> Self {
        let p90_ms = p90_ms.min(expected_ms + resume_ms);
        let last_safe_ms = left_ms.map_or(f64::INFINITY, |left_ms| {
            left_ms - resume_ms * DEVICE_MARGIN_FACTOR - DEVICE_MARGIN_MS
        });
        // A limit that is lost already is no reason to give up on the server.
        let resume_after_ms = if last_safe_ms > 0.0 {
            p90_ms.min(last_safe_ms)
        } else {
            p90_ms
        };
        Self {
            resume_after_ms,
            give_up_after_ms: (p90_ms * GIVE_UP_FACTOR + GIVE_UP_MARGIN_MS).max(MIN_GIVE_UP_MS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_resumes_at_the_last_safe_moment_or_earlier() {
        let at = |left_ms| Patience::new(70.0, 100.0, 50.0, left_ms).resume_after_ms;
        assert!((at(None) - 100.0).abs() < 1e-9);
        assert!((at(Some(1_000.0)) - 100.0).abs() < 1e-9);
        assert!((at(Some(135.0)) - 60.0).abs() < 1e-9);
        assert!((at(Some(10.0)) - 100.0).abs() < 1e-9, "lost already");
        let unsure = Patience::new(70.0, 1_000.0, 50.0, None).resume_after_ms;
        assert!((unsure - 120.0).abs() < 1e-9, "{unsure}");
    }
}
