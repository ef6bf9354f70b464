//! What batches are worth on this machine: measured when a model is warmed up.
//!
//! On a CPU a batch saves what is paid once for it, the reading of large weights above all: much
//! where the tail is a large matrix product, some in the late convolutions of wide models, nothing
//! in the early ones, where it only makes the first wait for the last. So nothing is batched that was
//! not seen to gain.

use std::time::{Duration, Instant};

use dyno_core::Result;
use dyno_core::runtime::{Cancel, Stack, TailStore};

/// Batch sizes that are tried, as far as the configuration allows them.
const SIZES: [usize; 4] = [2, 4, 8, 16];
/// Cuts that are measured: the last ones, and as many spread over the others.
const LATE_CUTS: usize = 4;
const EARLY_CUTS: usize = 4;
/// Rounds through cuts and sizes, each of which sets every size beside a run alone just before it. What else the
/// machine does comes and goes, and mostly meets both of a pair; the median of the rounds counts.
const ROUNDS: usize = 5;
/// Shortest time of a size in a round: it is run again until then.
const WINDOW: Duration = Duration::from_millis(10);
/// Time that measuring may take; cuts that it does not reach run one at a time. Five rounds take half of it or less, but on
/// slow machines.
const BUDGET: Duration = Duration::from_secs(10);
/// Activations of a window: tails of microseconds are as good as measured then.
const MAX_ACTIVATIONS: usize = 64;
/// Beyond a size that takes so many times what the best one takes, a round tries none.
const HOPELESS: f64 = 1.3;
/// Longest run that is worth a batch, in milliseconds: all of its answers wait for its end, and the tensors of
/// models that are slow alone are large.
const MAX_RUN_MS: f64 = 250.0;
/// Share of an activation's time that batches have to save to be formed.
const MIN_GAIN: f64 = 0.02;
/// Share of an activation's time that is given away for a smaller batch: nobody's answer waits for as
/// many others then.
const GIVEN_AWAY: f64 = 0.015;
/// What a share that was measured once may be off by.
const UNSURE_OF_ONE: f64 = 0.1;
/// Standard deviation of normal noise over its median deviation, and standard error of a median over that of a mean.
const SIGMA_PER_DEVIATION: f64 = 1.48;
const MEDIAN_ERROR: f64 = 1.25;
/// Share of the largest saving that the junction has to have.
const MOST_OF_IT: f64 = 0.8;
/// Saving that a stop at the junction has to have, in milliseconds: several times what a second run and
/// the tensors between cost.
const MIN_SAVING_MS: f64 = 0.2;

/// How many activations of a cut to run together, and where those of different cuts meet.
#[derive(Debug)]
pub(crate) struct Worth {
    limits: Vec<usize>,
    junction: Option<usize>,
}

/// What was measured at one cut.
#[derive(Debug, Clone, Copy)]
struct Gain {
    cut: usize,
    /// Best batch.
    size: usize,
    /// Milliseconds an activation takes less in it than alone.
    saving_ms: f64,
}

impl Worth {
    /// Runs zeros through some tails, and tries whether those worth a batch give the right answers in one.
    pub(crate) fn measure(tails: &TailStore, max_batch: usize, cancel: &Cancel) -> Result<Self> {
        let last = tails.bundle().manifest().last_cut();
        let sizes: Vec<usize> = SIZES.into_iter().filter(|&n| n <= max_batch).collect();
        if sizes.is_empty() {
            return Ok(Self::of(last, &[]));
        }
        let until = Instant::now() + BUDGET;
        let mut trials: Vec<Trial> = measured_cuts(last)
            .into_iter()
            .map(|cut| Trial::new(cut, &sizes))
            .collect();
        for _ in 0..ROUNDS {
            for trial in &mut trials {
                trial.round(until, |cut, size| each_ms(tails, cut, size, cancel))?;
            }
        }
        let gains: Vec<Gain> = trials.iter().filter_map(Trial::gain).collect();
        let mut worth = Self::of(last, &gains);
        for cut in 0..last {
            cancel.check()?;
            if worth.limit(cut) > 1 && !tails.takes_batches(cut, last)? {
                worth.limits[cut] = 1;
            }
        }
        tracing::debug!(?gains, ?worth, "measured batches");
        Ok(worth)
    }

    pub(crate) fn limit(&self, cut: usize) -> usize {
        self.limits.get(cut).copied().unwrap_or(1)
    }

    pub(crate) fn junction(&self) -> Option<usize> {
        self.junction
    }

    /// A cut that was not measured takes after the next measured one before it, whose tail holds
    /// its own.
    fn of(cuts: usize, gains: &[Gain]) -> Self {
        let limit = |cut: usize| {
            let before = gains.iter().filter(|gain| gain.cut <= cut);
            let nearest = before.max_by_key(|gain| gain.cut);
            nearest.map_or(1, |gain| gain.size)
        };
        let most = gains.iter().map(|g| g.saving_ms).fold(0.0, f64::max);
        let enough = |gain: &&Gain| {
            gain.size > 1 && gain.saving_ms >= MIN_SAVING_MS && gain.saving_ms >= MOST_OF_IT * most
        };
        Self {
            limits: (0..cuts).map(limit).collect(),
            junction: gains
                .iter()
                .filter(enough)
                .map(|gain| gain.cut)
                .max()
                .filter(|&cut| cut > 0),
        }
    }
}

/// From the last one on: late tails are measured soonest, and gain most.
fn measured_cuts(cuts: usize) -> Vec<usize> {
    let late = cuts.saturating_sub(LATE_CUTS)..cuts;
    let step = (late.start / EARLY_CUTS).max(1);
    let early = (0..late.start).step_by(step);
    let mut all: Vec<usize> = early.chain(late).collect();
    all.reverse();
    all
}

/// The sizes tried at one cut.
#[derive(Debug)]
struct Trial {
    cut: usize,
    /// Milliseconds of an activation alone.
    alone_ms: Vec<f64>,
    /// From 2 upwards, and what an activation took in each as a share of its time alone, in every round that tried it.
    sizes: Vec<(usize, Vec<f64>)>,
}

impl Trial {
    fn new(cut: usize, sizes: &[usize]) -> Self {
        let untried = |&size: &usize| (size, Vec::with_capacity(ROUNDS));
        Self {
            cut,
            alone_ms: Vec::with_capacity(ROUNDS * sizes.len()),
            sizes: sizes.iter().map(untried).collect(),
        }
    }

    /// Tries each size once, until the time is over; `each_ms` measures a cut at a size.
    fn round(
        &mut self,
        until: Instant,
        each_ms: impl Fn(usize, usize) -> Result<f64>,
    ) -> Result<()> {
        let mut best = 1.0_f64;
        for (size, shares) in &mut self.sizes {
            if Instant::now() > until {
                break;
            }
            let alone_ms = each_ms(self.cut, 1)?;
            self.alone_ms.push(alone_ms);
            if alone_ms * best * *size as f64 > MAX_RUN_MS {
                break;
            }
            shares.push(each_ms(self.cut, *size)? / alone_ms);
            let usual = median(shares);
            if usual > best * HOPELESS {
                break;
            }
            best = best.min(usual);
        }
        Ok(())
    }

    /// None if there was no time to measure it.
    fn gain(&self) -> Option<Gain> {
        if self.alone_ms.is_empty() {
            return None;
        }
        let tried = self.sizes.iter().filter(|(_, shares)| !shares.is_empty());
        let shares = tried.map(|(size, shares)| (*size, median(shares)));
        let best = shares.clone().map(|(_, share)| share).fold(1.0, f64::min);
        let pays = best <= 1.0 - MIN_GAIN && best + self.unsure() <= 1.0;
        let enough = |share: f64| pays && share <= best + GIVEN_AWAY;
        let smallest = shares.clone().find(|&(_, share)| enough(share));
        let (size, share) = smallest.unwrap_or((1, 1.0));
        Some(Gain {
            cut: self.cut,
            size,
            saving_ms: median(&self.alone_ms) * (1.0 - share),
        })
    }

    /// What a median share may be off by: twice the standard error, by how far all shares are from their size's median.
    fn unsure(&self) -> f64 {
        let rounds = self.sizes.iter().map(|(_, shares)| shares.len());
        let rounds = rounds.max().unwrap_or(0);
        if rounds < 2 {
            return UNSURE_OF_ONE;
        }
        let off = |shares: &[f64]| -> Vec<f64> {
            let middle = median(shares);
            shares.iter().map(|share| (share - middle).abs()).collect()
        };
        let deviations: Vec<f64> = self.sizes.iter().flat_map(|(_, s)| off(s)).collect();
        let freedom = (rounds as f64 - 1.0) / rounds as f64;
        let sigma = SIGMA_PER_DEVIATION * median(&deviations) / freedom.sqrt();
        2.0 * MEDIAN_ERROR * sigma / (rounds as f64).sqrt()
    }
}

/// Of an even number the larger one in the middle; 0 where there is none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// Milliseconds that one activation takes in a batch of a size; without end in one that the tail does not take.
fn each_ms(tails: &TailStore, cut: usize, size: usize, cancel: &Cancel) -> Result<f64> {
    let manifest = tails.bundle().manifest();
    if size > 1 && !tails.takes_batches(cut, manifest.last_cut())? {
        return Ok(f64::INFINITY);
    }
    let mut inputs = Stack::default();
    inputs.begin(&manifest.cuts[cut])?;
    for _ in 0..size {
        inputs.push_zeros()?;
    }
    let (mut took, mut activations) = (Duration::ZERO, 0);
    while took < WINDOW {
        took += tails.run(&inputs, manifest.last_cut(), cancel)?.elapsed;
        activations += size;
        if activations >= MAX_ACTIVATIONS {
            break;
        }
    }
    Ok(took.as_secs_f64() * 1e3 / activations as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gain(cut: usize, size: usize, saving_ms: f64) -> Gain {
        Gain {
            cut,
            size,
            saving_ms,
        }
    }

    #[test]
    fn some_cuts_are_measured_the_last_ones_first() {
        assert_eq!(measured_cuts(3), [2, 1, 0]);
        assert_eq!(measured_cuts(6), [5, 4, 3, 2, 1, 0]);
        assert_eq!(measured_cuts(18), [17, 16, 15, 14, 12, 9, 6, 3, 0]);
        assert!(measured_cuts(200).len() <= LATE_CUTS + EARLY_CUTS + 1);
    }

    /// Rounds of one cut, whose activations take `each_ms(size, round)`.
    fn tried(each_ms: impl Fn(usize, usize) -> f64) -> Option<Gain> {
        let mut trial = Trial::new(3, &SIZES);
        let until = Instant::now() + Duration::from_hours(1);
        for round in 0..ROUNDS {
            let measure = |_, size| Ok(each_ms(size, round));
            trial.round(until, measure).unwrap();
        }
        trial.gain()
    }

    #[test]
    fn the_smallest_batch_that_saves_nearly_as_much_as_the_best_is_taken() {
        let curve = |size| match size {
            1 => 10.0,
            2 => 9.8,
            4 => 9.05,
            8 => 9.0,
            _ => 9.02,
        };
        let gain = tried(|size, _| curve(size)).unwrap();
        assert_eq!((gain.cut, gain.size), (3, 4), "{gain:?}");
        assert!((gain.saving_ms - 0.95).abs() < 1e-9, "{gain:?}");
        // A run that something else disturbed decides nothing, whichever it is.
        for disturbed in 0..ROUNDS {
            let noisy = |size, round| {
                let noise = if (round + size) % ROUNDS == disturbed {
                    1.25
                } else {
                    1.0
                };
                curve(size) * noise
            };
            assert_eq!(tried(noisy).unwrap().size, 4);
        }
    }

    #[test]
    fn a_machine_that_is_slow_for_a_while_is_so_for_both() {
        let slower = |round| 1.0 + round as f64 / 2.0;
        let saves = tried(|size, round| slower(round) * if size == 1 { 10.0 } else { 9.7 });
        assert_eq!(saves.unwrap().size, 2);
    }

    #[test]
    fn what_noise_looks_like_is_no_saving() {
        let unsteady = [1.0, 1.07, 0.93, 1.1, 0.96];
        let noise = |size: usize, round: usize| unsteady[(2 * size + round) % unsteady.len()];
        let saving = |share: f64| {
            tried(|size, round| 10.0 * noise(size, round) * if size == 1 { 1.0 } else { share })
        };
        assert_eq!(saving(1.0).unwrap().size, 1);
        assert!(saving(0.8).unwrap().size > 1);
    }

    #[test]
    fn one_round_is_believed_where_much_is_saved() {
        let once = |share: f64| {
            let mut trial = Trial::new(3, &SIZES);
            let until = Instant::now() + Duration::from_hours(1);
            let measure = |_, size| Ok(if size == 1 { 10.0 } else { 10.0 * share });
            trial.round(until, measure).unwrap();
            trial.gain().unwrap().size
        };
        assert_eq!(once(0.95), 1);
        assert_eq!(once(0.7), 2);
    }

    #[test]
    fn nothing_is_batched_that_does_not_gain() {
        assert_eq!(tried(|size, _| 10.0 + size as f64 / 100.0).unwrap().size, 1);
        assert_eq!(tried(|size, _| 10.0 - size as f64 / 100.0).unwrap().size, 1);
    }

    #[test]
    fn no_batch_runs_for_long() {
        let gain = tried(|size, _| 60.0 / size as f64 + 50.0).unwrap();
        assert_eq!(gain.size, 2, "two run for 160 ms, four might for 320");
        assert_eq!(tried(|_, _| 300.0).unwrap().size, 1);
    }

    #[test]
    fn no_size_is_tried_beyond_one_without_hope_and_a_cut_without_time_is_left_out() {
        let runs = std::cell::Cell::new(0);
        let slow = |size, _| {
            runs.set(runs.get() + 1);
            size as f64
        };
        assert_eq!(tried(slow).unwrap().size, 1);
        assert_eq!(runs.get(), 2 * ROUNDS, "1 and 2, and 4 and above never");

        let over = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let mut late = Trial::new(0, &SIZES);
        late.round(over, |_, _| Ok(1.0)).unwrap();
        assert!(late.gain().is_none());
    }

    #[test]
    fn a_cut_takes_after_the_one_measured_before_it() {
        let worth = Worth::of(8, &[gain(6, 8, 1.0), gain(2, 4, 1.2)]);
        let limits: Vec<usize> = (0..8).map(|cut| worth.limit(cut)).collect();
        assert_eq!(limits, [1, 1, 4, 4, 4, 4, 8, 8]);
        assert_eq!(worth.limit(99), 1);
    }

    #[test]
    fn the_junction_is_the_latest_cut_that_has_most_of_the_saving() {
        let junction = |gains: &[Gain]| Worth::of(9, gains).junction();
        assert_eq!(
            junction(&[gain(1, 8, 4.0), gain(5, 8, 3.9), gain(7, 8, 1.0)]),
            Some(5)
        );
        assert_eq!(junction(&[gain(0, 8, 4.0), gain(5, 1, 0.0)]), None);
        assert_eq!(
            junction(&[gain(7, 16, 0.03)]),
            None,
            "less than a stop costs"
        );
        assert_eq!(junction(&[]), None);
    }
}
