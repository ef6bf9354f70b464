//! From a classifier's output to the labels an app shows.

use std::cmp::Ordering;

use serde::Serialize;

use crate::scores::{are_probabilities, rank};

/// Most labels of one answer.
pub const MAX_TOP_K: usize = 100;

/// One class of an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Label {
    /// Position in the model's output.
    pub index: usize,
    /// Name of the class; empty if the bundle has none for it.
    pub label: String,
    /// Probability, 0 to 1.
    pub score: f32,
}

/// The `k` (at most [`MAX_TOP_K`]) classes with the highest scores, highest first; of equals the
/// one with the lower index comes first.
///
/// Scores are the softmax of `logits`. Many models end in a softmax of their own: an output whose
/// elements all lie in 0–1 and sum to 1 within 0.001 is taken as it is. (Logits that happen to look
/// so would be reported unchanged; their order is right either way.)
///
/// Never fails: NaN counts as the lowest value and scores 0, infinite logits share the whole
/// probability, and missing names are empty.
///
/// ```
/// use dyno_core::client::labels::top_k;
///
/// let names = ["cat".to_owned(), "dog".to_owned(), "eel".to_owned()];
/// let top = top_k(&[1.0, 3.0, -2.0], &names, 2);
/// assert_eq!((top[0].index, top[0].label.as_str()), (1, "dog"));
/// assert!((top[0].score - 0.875_6).abs() < 1e-4);
/// assert_eq!(top[1].label, "cat");
/// ```
pub fn top_k(logits: &[f32], labels: &[String], k: usize) -> Vec<Label> {
    let k = k.min(MAX_TOP_K).min(logits.len());
    if k == 0 {
        return Vec::new();
    }
    // By logit, not by score: scores of small logits round to the same 0.
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let descending = |a: &usize, b: &usize| -> Ordering {
        rank(logits[*b]).total_cmp(&rank(logits[*a])).then(a.cmp(b))
    };
    order.select_nth_unstable_by(k - 1, descending);
    order.truncate(k);
    order.sort_unstable_by(descending);

    let softmax = Softmax::over(logits);
    order
        .into_iter()
        .map(|index| Label {
            index,
            label: labels.get(index).cloned().unwrap_or_default(),
            score: softmax.score(logits[index]),
        })
        .collect()
}

/// What turns one logit into a score.
enum Softmax {
    /// The output already holds probabilities.
    Identity,
    /// exp(x − max) / sum.
    Scaled { max: f32, sum: f64 },
    /// Some logits are +∞: each has this score, the others 0.
    Infinite { share: f32 },
    /// There is no number among them.
    Nothing,
}

impl Softmax {
    fn over(logits: &[f32]) -> Self {
        if are_probabilities(logits) {
            return Self::Identity;
        }
        let max = logits
            .iter()
            .copied()
            .map(rank)
            .fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY {
            return Self::Nothing;
        }
        if max == f32::INFINITY {
            let count = logits.iter().filter(|&&x| x == f32::INFINITY).count();
            return Self::Infinite {
                share: 1.0 / count as f32,
            };
        }
        let sum = logits.iter().map(|&x| exp_below(x, max)).sum();
        Self::Scaled { max, sum }
    }

    fn score(&self, logit: f32) -> f32 {
        match *self {
            Self::Identity => logit,
            Self::Scaled { max, sum } => {
                // A score is f32 on the wire and in the SDK.
                #[allow(clippy::cast_possible_truncation)]
                let score = (exp_below(logit, max) / sum) as f32;
                score
            }
            Self::Infinite { share } if logit == f32::INFINITY => share,
            Self::Infinite { .. } | Self::Nothing => 0.0,
        }
    }
}

/// exp(x − max): at most 1, so that no logit overflows.
fn exp_below(x: f32, max: f32) -> f64 {
    (f64::from(rank(x)) - f64::from(max)).exp()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(logits: &[f32]) -> Vec<(usize, f32)> {
        let top = top_k(logits, &[], logits.len());
        top.iter().map(|label| (label.index, label.score)).collect()
    }

    #[test]
    fn softmax_is_stable_for_large_logits() {
        let top = scores(&[1000.0, 1001.0, -1000.0]);
        assert_eq!(top[0].0, 1);
        assert!((top[0].1 - 0.731_058_6).abs() < 1e-6);
        assert!((top[1].1 - 0.268_941_4).abs() < 1e-6);
        assert_eq!(top[2], (2, 0.0));
    }

    #[test]
    fn probabilities_are_not_softmaxed_again() {
        assert_eq!(scores(&[0.2, 0.7, 0.1]), [(1, 0.7), (0, 0.2), (2, 0.1)]);
        assert_eq!(scores(&[0.2, 0.7, 0.100_9])[0], (1, 0.7));
        let logits = scores(&[0.2, 0.7, 0.2]);
        assert!((logits[0].1 - 0.451_862_2).abs() < 1e-6, "{logits:?}");
    }

    #[test]
    fn equals_come_in_the_order_of_their_indices() {
        let order: Vec<usize> = scores(&[5.0, 0.0, 5.0, -0.0, 5.0])
            .iter()
            .map(|s| s.0)
            .collect();
        assert_eq!(order, [0, 2, 4, 1, 3]);
    }

    #[test]
    fn what_is_no_number_comes_last_and_scores_nothing() {
        let nan = f32::NAN;
        assert_eq!(scores(&[nan, 1.0, nan]), [(1, 1.0), (0, 0.0), (2, 0.0)]);
        assert_eq!(scores(&[nan, nan]), [(0, 0.0), (1, 0.0)]);
        assert_eq!(scores(&[f32::NEG_INFINITY; 2]), [(0, 0.0), (1, 0.0)]);
        let infinite = [f32::INFINITY, 3.0, f32::INFINITY];
        assert_eq!(scores(&infinite), [(0, 0.5), (2, 0.5), (1, 0.0)]);
    }

    #[test]
    fn k_is_bounded_by_the_output_and_the_limit() {
        assert!(top_k(&[], &[], 5).is_empty());
        assert!(top_k(&[1.0], &[], 0).is_empty());
        assert_eq!(top_k(&[1.0, 2.0], &[], usize::MAX).len(), 2);
        assert_eq!(top_k(&vec![0.0; 1000], &[], 1000).len(), MAX_TOP_K);
    }

    #[test]
    fn missing_names_are_empty() {
        let top = top_k(&[1.0, 2.0], &["first".to_owned()], 2);
        assert_eq!(
            (top[0].label.as_str(), top[1].label.as_str()),
            ("", "first")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]

        #[test]
        fn any_output_gives_ordered_scores_between_0_and_1(
            logits in prop::collection::vec(any::<f32>(), 0..300),
            k in 0usize..150,
        ) {
            let top = top_k(&logits, &[], k);
            prop_assert_eq!(top.len(), k.min(MAX_TOP_K).min(logits.len()));
            prop_assert!(top.iter().all(|label| (0.0..=1.0).contains(&label.score)));
            prop_assert!(top.is_sorted_by(|a, b| a.score >= b.score));
        }
    }
}
