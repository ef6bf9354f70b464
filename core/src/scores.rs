//! A classifier's scores, whether it ends in a softmax or not: which class leads, and by how much.

use std::borrow::Cow;

/// How far the sum of an output may be from 1 for it to count as probabilities.
const PROBABILITY_SUM_TOLERANCE: f64 = 1e-3;
/// A probability is taken for at least this before its logarithm is taken.
const MIN_PROBABILITY: f32 = 1e-30;

/// Whether all elements lie in 0 to 1 and their sum is 1: the model ends in a softmax of its own.
pub(crate) fn are_probabilities(scores: &[f32]) -> bool {
    let in_range = scores.iter().all(|x| (0.0..=1.0).contains(x));
    let sum: f64 = scores.iter().map(|&x| f64::from(x)).sum();
    in_range && (sum - 1.0).abs() <= PROBABILITY_SUM_TOLERANCE
}

/// Logarithms of probabilities, which differ from logits by a constant; what is no probability as it is.
pub(crate) fn logits(scores: &[f32]) -> Cow<'_, [f32]> {
    if are_probabilities(scores) {
        return scores.iter().map(|&x| logit(x)).collect();
    }
    scores.into()
}

/// The first of the greatest; NaN is less than anything.
pub(crate) fn best(scores: &[f32]) -> usize {
    (0..scores.len())
        .max_by(|&a, &b| {
            let of = |i: usize| rank(scores[i]);
            of(a).total_cmp(&of(b)).then(b.cmp(&a))
        })
        .unwrap_or(0)
}

/// By how much the logit of the best class leads that of the next, 0 or more: how far the answer is from another one.
///
/// 0 where there is no telling: NaN among the scores, or two that are infinite. Infinite with less than two classes.
pub(crate) fn lead(scores: &[f32]) -> f32 {
    if scores.iter().any(|score| score.is_nan()) {
        return 0.0;
    }
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &score in scores {
        if score > first {
            (first, second) = (score, first);
        } else if score > second {
            second = score;
        }
    }
    if are_probabilities(scores) {
        (first, second) = (logit(first), logit(second));
    }
    let lead = first - second;
    if lead.is_nan() { 0.0 } else { lead }
}

/// What a score is ordered by: NaN below everything, −0 equal to 0.
pub(crate) fn rank(score: f32) -> f32 {
    if score.is_nan() {
        f32::NEG_INFINITY
    } else {
        score + 0.0
    }
}

fn logit(probability: f32) -> f32 {
    probability.max(MIN_PROBABILITY).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_turned_into_logits() {
        let found = logits(&[0.25, 0.75, 0.0]);
        assert!((found[1] - found[0] - 3f32.ln()).abs() < 1e-6);
        assert!(found[2].is_finite());
        assert_eq!(*logits(&[0.25, 0.7, 2.0]), [0.25, 0.7, 2.0]);
    }

    #[test]
    fn the_lead_is_that_of_logits() {
        assert!((lead(&[1.0, 4.0, -2.0, 3.5]) - 0.5).abs() < 1e-6);
        assert!((lead(&[0.25, 0.75]) - 3f32.ln()).abs() < 1e-6);
        assert!(lead(&[2.0, 2.0]).abs() < 1e-6);
        assert!((lead(&[0.0, 1.0, 0.0]) - 69.077_55).abs() < 1e-3);
    }

    #[test]
    fn what_is_no_number_leads_nothing() {
        assert!(lead(&[1.0, f32::NAN]).abs() < 1e-6);
        assert!(lead(&[f32::INFINITY, f32::INFINITY]).abs() < 1e-6);
        assert!(lead(&[f32::NEG_INFINITY; 3]).abs() < 1e-6);
        assert!(lead(&[2.0]).is_infinite());
        assert!(lead(&[]).abs() < 1e-6);
        assert_eq!(best(&[f32::NAN, 1.0, 1.0]), 1);
    }
}
