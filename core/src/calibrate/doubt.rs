//! Which answers are in doubt: those that change are mostly those whose best class leads the next by little.
//!
//! An answer that came of a coarse activation says itself how close it was. Where those that lead by less than
//! some lead are asked for again, with a finer activation, the rest changes far more rarely than all of them do,
//! and a coarser precision keeps the same limit. `docs/calibration.md` has what that gives.

use serde::{Deserialize, Serialize};

use super::fidelity::for_table;
use super::flips::{FlipRate, Trial};

/// Shares of the photos that are put in doubt.
pub(super) const SHARES: [f64; 6] = [0.03, 0.06, 0.1, 0.15, 0.2, 0.3];

/// What one way of sending does to the answers that lead by enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Doubt {
    /// Answers whose best class leads the next one by less, in logits, are in doubt.
    pub lead: f64,
    /// Share of the photos whose answers are.
    pub share: f64,
    /// Expected share of all answers that are not in doubt and changed, in percentage points.
    pub flips_pp: f64,
    /// Its upper bound.
    pub max_drop_pp: f64,
}

impl Doubt {
    /// One for each of some shares of the photos of `trials`; of fewer where photos are few.
    pub(super) fn all(trials: &[Trial<'_>]) -> Vec<Self> {
        let mut leads: Vec<f32> = trials.iter().map(|trial| trial.lead).collect();
        leads.sort_unstable_by(f32::total_cmp);
        let n = leads.len();
        if n == 0 {
            return Vec::new();
        }
        let doubted = SHARES.map(|share| whole(share * n as f64));
        // Between the last one in doubt and the first that is not, so that rounding changes nothing.
        let limits = doubted.map(|count| {
            let of = |index: usize| leads.get(index).copied();
            let neighbours = count.checked_sub(1).and_then(of).zip(of(count));
            neighbours.map_or(0.0, |(last, next)| f32::midpoint(last, next))
        });
        let rates = FlipRate::of_kept(trials, &limits);
        let doubts = limits.iter().zip(rates).map(|(&limit, rate)| {
            let below = leads.iter().filter(|lead| **lead < limit).count();
            Self {
                lead: for_table(limit.into()),
                share: for_table(below as f64 / n as f64),
                flips_pp: for_table(100.0 * rate.estimate),
                max_drop_pp: for_table(100.0 * rate.upper),
            }
        });
        let mut doubts: Vec<Self> = doubts.filter(Self::is_sound).collect();
        doubts.dedup_by_key(|doubt| doubt.share.to_bits());
        doubts
    }

    /// Whether it can have been measured.
    pub(crate) fn is_sound(&self) -> bool {
        let Self {
            lead,
            share,
            flips_pp,
            max_drop_pp,
        } = *self;
        lead.is_finite()
            && lead > 0.0
            && share > 0.0
            && share <= 1.0
            && flips_pp.is_finite()
            && max_drop_pp >= 0.0
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number of photos"
)]
fn whole(count: f64) -> usize {
    count.round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubts(leads: &[f32]) -> Vec<Doubt> {
        let trials: Vec<Trial<'_>> = leads
            .iter()
            .map(|&lead| Trial {
                leads: &[1.0, 2.0],
                gains: &[0.1, -0.1],
                flipped: false,
                lead,
            })
            .collect();
        Doubt::all(&trials)
    }

    #[test]
    fn each_doubt_holds_its_share_of_the_photos() {
        let leads: Vec<f32> = (1..=100).rev().map(|i| i as f32 / 8.0).collect();
        let doubts = doubts(&leads);
        let shares: Vec<f64> = doubts.iter().map(|doubt| doubt.share).collect();
        assert_eq!(shares, SHARES);
        for doubt in &doubts {
            let below = leads.iter().filter(|&&lead| f64::from(lead) < doubt.lead);
            assert!((below.count() as f64 / 100.0 - doubt.share).abs() < 1e-9);
            assert!(doubt.is_sound(), "{doubt:?}");
        }
    }

    #[test]
    fn few_photos_and_equal_leads_have_few_doubts() {
        assert_eq!(doubts(&[1.0, 2.0]).len(), 1);
        assert_eq!(doubts(&[1.0; 50]), []);
        assert_eq!(doubts(&[]), []);
        // Too little to be told apart in the table.
        let tiny: Vec<f32> = (0..40).map(|i| i as f32 * 1e-9).collect();
        assert_eq!(doubts(&tiny), []);
        // Answers that are no numbers lead by nothing, and are all in doubt.
        let broken = doubts(&[0.0; 40]);
        assert_eq!(broken, []);
    }
}
