//! How fast a machine runs spans: the bundle's profile times a factor learnt from what it did.

use std::sync::Arc;
use std::time::Instant;

use super::steady::Steady;
use crate::bundle::{Manifest, Profile};

/// Operations per millisecond assumed of the reference where a bundle carries no profile
/// (10 GFLOP/s, one slow core); the learnt factor takes the error out.
const REFERENCE_FLOPS_PER_MS: f64 = 1e7;
/// A machine that was slower than at its best is believed to recover half of the difference in this
/// time without being used: it cools down, and other apps end.
const RECOVERY_HALF_LIFE_S: f64 = 60.0;
/// The best is forgotten as slowly as this, an observation.
const BEST_WEIGHT: f64 = 0.01;
/// Spans predicted shorter than this say nothing about speed: the clock and the call dominate.
const MIN_TELLING_MS: f64 = 0.02;
/// Factors outside of this are a clock that jumped, not a machine.
const FACTOR_RANGE: std::ops::RangeInclusive<f64> = 1e-4..=1e4;

/// Milliseconds from the input to each cut on the machine that prepared the bundle; from the
/// operations of the cut table where it carries no profile that fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference(Vec<f64>);

impl Reference {
    /// The reference times of a bundle.
    pub fn new(manifest: &Manifest, profile: Option<&Profile>) -> Self {
        match profile {
            Some(profile) if profile.head_ms.len() == manifest.cuts.len() => {
                Self::from_head_ms(profile.head_ms.clone())
            }
            _ => Self::from_head_ms(
                manifest
                    .cuts
                    .iter()
                    .map(|cut| cut.flops_before as f64 / REFERENCE_FLOPS_PER_MS)
                    .collect(),
            ),
        }
    }

    /// Milliseconds from the input to each cut; one for each row of the cut table.
    pub const fn from_head_ms(head_ms: Vec<f64>) -> Self {
        Self(head_ms)
    }

    /// Milliseconds from cut `from` to cut `to`; 0 outside of the table.
    pub fn span_ms(&self, from: usize, to: usize) -> f64 {
        let at = |cut: usize| self.0.get(cut).copied().unwrap_or(0.0);
        (at(to) - at(from)).max(0.0)
    }
}

/// One machine's speed: the reference times, and how many times as long it takes.
///
/// For the phone the factor is its load (and its being another machine than the reference), for
/// the server its speed-up. It starts at 1.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use dyno_core::schedule::{Machine, Reference};
///
/// let laptop = Reference::from_head_ms(vec![0.0, 4.0, 10.0]);
/// let mut phone = Machine::new(Arc::new(laptop));
/// let now = Instant::now();
/// assert_eq!(phone.span_ms(0, 2, now), 10.0);
/// phone.observe(0, 1, 12.0, now); // three times as long as the laptop
/// assert_eq!(phone.span_ms(1, 2, now), 18.0);
/// ```
#[derive(Debug, Clone)]
pub struct Machine {
    reference: Arc<Reference>,
    factor: Steady,
    best: f64,
    seen: Option<Instant>,
}

impl Machine {
    /// A machine of which nothing is known yet: as fast as the reference.
    pub fn new(reference: Arc<Reference>) -> Self {
        Self::with_speed(reference, 1.0)
    }

    /// A machine that is assumed to be `speed` times as fast as the reference.
    pub fn with_speed(reference: Arc<Reference>, speed: f64) -> Self {
        Self {
            reference,
            factor: Steady::new(1.0 / speed),
            best: f64::INFINITY,
            seen: None,
        }
    }

    /// Milliseconds that this machine is expected to need from cut `from` to cut `to`.
    pub fn span_ms(&self, from: usize, to: usize, now: Instant) -> f64 {
        self.reference.span_ms(from, to) * self.factor(now)
    }

    /// How many times as long as the reference it takes.
    pub fn factor(&self, now: Instant) -> f64 {
        let factor = self.factor.get();
        match self.seen {
            Some(seen) if self.best < factor => {
                let age_s = now.saturating_duration_since(seen).as_secs_f64();
                let kept = 0.5_f64.powf(age_s / RECOVERY_HALF_LIFE_S);
                self.best + (factor - self.best) * kept
            }
            _ => factor,
        }
    }

    /// How many times as long as expected 95 of 100 runs take at most.
    pub fn p95_factor(&self) -> f64 {
        (1.645 * self.factor.variance().sqrt()).exp()
    }

    /// When it was last seen at work, if ever.
    pub(crate) fn seen(&self) -> Option<Instant> {
        self.seen
    }

    /// The times of the reference.
    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Learns from a span that took `elapsed_ms`.
    pub fn observe(&mut self, from: usize, to: usize, elapsed_ms: f64, now: Instant) {
        let reference_ms = self.reference.span_ms(from, to);
        if reference_ms < MIN_TELLING_MS {
            return;
        }
        let factor = elapsed_ms / reference_ms;
        if FACTOR_RANGE.contains(&factor) {
            let faded = self.factor(now);
            self.factor.resume(faded, factor);
            self.factor.observe(factor);
            let learnt = self.factor.get();
            self.best = if self.best < learnt {
                self.best + BEST_WEIGHT * (learnt - self.best)
            } else {
                learnt
            };
            self.seen = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::manifest;

    fn machine() -> Machine {
        Machine::new(Arc::new(Reference::from_head_ms(vec![
            0.0, 10.0, 20.0, 30.0,
        ])))
    }

    #[test]
    fn a_machine_that_slows_down_is_believed_within_three_inferences() {
        let (mut phone, now) = (machine(), Instant::now());
        phone.observe(0, 3, 30.0, now);
        for _ in 0..3 {
            phone.observe(0, 3, 120.0, now);
        }
        let believed = phone.span_ms(0, 3, now);
        assert!(believed > 0.85 * 120.0, "{believed}");
    }

    #[test]
    fn a_machine_that_is_not_used_is_believed_to_recover() {
        let (mut phone, now) = (machine(), Instant::now());
        phone.observe(0, 3, 30.0, now);
        for _ in 0..8 {
            phone.observe(0, 3, 120.0, now);
        }
        let later = now + std::time::Duration::from_mins(5);
        assert!(phone.span_ms(0, 3, now) > 115.0);
        assert!(phone.span_ms(0, 3, later) < 50.0);
        // And is not believed to be slow again when it turns out that it has.
        phone.observe(0, 3, 30.0, later);
        assert!(phone.span_ms(0, 3, later) < 50.0);
    }

    #[test]
    fn spans_too_short_to_tell_and_clocks_that_jump_teach_nothing() {
        let (mut phone, now) = (machine(), Instant::now());
        phone.observe(1, 1, 5.0, now);
        phone.observe(0, 3, 0.0, now);
        phone.observe(0, 3, 1e9, now);
        assert!((phone.factor(now) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn without_a_profile_operations_stand_in_and_the_rate_is_learnt() {
        let (manifest, now) = (manifest(), Instant::now());
        let mut phone = Machine::new(Arc::new(Reference::new(&manifest, None)));
        let total = manifest.cuts[3].flops_before as f64;
        assert!((phone.span_ms(0, 3, now) - total / REFERENCE_FLOPS_PER_MS).abs() < 1e-9);
        phone.observe(0, 3, 50.0, now);
        assert!((phone.span_ms(0, 3, now) - 50.0).abs() < 1e-6);
    }

    #[test]
    fn a_profile_of_another_table_is_not_used() {
        let manifest = manifest();
        let profile = Profile {
            machine: "reference".into(),
            threads: 1,
            head_ms: vec![0.0, 1.0],
            measured: vec![0, 1],
        };
        assert_eq!(
            Reference::new(&manifest, Some(&profile)),
            Reference::new(&manifest, None)
        );
    }
}
