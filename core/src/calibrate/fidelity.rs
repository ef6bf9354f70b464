//! What a way of sending does to a model's answers: one photo's outcome, and the judgement of many.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::distance::Target;
use super::flips::{FlipRate, RIVALS, Trial};
use super::interval::{CONFIDENCE, clopper_pearson, mean_and_error, mean_upper, t_quantile};
use crate::bundle::Manifest;
use crate::scores::{best, lead, logits};
use crate::{ElementType, Error, ErrorKind, Result, Tensor};

/// Stands for an infinite distance: a NaN came out.
const WORST: f64 = 1e9;
/// One-sided confidence of a distance's upper bound.
const UPPER: f64 = 0.95;

/// What is compared with the unsplit model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Measure {
    /// Whether the best class is the same.
    Agreement,
    /// 1 − mean intersection over union of two class maps.
    Miou,
    /// Relative distance of the outputs: |a − b| / |b|.
    L2,
}

impl Measure {
    /// What suits a model: classes for a classifier, maps where every output holds integers.
    pub fn of(manifest: &Manifest) -> Self {
        let is_map = |o: &crate::TensorSpec| o.element != ElementType::F32;
        if manifest.is_classifier() {
            Self::Agreement
        } else if manifest.outputs.iter().all(is_map) {
            Self::Miou
        } else {
            Self::L2
        }
    }

    /// Name on the command line and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agreement => "agreement",
            Self::Miou => "miou",
            Self::L2 => "l2",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Measure {
    type Err = Error;

    /// `miou` or `l2`: agreement is for classifiers and needs no name.
    fn from_str(name: &str) -> Result<Self> {
        [Self::Miou, Self::L2]
            .into_iter()
            .find(|measure| measure.as_str() == name)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!("unknown distance '{name}': use miou or l2"),
                )
            })
    }
}

/// What the whole model says of one photo.
#[derive(Debug, Clone)]
pub(super) enum Reference {
    Class {
        top: usize,
        rivals: Vec<usize>,
        /// In ascending order.
        leads: Vec<f32>,
    },
    Other(Target),
}

/// What came out for one photo that was sent in some way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Outcome {
    /// The best class, and by how much each rival of the whole model's gained on that.
    Class {
        /// Index of the best class.
        top: usize,
        /// In the order of the whole model's rivals.
        gains: Vec<f32>,
        /// By how much the best class leads the next one here.
        lead: f32,
    },
    /// The distance from the whole model's outputs.
    Distance(f64),
}

impl Outcome {
    /// Whether the best class leads the next one by less, in logits: a doubt of the answer.
    pub fn leads_by_less_than(&self, lead: f64) -> bool {
        match self {
            Self::Class { lead: found, .. } => f64::from(*found) < lead,
            Self::Distance(_) => false,
        }
    }
}

impl Reference {
    pub(super) fn new(measure: Measure, outputs: Vec<Tensor>) -> Result<Self> {
        match measure {
            Measure::Agreement => Self::of_logits(&logits(class_scores(&outputs)?)),
            Measure::Miou => Target::classes(&outputs).map(Self::Other),
            Measure::L2 => Ok(Self::Other(Target::Numbers(outputs))),
        }
    }

    fn of_logits(logits: &[f32]) -> Result<Self> {
        if logits.iter().any(|x| x.is_nan()) {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                "the whole model answers NaN: there is nothing to compare with",
            ));
        }
        let top = best(logits);
        let mut rivals: Vec<usize> = (0..logits.len()).filter(|&class| class != top).collect();
        rivals.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        rivals.truncate(RIVALS);
        let leads = rivals.iter().map(|&rival| logits[top] - logits[rival]);
        Ok(Self::Class {
            top,
            leads: leads.collect(),
            rivals,
        })
    }

    pub(super) fn compare(&self, outputs: &[Tensor]) -> Result<Outcome> {
        match self {
            Self::Other(target) => target.distance(outputs).map(Outcome::Distance),
            Self::Class { top, rivals, leads } => {
                let scores = class_scores(outputs)?;
                let logits = logits(scores);
                let gain = |(&rival, &lead): (&usize, &f32)| lead - (logits[*top] - logits[rival]);
                Ok(Outcome::Class {
                    top: best(&logits),
                    gains: rivals.iter().zip(leads).map(gain).collect(),
                    lead: lead(scores),
                })
            }
        }
    }

    /// The square of how far an answer went from the whole model's. What a classifier loses of all leads
    /// in proportion is left out: the order of the classes, which is the answer, stays.
    pub(super) fn loss(&self, outcome: &Outcome) -> f64 {
        match (self, outcome) {
            (Self::Class { leads, .. }, Outcome::Class { gains, .. }) => {
                let product = |a: &[f32], b: &[f32]| -> f64 {
                    a.iter()
                        .zip(b)
                        .map(|(&a, &b)| f64::from(a) * f64::from(b))
                        .sum()
                };
                let all_alike = product(gains, leads).powi(2) / product(leads, leads);
                let of_all = product(gains, gains);
                // Leads of nothing have no proportion.
                let loss = if all_alike.is_finite() {
                    of_all - all_alike
                } else {
                    of_all
                };
                // Rounding may lead below zero; NaN stays.
                let loss = if loss < 0.0 { 0.0 } else { loss };
                loss / gains.len().max(1) as f64
            }
            (_, Outcome::Distance(distance)) => distance * distance,
            (Self::Other(_), Outcome::Class { .. }) => f64::MAX,
        }
    }
}

/// The class scores of a classifier.
fn class_scores(outputs: &[Tensor]) -> Result<&[f32]> {
    outputs.first().and_then(Tensor::as_f32).ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            "a classifier without scores was measured",
        )
    })
}

/// A difference of accuracies with its interval, in percentage points.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drop {
    /// Photos whose true class was known.
    pub images: usize,
    /// (Right before − right after) / images.
    pub pp: f64,
    /// Lower end of the 95 % interval.
    pub lower_pp: f64,
    /// Upper end.
    pub upper_pp: f64,
}

/// What a way of sending does to a model's answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "measure", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Judgement {
    /// Of a classifier.
    Agreement {
        /// Photos whose best class stayed.
        same: usize,
        /// Their share.
        agreement: f64,
        /// Lower end of the 95 % interval.
        lower: f64,
        /// Upper end.
        upper: f64,
        /// Expected share of changed answers, in percentage points.
        flips_pp: f64,
        /// Its upper bound, and so that of the loss of accuracy.
        max_drop_pp: f64,
        /// The measured loss, where true classes are known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drop: Option<Drop>,
    },
    /// Of any other model.
    Distance {
        /// Which distance.
        name: Measure,
        /// Mean over the photos.
        mean: f64,
        /// Upper bound of that mean.
        upper: f64,
    },
}

impl Judgement {
    /// Of the outcomes of some photos, in the order of their references and true classes.
    pub(super) fn of(
        measure: Measure,
        references: &[Reference],
        truth: &[Option<usize>],
        outcomes: &[&Outcome],
    ) -> Self {
        if measure != Measure::Agreement {
            let distance = |outcome: &&Outcome| match outcome {
                Outcome::Distance(distance) => *distance,
                Outcome::Class { .. } => f64::INFINITY,
            };
            let distances: Vec<f64> = outcomes.iter().map(distance).collect();
            let (mean, _) = mean_and_error(&distances);
            return Self::Distance {
                name: measure,
                mean: for_table(mean),
                upper: for_table(mean_upper(&distances, UPPER)),
            };
        }
        let drop = drop_of(references, truth, outcomes);
        Self::of_flips(&flips(references, outcomes), drop)
    }

    /// Of a classifier's rate of changed answers.
    pub(crate) fn of_flips(rate: &FlipRate, drop: Option<Drop>) -> Self {
        let same = rate.images - rate.seen;
        let (lower, upper) = clopper_pearson(same, rate.images, CONFIDENCE);
        Self::Agreement {
            same,
            agreement: for_table(same as f64 / rate.images.max(1) as f64),
            lower: for_table(lower),
            upper: for_table(upper),
            flips_pp: for_table(100.0 * rate.estimate),
            max_drop_pp: for_table(100.0 * rate.upper),
            drop,
        }
    }

    /// The upper bound of the loss, in percentage points; for a distance, in hundredths of it.
    pub fn max_drop_pp(&self) -> f64 {
        match self {
            Self::Agreement { max_drop_pp, .. } => *max_drop_pp,
            Self::Distance { upper, .. } => 100.0 * upper,
        }
    }
}

/// The rate of changed answers of a classifier.
pub(super) fn flips(references: &[Reference], outcomes: &[&Outcome]) -> FlipRate {
    FlipRate::of(&trials(references, outcomes))
}

/// What each photo of a classifier led by, and what it became.
pub(super) fn trials<'a>(references: &'a [Reference], outcomes: &[&'a Outcome]) -> Vec<Trial<'a>> {
    let mut trials = Vec::with_capacity(outcomes.len());
    for (reference, outcome) in references.iter().zip(outcomes) {
        if let (
            Reference::Class { top, leads, .. },
            Outcome::Class {
                top: found,
                gains,
                lead,
            },
        ) = (reference, *outcome)
        {
            trials.push(Trial {
                leads,
                gains,
                flipped: found != top,
                lead: *lead,
            });
        }
    }
    trials
}

/// The paired difference: photos that became wrong less those that became right.
fn drop_of(
    references: &[Reference],
    truth: &[Option<usize>],
    outcomes: &[&Outcome],
) -> Option<Drop> {
    let mut losses = Vec::new();
    for ((reference, truth), outcome) in references.iter().zip(truth).zip(outcomes) {
        if let (Reference::Class { top, .. }, Some(class), Outcome::Class { top: found, .. }) =
            (reference, truth, *outcome)
        {
            losses.push(f64::from(u8::from(top == class)) - f64::from(u8::from(found == class)));
        }
    }
    if losses.len() < 2 {
        return None;
    }
    let (mean, error) = mean_and_error(&losses);
    let margin = t_quantile(f64::midpoint(1.0, CONFIDENCE), losses.len() - 1) * error;
    Some(Drop {
        images: losses.len(),
        pp: for_table(100.0 * mean),
        lower_pp: for_table(100.0 * (mean - margin)),
        upper_pp: for_table(100.0 * (mean + margin)),
    })
}

/// To a millionth, so that JSON brings back the same number; JSON has no infinity.
pub(super) fn for_table(x: f64) -> f64 {
    if x.is_finite() {
        (x * 1e6).round() / 1e6
    } else {
        WORST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorData;
    use crate::schedule::fixtures::manifest;

    fn output(scores: &[f32]) -> Vec<Tensor> {
        let shape = vec![1, scores.len()];
        vec![Tensor::new(shape, TensorData::F32(scores.to_vec())).unwrap()]
    }

    fn judge(truth: &[Option<usize>], answers: &[&[f32]]) -> Judgement {
        let reference = Reference::new(Measure::Agreement, output(&[1.0, 3.0, 2.0])).unwrap();
        let references = vec![reference; answers.len()];
        let outcomes: Vec<Outcome> = answers
            .iter()
            .map(|answer| references[0].compare(&output(answer)).unwrap())
            .collect();
        let outcomes: Vec<&Outcome> = outcomes.iter().collect();
        Judgement::of(Measure::Agreement, &references, truth, &outcomes)
    }

    #[test]
    fn rivals_are_compared_in_the_order_of_their_distance() {
        let reference = Reference::new(Measure::Agreement, output(&[1.0, 3.0, 2.5])).unwrap();
        let Reference::Class { top, rivals, leads } = &reference else {
            panic!("{reference:?}");
        };
        assert_eq!(
            (*top, &rivals[..], &leads[..]),
            (1, &[2, 0][..], &[0.5, 2.0][..])
        );
        let outcome = reference.compare(&output(&[1.0, 2.5, 2.75])).unwrap();
        let Outcome::Class { top, gains, .. } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!((top, &gains[..]), (2, &[0.75, 0.5][..]));
    }

    #[test]
    fn what_leads_lose_in_proportion_is_no_loss() {
        let reference = Reference::of_logits(&[1.0, 5.0, 3.0, 4.0]).unwrap();
        let loss = |logits: [f32; 4]| reference.loss(&reference.compare(&output(&logits)).unwrap());
        assert!(loss([1.0, 5.0, 3.0, 4.0]) < 1e-9);
        assert!(loss([0.5, 2.5, 1.5, 2.0]) < 1e-9);
        assert!(loss([9.0, 13.0, 11.0, 12.0]) < 1e-9);
        assert!(loss([1.0, 5.0, 4.0, 4.0]) > 0.1);
        assert!(loss([f32::NAN; 4]).is_nan());
    }

    #[test]
    fn what_became_wrong_is_weighed_against_what_became_right() {
        let (kept, moved): (&[f32], &[f32]) = (&[1.0, 3.0, 2.0], &[1.0, 2.0, 3.0]);
        // Right and stays, right and lost, wrong and won, wrong and stays, unknown.
        let truth = [Some(1), Some(1), Some(2), Some(0), None];
        let judged = judge(&truth, &[kept, moved, moved, kept, moved]);
        let Judgement::Agreement {
            same,
            drop: Some(drop),
            ..
        } = judged
        else {
            panic!("{judged:?}");
        };
        assert_eq!((same, drop.images), (2, 4));
        assert!(drop.pp.abs() < 1e-9 && drop.lower_pp < -50.0 && drop.upper_pp > 50.0);
        let judged = judge(&[None, None], &[kept, kept]);
        assert!(
            matches!(judged, Judgement::Agreement { drop: None, .. }),
            "{judged:?}"
        );
    }

    #[test]
    fn a_distance_is_read_in_hundredths() {
        let outcomes = [Outcome::Distance(0.02), Outcome::Distance(0.04)];
        let outcomes: Vec<&Outcome> = outcomes.iter().collect();
        let judged = Judgement::of(Measure::L2, &[], &[], &outcomes);
        let Judgement::Distance { mean, upper, .. } = judged else {
            panic!("{judged:?}");
        };
        assert!((mean - 0.03).abs() < 1e-9 && upper > mean);
        assert!((judged.max_drop_pp() - 100.0 * upper).abs() < 1e-9);
        let broken = [&Outcome::Distance(f64::INFINITY)];
        let text = serde_json::to_string(&Judgement::of(Measure::L2, &[], &[], &broken)).unwrap();
        assert!(
            serde_json::from_str::<Judgement>(&text)
                .unwrap()
                .max_drop_pp()
                > 1e6
        );
    }

    #[test]
    fn the_measure_follows_the_outputs() {
        let mut manifest = manifest();
        assert_eq!(Measure::of(&manifest), Measure::Agreement);
        manifest.outputs[0].shape = vec![1, 21, 64, 64];
        assert_eq!(Measure::of(&manifest), Measure::L2);
        manifest.outputs[0].element = ElementType::I64;
        assert_eq!(Measure::of(&manifest), Measure::Miou);
        assert_eq!("miou".parse::<Measure>().unwrap(), Measure::Miou);
        assert!("agreement".parse::<Measure>().is_err());
    }
}
