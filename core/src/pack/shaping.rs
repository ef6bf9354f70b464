//! Shaping: where the error of quantisation goes, so that the answer suffers least for the bytes.
//!
//! Two things are shaped. The tensors of a cut share out the levels: a tensor on which the answer
//! depends less gets fewer. And behind a ReLU errors are diffused (`diffuse.rs`). Both are choices of
//! the sender alone: the message is one of the context codec, whose tensors have levels of their own.
//! [`calibrate`](crate::calibrate) learns them; `docs/packing.md` says what they gain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::quantise::ValueRange;
use crate::bundle::Cut;
use crate::schedule::Levels;

/// How the tensors of each cut are shaped.
///
/// The tensors of a cut that is not in it have the levels of the plan each, and
/// [`TensorShaping::DEFAULT_DIFFUSION`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shaping(BTreeMap<usize, Vec<TensorShaping>>);

/// How one tensor of a cut is shaped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TensorShaping {
    /// Levels for each unit of the tensor's range, against those of the cut's other tensors: above
    /// 0.0 and finite.
    pub weight: f32,
    /// Share of each error, 0.0 to 1.0, that is handed on to neighbours, if nothing in the tensor is
    /// below 0.0.
    pub diffusion: f32,
}

impl TensorShaping {
    /// Of a cut for which nothing was learnt. Errors die out: not every tail adds up whole maps.
    pub const DEFAULT_DIFFUSION: f32 = 0.9;

    fn is_valid(self) -> bool {
        self.weight.is_finite() && self.weight > 0.0 && (0.0..=1.0).contains(&self.diffusion)
    }
}

impl Shaping {
    /// Sets what holds for a cut, a row a tensor.
    pub fn insert(&mut self, cut: usize, tensors: Vec<TensorShaping>) {
        self.0.insert(cut, tensors);
    }

    /// The same with what holds for one more cut.
    #[must_use]
    pub fn with(mut self, cut: usize, tensors: Vec<TensorShaping>) -> Self {
        self.insert(cut, tensors);
        self
    }

    /// How many cuts it was learnt for.
    pub fn cuts(&self) -> usize {
        self.0.len()
    }

    /// What was learnt for a cut, a row a tensor.
    pub fn of_cut(&self, cut: usize) -> Option<&[TensorShaping]> {
        self.0.get(&cut).map(Vec::as_slice)
    }

    /// Whether it could have been learnt for `cuts`.
    pub(crate) fn fits(&self, cuts: &[Cut]) -> bool {
        self.0.iter().all(|(&cut, rows)| {
            cuts.get(cut).is_some_and(|c| c.tensors.len() == rows.len())
                && rows.iter().all(|row| row.is_valid())
        })
    }

    /// Share of each error of a tensor of a cut that is handed on.
    pub(super) fn diffusion(&self, cut: usize, tensor: usize) -> f32 {
        self.row(cut, tensor)
            .map_or(TensorShaping::DEFAULT_DIFFUSION, |row| row.diffusion)
    }

    /// Levels of each tensor where the widest, by weight, has `levels`.
    pub(super) fn share_out(
        &self,
        cut: usize,
        levels: Levels,
        ranges: &[ValueRange],
        shares: &mut Vec<Levels>,
    ) {
        let width = |(tensor, range): (usize, &ValueRange)| {
            let weight = self.row(cut, tensor).map(|row| f64::from(row.weight));
            weight.map(|weight| weight * range.width())
        };
        let widths = ranges.iter().enumerate().map(width);
        let widest = widths.clone().flatten().fold(0.0, f64::max);
        shares.clear();
        shares.extend(widths.map(|width| match width {
            Some(width) if widest > 0.0 => levels.at_share(width / widest),
            _ => levels,
        }));
    }

    fn row(&self, cut: usize, tensor: usize) -> Option<&TensorShaping> {
        self.0.get(&cut)?.get(tensor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)] // exactness is what is tested

    use super::*;

    const RANGES: [ValueRange; 3] = [
        ValueRange {
            lo: -10.0,
            hi: 10.0,
        },
        ValueRange { lo: 0.0, hi: 5.0 },
        ValueRange { lo: 0.0, hi: 0.0 },
    ];

    fn shares(shaping: &Shaping, levels: u32) -> Vec<u32> {
        let mut shares = Vec::new();
        shaping.share_out(3, Levels::new(levels).unwrap(), &RANGES, &mut shares);
        shares.into_iter().map(Levels::get).collect()
    }

    fn weighted(weights: [f32; 3]) -> Shaping {
        let rows = weights.map(|weight| TensorShaping {
            weight,
            diffusion: 0.0,
        });
        let mut shaping = Shaping::default();
        shaping.insert(3, rows.to_vec());
        shaping
    }

    #[test]
    fn the_widest_by_weight_has_the_levels_and_the_others_their_share() {
        assert_eq!(shares(&weighted([1.0, 1.0, 1.0]), 41), [41, 11, 2]);
        assert_eq!(shares(&weighted([1.0, 2.0, 1.0]), 41), [41, 21, 2]);
        assert_eq!(shares(&weighted([1.0, 8.0, 1.0]), 41), [21, 41, 2]);
        assert_eq!(shares(&weighted([1.0, 1e-30, 1.0]), 65_536), [65_536, 2, 2]);
    }

    #[test]
    fn what_was_not_learnt_has_the_levels_of_the_plan_and_is_diffused() {
        assert_eq!(shares(&Shaping::default(), 41), [41; 3]);
        assert_eq!(Shaping::default().diffusion(3, 0), 0.9);
        assert_eq!(weighted([1.0; 3]).diffusion(3, 0), 0.0);
        assert_eq!(weighted([1.0; 3]).diffusion(2, 0), 0.9);
    }

    #[test]
    fn a_shaping_is_a_table_by_cut_and_has_to_fit_the_cuts() {
        let shaping = weighted([1.0, 0.5, 2.0]);
        let text = serde_json::to_string(&shaping).unwrap();
        assert!(
            text.starts_with(r#"{"3":[{"weight":1.0,"diffusion":0.0}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Shaping>(&text).unwrap(), shaping);
        let cut =
            |index, tensors: usize| super::super::tests::cut(index, &vec![&[1usize][..]; tensors]);
        let cuts = |tensors| (0..5).map(|i| cut(i, tensors)).collect::<Vec<_>>();
        assert!(shaping.fits(&cuts(3)));
        assert!(!shaping.fits(&cuts(2)));
        assert!(!shaping.fits(&cuts(3)[..3]));
        for wrong in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(!weighted([1.0, wrong, 1.0]).fits(&cuts(3)));
        }
    }
}
