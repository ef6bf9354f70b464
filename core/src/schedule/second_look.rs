//! A second look: an answer that is close between two classes is asked for again, from a finer message, or the
//! device computes it from what it holds.
//!
//! Which answers those are, and how many, calibration says ([`Calibration::allowed_twice`]). Photos that are harder
//! than those it saw leave more answers in doubt, which is learnt here.
//!
//! [`Calibration::allowed_twice`]: crate::bundle::Calibration::allowed_twice

use super::plan::Plan;
use crate::bundle::AllowedTwice;
use crate::{Tensor, scores};

/// When an answer is in doubt, and what is sent then.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SecondLook {
    /// Answers whose best class leads the next one by less, in logits, are in doubt.
    pub lead: f64,
    /// Share of the calls whose answer is expected to be, 0 to 1.
    pub share: f64,
    /// What is sent then, from the same activation or photo; [`Plan::Device`] where the device finishes.
    pub plan: Plan,
    /// Mean bytes of that.
    pub bytes: f64,
}

impl SecondLook {
    /// A second look that sends `plan` of `bytes`, or has the device finish for [`Plan::Device`], for `share` of the calls:
    /// those whose best class leads the next by less than `lead`.
    pub const fn new(lead: f64, share: f64, plan: Plan, bytes: f64) -> Self {
        Self {
            lead,
            share,
            plan,
            bytes,
        }
    }

    /// The second look of a way of sending that calibration allows.
    pub fn of(way: &AllowedTwice) -> Self {
        let then = way.then.as_ref();
        Self {
            lead: way.lead,
            share: way.share,
            plan: then.map_or(Plan::Device, |then| then.plan),
            bytes: then.map_or(0.0, |then| then.bytes_mean),
        }
    }

    /// Whether a classifier's outputs leave the answer in doubt.
    pub(crate) fn doubts(&self, outputs: &[Tensor]) -> bool {
        let scores = outputs.first().and_then(Tensor::as_f32);
        // What cannot be read is no answer to trust.
        scores.is_none_or(|scores| f64::from(scores::lead(scores)) < self.lead)
    }
}

/// How many times as many answers are in doubt as calibration expects.
#[derive(Debug, Clone)]
pub struct Doubts {
    expected: f64,
    seen: f64,
}

/// Doubts that were as many as expected, before there were any: what a few calls say is mostly chance.
const PRIOR: f64 = 20.0;
/// What an answer counts after each later call, also after one that followed another plan: chance must not keep the
/// planner from second looks for good.
const MEMORY: f64 = 0.995;

impl Doubts {
    pub(super) const fn new() -> Self {
        Self {
            expected: 0.0,
            seen: 0.0,
        }
    }

    /// An answer that was to be in doubt in `share` of the calls was `doubted`, or was not.
    pub fn observe(&mut self, share: f64, doubted: bool) {
        self.expected += share;
        self.seen += if doubted { 1.0 } else { 0.0 };
    }

    /// A call begins.
    pub(super) fn fade(&mut self) {
        self.expected *= MEMORY;
        self.seen *= MEMORY;
    }

    /// How many times as many.
    pub(super) fn factor(&self) -> f64 {
        (PRIOR + self.seen) / (PRIOR + self.expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorData;

    fn look(lead: f64) -> SecondLook {
        SecondLook {
            lead,
            share: 0.1,
            plan: Plan::Device,
            bytes: 1.0,
        }
    }

    #[test]
    fn answers_that_lead_by_too_little_are_in_doubt() {
        let outputs = |scores: &[f32]| {
            let data = TensorData::F32(scores.to_vec());
            vec![Tensor::new(vec![1, scores.len()], data).unwrap()]
        };
        let close = outputs(&[1.0, 3.0, 2.75]);
        assert!(look(0.5).doubts(&close));
        assert!(!look(0.25).doubts(&close));
        assert!(look(0.25).doubts(&outputs(&[f32::NAN, 9.0])));
        assert!(look(0.25).doubts(&[]));
    }

    #[test]
    fn more_doubts_than_expected_are_expected_again() {
        let mut doubts = Doubts::new();
        assert!((doubts.factor() - 1.0).abs() < 1e-9);
        for call in 0..300 {
            doubts.fade();
            doubts.observe(0.1, call % 2 == 0);
        }
        assert!((2.5..=5.0).contains(&doubts.factor()), "{doubts:?}");
        // Calls that have no second look say nothing of them.
        for _ in 0..1_000 {
            doubts.fade();
        }
        assert!((doubts.factor() - 1.0).abs() < 0.05, "{doubts:?}");
    }

    #[test]
    fn as_many_as_expected_change_little() {
        let mut doubts = Doubts::new();
        for call in 0..1_000 {
            doubts.fade();
            doubts.observe(0.1, call % 10 == 3);
            assert!((doubts.factor() - 1.0).abs() < 0.15, "{doubts:?}");
        }
    }

    #[test]
    fn bad_luck_in_the_first_calls_is_taken_for_that() {
        let mut doubts = Doubts::new();
        for call in 0..7 {
            doubts.fade();
            doubts.observe(0.3, call != 4);
        }
        assert!(doubts.factor() < 1.25, "{doubts:?}");
    }
}
