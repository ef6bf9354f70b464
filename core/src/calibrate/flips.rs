//! How often a way of sending changes the best class: not only how often it did on these photos.
//!
//! With 200 photos and no changed answer, counting alone can say no more than "at most 1.5 %". The
//! logits say more: by how much each photo's best class leads its rivals, and by how much sending
//! moved those leads. So the moves of every photo are tried against the leads of every other one,
//! and louder than they were: [`LOUDER`] times. For small noise the share of changed answers grows
//! with the noise, so that the louder share divided by [`LOUDER`] estimates the share itself, from
//! many more near misses. `docs/calibration.md` has the reasons and the check on real models.

use super::interval::{t_quantile, upper_share};

/// Rivals of the best class that are looked at: those that it leads by least.
pub(super) const RIVALS: usize = 20;
/// How many times as loud the noise is made.
const LOUDER: f64 = 4.0;
/// How many times as often as estimated an answer may change on photos that are harder than these
/// ones: what was calibrated on is often easier than what comes.
const SAFETY: f64 = 1.0;
/// Probability that a bound is wrong if the photos are like those that come.
const ERROR: f64 = 0.05;

/// One photo, whole and through the cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial<'a> {
    /// By how much the best class leads each rival in the whole model, in ascending order.
    pub(super) leads: &'a [f32],
    /// By how much each rival gained on it.
    pub(super) gains: &'a [f32],
    /// Whether the best class changed.
    pub(super) flipped: bool,
    /// By how much the best class through the cut leads the next one there.
    pub(super) lead: f32,
}

/// Share of photos whose best class changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlipRate {
    /// Photos whose best class did change.
    pub seen: usize,
    /// Photos.
    pub images: usize,
    /// The share that is expected of photos like these.
    pub estimate: f64,
    /// What the share is hardly below.
    pub lower: f64,
    /// What the share is hardly above.
    pub upper: f64,
}

impl FlipRate {
    /// From what one way of sending did to some photos.
    pub(super) fn of(trials: &[Trial<'_>]) -> Self {
        let seen = trials.iter().filter(|trial| trial.flipped).count();
        let overtakes = |led: &Trial<'_>, moved: &Trial<'_>, louder: f64| {
            [overtaken(led.leads, moved.gains, louder)]
        };
        let [shares] = pair_shares(trials, overtakes);
        Self::new(seen, &shares)
    }

    /// The same of answers that are kept, for each of `doubts`: those whose best class leads the next one by as
    /// much or more. The others are in doubt, and do not count as changed.
    pub(super) fn of_kept<const N: usize>(trials: &[Trial<'_>], doubts: &[f32; N]) -> [Self; N] {
        let shares = pair_shares(trials, |led, moved, louder| {
            let by = overtaken_by(led.leads, moved.gains, louder);
            // Where the noise is louder the leads that it brings are larger as well.
            doubts.map(|doubt| by > 0.0 && by >= LOUDER * f64::from(doubt))
        });
        std::array::from_fn(|i| {
            let is_kept = |trial: &&Trial<'_>| trial.lead >= doubts[i];
            let seen = trials.iter().filter(is_kept).filter(|t| t.flipped).count();
            Self::new(seen, &shares[i])
        })
    }

    /// Of `seen` changed answers, and what each photo adds to the share of pairs that change.
    fn new(seen: usize, shares: &[f64]) -> Self {
        let images = shares.len();
        if images < 2 {
            return Self {
                seen,
                images,
                estimate: seen as f64,
                lower: 0.0,
                upper: 1.0,
            };
        }
        let n = images as f64;
        let observed = seen as f64 / n;
        let (sum, error) = super::interval::mean_and_error(shares);
        let louder = sum / 2.0;
        let t = t_quantile(1.0 - ERROR, images - 1);
        // The next photo may lead by less than any of these: one more near miss than was seen.
        let unseen = 1.0 / n;
        let margin = t * error.hypot(unseen);
        let estimate = louder / LOUDER;
        let upper = (SAFETY * (louder + margin) / LOUDER)
            .max(observed)
            .min(upper_share(seen, images, ERROR));
        Self {
            seen,
            images,
            estimate: estimate.min(upper),
            lower: ((louder - t * error) / LOUDER).max(0.0).min(observed),
            upper,
        }
    }
}

/// For each of N questions, what each photo adds as either side to the share of pairs (leads of one photo, gains
/// of another, [`LOUDER`] times) that are `hit`; twice the share is their mean, whose standard error is theirs.
fn pair_shares<const N: usize>(
    trials: &[Trial<'_>],
    hit: impl Fn(&Trial<'_>, &Trial<'_>, f64) -> [bool; N],
) -> [Vec<f64>; N] {
    let n = trials.len();
    let scales: Vec<f64> = trials.iter().map(|trial| scale(trial.gains)).collect();
    let mut shares = std::array::from_fn(|_| vec![0.0; n]);
    for (i, led) in trials.iter().enumerate() {
        for (j, moved) in trials.iter().enumerate() {
            let louder = LOUDER
                * if scales[j] > 0.0 {
                    scales[i] / scales[j]
                } else {
                    0.0
                };
            for (shares, hit) in shares.iter_mut().zip(hit(led, moved, louder)) {
                if hit {
                    shares[i] += 1.0;
                    shares[j] += 1.0;
                }
            }
        }
    }
    for share in shares.iter_mut().flatten() {
        *share /= n as f64;
    }
    shares
}

/// Whether a rival's gain exceeds the lead over it. NaN, which breaks every answer, always does.
fn overtaken(leads: &[f32], gains: &[f32], louder: f64) -> bool {
    let mut pairs = leads.iter().zip(gains);
    pairs.any(|(&lead, &gain)| {
        let gain = louder * f64::from(gain);
        gain.is_nan() || gain > f64::from(lead)
    })
}

/// By how much the best of the rivals then leads the next class; 0 where none is best, and infinite for NaN, which
/// no doubt may hide.
fn overtaken_by(leads: &[f32], gains: &[f32], louder: f64) -> f64 {
    // The best class of the whole model leads itself by nothing.
    let (mut first, mut second) = (0.0, f64::NEG_INFINITY);
    let mut is_overtaken = false;
    for (&lead, &gain) in leads.iter().zip(gains) {
        let ahead = louder * f64::from(gain) - f64::from(lead);
        if ahead.is_nan() {
            return f64::INFINITY;
        }
        if ahead > first {
            (first, second, is_overtaken) = (ahead, first, true);
        } else if ahead > second {
            second = ahead;
        }
    }
    if is_overtaken { first - second } else { 0.0 }
}

/// Root of the mean square.
fn scale(gains: &[f32]) -> f64 {
    let squares: f64 = gains.iter().map(|&gain| f64::from(gain).powi(2)).sum();
    (squares / gains.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leads and gains of photos that no one drew: the same on every run.
    struct Photos {
        leads: Vec<Vec<f32>>,
        gains: Vec<Vec<f32>>,
    }

    impl Photos {
        fn new(count: usize, noise: f64) -> Self {
            let mut state = 0x2545_f491_4f6c_dd1d_u64;
            let mut random = move || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 11) as f64 / (1u64 << 53) as f64
            };
            let mut photos = Self {
                leads: Vec::new(),
                gains: Vec::new(),
            };
            #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
            for _ in 0..count {
                let first = 10.0 * random();
                photos
                    .leads
                    .push((0..3).map(|k| (first + f64::from(k)) as f32).collect());
                let gain = |r: f64| ((r - 0.5) * 2.0 * noise) as f32;
                photos.gains.push((0..3).map(|_| gain(random())).collect());
            }
            photos
        }

        fn rate(&self) -> FlipRate {
            FlipRate::of(&self.trials())
        }

        fn trials(&self) -> Vec<Trial<'_>> {
            self.leads
                .iter()
                .zip(&self.gains)
                .map(|(leads, gains)| Trial {
                    leads,
                    gains,
                    flipped: overtaken(leads, gains, 1.0),
                    lead: sent_lead(leads, gains),
                })
                .collect()
        }
    }

    #[test]
    fn the_estimate_is_near_the_truth_and_the_bound_above() {
        // A lead is uniform on 0 to 10, a gain on ±0.2: the first rival wins with probability
        // E[max(gain, 0)] / 10 = 0.005.
        let rate = Photos::new(400, 0.2).rate();
        assert!((0.003..0.008).contains(&rate.estimate), "{rate:?}");
        assert!((0.005..0.012).contains(&rate.upper), "{rate:?}");
        assert!(rate.lower < 0.005, "{rate:?}");
    }

    #[test]
    fn more_photos_make_the_bound_tighter() {
        let bounds: Vec<f64> = [25, 50, 100, 200, 400]
            .map(|n| Photos::new(n, 0.05).rate().upper)
            .into();
        assert!(bounds.is_sorted_by(|a, b| a > b), "{bounds:?}");
    }

    #[test]
    fn a_hundred_photos_are_not_taken_for_ten_thousand() {
        let few = Photos::new(20, 0.0).rate();
        assert_eq!((few.seen, few.estimate), (0, 0.0));
        assert!(few.upper > 0.015, "{few:?}");
        let more = Photos::new(200, 0.0).rate();
        assert!(more.upper < 0.003, "{more:?}");
    }

    #[test]
    fn the_bound_lies_between_what_was_seen_and_what_counting_allows() {
        for noise in [0.0, 0.05, 0.5, 2.0, 20.0] {
            let rate = Photos::new(60, noise).rate();
            let seen = rate.seen as f64 / 60.0;
            assert!(rate.upper >= seen, "{rate:?}");
            assert!(rate.upper <= upper_share(rate.seen, 60, ERROR), "{rate:?}");
            assert!(
                rate.lower <= seen && rate.estimate <= rate.upper,
                "{rate:?}"
            );
        }
    }

    #[test]
    fn answers_that_are_no_numbers_have_changed() {
        let trial = Trial {
            leads: &[1.0, 2.0],
            gains: &[f32::NAN, 0.0],
            flipped: true,
            lead: 0.0,
        };
        let rate = FlipRate::of(&[trial; 10]);
        assert!(rate.upper >= 1.0, "{rate:?}");
    }

    #[test]
    fn answers_that_lead_by_little_are_those_that_change() {
        let photos = Photos::new(400, 0.4);
        let trials = photos.trials();
        let [all, some, most] = FlipRate::of_kept(&trials, &[0.0, 0.2, 0.8]);
        assert_eq!(all, FlipRate::of(&trials));
        // The first rival wins by 0.2 with probability E[max(gain - 0.2, 0)] / 10, a quarter of all that win.
        let share = some.estimate / all.estimate;
        assert!((0.1..0.4).contains(&share), "{share} {some:?} {all:?}");
        // No gain is as large as that.
        assert_eq!((most.seen, most.estimate), (0, 0.0));
        assert!(most.upper < some.upper && most.upper > 0.0, "{most:?}");
    }

    #[test]
    fn no_doubt_hides_what_is_no_number() {
        let trial = Trial {
            leads: &[1.0, 2.0],
            gains: &[f32::NAN, 0.0],
            flipped: true,
            lead: 0.0,
        };
        let [rate] = FlipRate::of_kept(&[trial; 10], &[5.0]);
        assert!(rate.estimate >= 0.25, "{rate:?}");
    }

    /// Of the best class of three or more over the next, after the rivals gained.
    fn sent_lead(leads: &[f32], gains: &[f32]) -> f32 {
        let mut scores: Vec<f32> = leads.iter().zip(gains).map(|(l, g)| g - l).collect();
        scores.push(0.0);
        crate::scores::lead(&scores)
    }
}
