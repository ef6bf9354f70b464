//! Two sides measured in turns, so that a machine whose speed changes does not favour one.

use anyhow::Result;
use serde::Serialize;

/// Rounds, and the middle of their ratios.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Versus {
    pub(super) rounds: Vec<Round>,
    /// The median over the rounds.
    pub(super) ratio: f64,
}

/// One round: what both sides did a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Round {
    pub(super) ours_rps: f64,
    pub(super) theirs_rps: f64,
    pub(super) ratio: f64,
}

impl Round {
    fn new(ours_rps: f64, theirs_rps: f64) -> Self {
        Self {
            ours_rps,
            theirs_rps,
            ratio: ours_rps / theirs_rps,
        }
    }
}

impl Versus {
    /// Measures both sides `rounds` times, changing who goes first.
    pub(super) fn measure(
        rounds: usize,
        mut ours: impl FnMut() -> Result<f64>,
        mut theirs: impl FnMut() -> Result<f64>,
    ) -> Result<Self> {
        let mut measured = Vec::new();
        for round in 0..rounds.max(1) {
            let (ours_rps, theirs_rps) = if round % 2 == 0 {
                let ours = ours()?;
                (ours, theirs()?)
            } else {
                let theirs = theirs()?;
                (ours()?, theirs)
            };
            measured.push(Round::new(ours_rps, theirs_rps));
        }
        Ok(Self::new(measured))
    }

    /// Of rounds in which both sides were measured, ours first.
    pub(super) fn of(rounds: impl Iterator<Item = Result<(f64, f64)>>) -> Result<Self> {
        let rounds = rounds.map(|rates| rates.map(|(ours, theirs)| Round::new(ours, theirs)));
        Ok(Self::new(rounds.collect::<Result<_>>()?))
    }

    fn new(rounds: Vec<Round>) -> Self {
        let ratio = median(rounds.iter().map(|round| round.ratio));
        Self { rounds, ratio }
    }

    /// The medians of both sides, a second.
    pub(super) fn medians(&self) -> (f64, f64) {
        let ours = median(self.rounds.iter().map(|round| round.ours_rps));
        (
            ours,
            median(self.rounds.iter().map(|round| round.theirs_rps)),
        )
    }
}

/// The middle number, or the mean of the two in the middle; NaN without any.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.get(half), sorted.len() % 2) {
        (Some(&upper), 0) => f64::midpoint(sorted[half - 1], upper),
        (Some(&middle), _) => middle,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn sides_take_turns_and_the_middle_ratio_counts() {
        let order = RefCell::new(String::new());
        let mut ours = [10.0, 20.0, 90.0].into_iter();
        let mut theirs = [10.0, 10.0, 30.0].into_iter();
        let versus = Versus::measure(
            3,
            || {
                order.borrow_mut().push('o');
                Ok(ours.next().unwrap())
            },
            || {
                order.borrow_mut().push('t');
                Ok(theirs.next().unwrap())
            },
        )
        .unwrap();
        assert_eq!(order.into_inner(), "ottoot");
        let ratios: Vec<f64> = versus.rounds.iter().map(|round| round.ratio).collect();
        assert_eq!(ratios, [1.0, 2.0, 3.0]);
        assert!((versus.ratio - 2.0).abs() < 1e-12);
        assert_eq!(versus.medians(), (20.0, 10.0));
    }

    #[test]
    fn the_middle_of_two_is_their_mean() {
        assert!((median([4.0, 1.0].into_iter()) - 2.5).abs() < 1e-12);
        assert!(median(std::iter::empty()).is_nan());
    }
}
