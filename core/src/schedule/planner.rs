//! Choosing a plan: the least expected latency, without flapping between two that are close.

use std::time::Instant;

use super::cost::{Candidate, Estimates};
use super::plan::{Codec, PhotoCodec, Plan, Precision};
use crate::ElementType;
use crate::bundle::{Calibration, Cut, Manifest};

/// Another plan must be expected to cost less than this share of the current one to replace it.
const HYSTERESIS: f64 = 0.9;

/// Every plan for a bundle: the device alone, the photo, and each inner cut that can be packed, in
/// this order. Cuts whose tensors are not all f32 cannot; at cut 0 the photo says the same in
/// fewer bytes than the tensor made from it.
pub fn all_plans(
    manifest: &Manifest,
    precision: Precision,
    codec: Codec,
    photo: PhotoCodec,
) -> Vec<Plan> {
    let splits = manifest
        .cuts
        .iter()
        .filter(|cut| cut.index > 0 && cut.index < manifest.last_cut() && can_be_packed(cut))
        .map(|cut| Plan::Split {
            cut: cut.index,
            precision,
            codec,
        });
    [Plan::Device, Plan::Photo(photo)]
        .into_iter()
        .chain(splits)
        .collect()
}

/// The same for a calibrated bundle: at each cut what keeps a loss of `max_drop_pp` percentage points
/// in the fewest bytes, and how many bytes that is expected to be. A cut that was not measured is
/// left out; the photo is lossless where no other keeps the limit.
pub fn calibrated_plans(
    manifest: &Manifest,
    calibration: &Calibration,
    max_drop_pp: f64,
) -> Vec<(Plan, Option<f64>)> {
    let measured = |cut: usize| {
        let allowed = calibration.allowed(cut, max_drop_pp)?;
        Some((allowed.plan, Some(allowed.bytes_mean)))
    };
    let first = measured(0).unwrap_or((Plan::Photo(PhotoCodec::WebPLossless), None));
    let splits = manifest
        .cuts
        .iter()
        .filter(|cut| cut.index > 0 && cut.index < manifest.last_cut() && can_be_packed(cut))
        .filter_map(|cut| measured(cut.index));
    [(Plan::Device, None), first]
        .into_iter()
        .chain(splits)
        .collect()
}

/// Whether all tensors that cross are f32.
pub fn can_be_packed(cut: &Cut) -> bool {
    cut.tensors
        .iter()
        .all(|tensor| tensor.element == ElementType::F32)
}

/// Chooses among some plans of one bundle by their expected latency.
///
/// The same estimates in the same order give the same choices.
#[derive(Debug, Clone)]
pub struct Planner {
    plans: Vec<Plan>,
    estimates: Estimates,
    current: Option<Plan>,
}

/// What a planner chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The best plan there is, whether or not its spans are at hand.
    pub best: Candidate,
    /// The best plan whose spans are at hand; the same as `best` if none is.
    pub runnable: Candidate,
}

impl Planner {
    /// A planner for `plans`; with none of them it always chooses the device.
    pub fn new(plans: Vec<Plan>, estimates: Estimates) -> Self {
        Self {
            plans,
            estimates,
            current: None,
        }
    }

    /// What every plan is expected to cost at `now`, cheapest first.
    pub fn candidates(&self, ready_cuts: &[usize], now: Instant) -> Vec<Candidate> {
        let mut candidates = self.in_order(ready_cuts, now);
        candidates.sort_by(|a, b| a.total_ms.total_cmp(&b.total_ms));
        candidates
    }

    /// What one plan is expected to cost at `now`.
    pub fn candidate(&self, plan: Plan, ready_cuts: &[usize], now: Instant) -> Candidate {
        self.estimates.candidate(plan, ready_cuts, now)
    }

    /// The plan for an inference that starts at `now`.
    pub fn choose(&mut self, ready_cuts: &[usize], now: Instant) -> Choice {
        let candidates = self.in_order(ready_cuts, now);
        let best = self
            .keep_or_replace(&candidates)
            .unwrap_or_else(|| self.candidate(Plan::Device, ready_cuts, now));
        if self.current.replace(best.plan) != Some(best.plan) {
            log::debug!("the plan is now {best}");
        }
        let runnable = if best.ready {
            best.clone()
        } else {
            cheapest(candidates.iter().filter(|c| c.ready)).unwrap_or_else(|| best.clone())
        };
        Choice { best, runnable }
    }

    /// The estimates, to be corrected by what was observed.
    pub fn estimates_mut(&mut self) -> &mut Estimates {
        &mut self.estimates
    }

    fn in_order(&self, ready_cuts: &[usize], now: Instant) -> Vec<Candidate> {
        self.plans
            .iter()
            .map(|&plan| self.candidate(plan, ready_cuts, now))
            .collect()
    }

    fn keep_or_replace(&self, candidates: &[Candidate]) -> Option<Candidate> {
        let cheapest = cheapest(candidates.iter())?;
        let current = candidates.iter().find(|c| Some(c.plan) == self.current);
        match current {
            Some(current) if cheapest.total_ms >= HYSTERESIS * current.total_ms => {
                Some(current.clone())
            }
            _ => Some(cheapest),
        }
    }
}

/// The first of the cheapest.
fn cheapest<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Option<Candidate> {
    candidates
        .min_by(|a, b| a.total_ms.total_cmp(&b.total_ms))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{CALIBRATION_FORMAT, CalibrationRow, CodecBytes, Profile, Sent};
    use crate::calibrate::{FlipRate, Judgement, Measure};
    use crate::pack::Shaping;
    use crate::schedule::fixtures::manifest;
    use crate::schedule::{Levels, LinkPrior, LinkSample, Quantisation};

    const ALL_READY: &[usize] = &[0, 1, 2, 3];
    const PHOTO: PhotoCodec = PhotoCodec::Jpeg(90);

    fn plans() -> Vec<Plan> {
        let precision = Precision::Levels(Levels::EIGHT_BITS);
        all_plans(&manifest(), precision, Codec::Zstd, PHOTO)
    }

    fn split(cut: usize) -> Plan {
        Plan::Split {
            cut,
            precision: Precision::Levels(Levels::EIGHT_BITS),
            codec: Codec::Zstd,
        }
    }

    /// A device that needs 30, 60 and 90 ms to the three cuts, a server twenty times as fast.
    fn planner(rtt_ms: f64, rate_bps: f64) -> Planner {
        let profile = Profile {
            machine: "reference".into(),
            threads: 1,
            head_ms: vec![0.0, 30.0, 60.0, 90.0],
            measured: vec![0, 1, 2, 3],
        };
        let link = LinkPrior { rtt_ms, rate_bps };
        let mut estimates = Estimates::new(&manifest(), Some(&profile), link, 20.0);
        let now = Instant::now();
        estimates.link.connected(None, now);
        Planner::new(plans(), estimates)
    }

    #[test]
    fn every_inner_cut_that_can_be_packed_is_a_plan() {
        assert_eq!(
            plans(),
            [Plan::Device, Plan::Photo(PHOTO), split(1), split(2)]
        );
        let mut manifest = manifest();
        manifest.cuts[1].tensors[0].element = ElementType::I64;
        let plans = all_plans(&manifest, Precision::Raw, Codec::Raw, PHOTO);
        assert!(
            !plans
                .iter()
                .any(|p| matches!(p, Plan::Split { cut: 1, .. }))
        );
    }

    #[test]
    fn a_calibrated_bundle_sends_nothing_above_the_limit() {
        let table = Calibration {
            format: CALIBRATION_FORMAT,
            images: 100,
            with_truth: 0,
            measure: Measure::Agreement,
            shaping: Shaping::default(),
            rows: (0..3)
                .flat_map(|cut| [(4, 3.0), (16, 0.8), (64, 0.3)].map(|(l, pp)| row(cut, l, pp)))
                .chain([raw(1)])
                .collect(),
        };
        for limit in [0.0, 0.2, 0.5, 1.0, 5.0] {
            let plans = calibrated_plans(&manifest(), &table, limit);
            for (plan, bytes) in &plans {
                let Plan::Split { cut, precision, .. } = plan else {
                    continue;
                };
                let allowed = table.allowed(*cut, limit).unwrap();
                assert!(allowed.max_drop_pp <= limit, "{plan} at {limit}");
                assert_eq!(*bytes, Some(allowed.bytes_mean));
                let coarsest = [(3.0, 4), (0.8, 16), (0.3, 64)];
                let expected = coarsest.iter().find(|(pp, _)| *pp <= limit);
                let found = match precision {
                    Precision::Levels(levels) => Some(levels.get()),
                    Precision::Raw => None,
                };
                assert_eq!(
                    found,
                    expected.map(|(_, levels)| *levels),
                    "{plan} at {limit}"
                );
            }
            // Below every bound cut 1 has fp32, the others have nothing; the photo is lossless.
            let cuts = if limit < 0.3 { 3 } else { 4 };
            assert_eq!(plans.len(), cuts, "{plans:?}");
            let photo = plans
                .iter()
                .any(|(p, _)| *p == Plan::Photo(PhotoCodec::WebPLossless));
            assert_eq!(photo, limit < 0.3, "{plans:?}");
        }
    }

    fn row(cut: usize, levels: u32, max_drop_pp: f64) -> CalibrationRow {
        let rate = FlipRate {
            seen: 0,
            images: 100,
            estimate: 0.0,
            lower: 0.0,
            upper: max_drop_pp / 100.0,
        };
        CalibrationRow {
            cut,
            sent: Sent::Packed(
                Quantisation::Plain,
                Precision::Levels(Levels::new(levels).unwrap()),
            ),
            images: 100,
            bytes: vec![CodecBytes {
                codec: "zstd".to_owned(),
                mean: 10.0 * f64::from(levels),
                p95: 1,
            }],
            fidelity: Judgement::of_flips(&rate, None),
        }
    }

    fn raw(cut: usize) -> CalibrationRow {
        CalibrationRow {
            sent: Sent::Packed(Quantisation::Plain, Precision::Raw),
            images: 12,
            ..row(cut, 1000, 100.0)
        }
    }

    #[test]
    fn a_fast_link_is_used_and_a_slow_one_is_not() {
        let now = Instant::now();
        let fast = planner(4.0, 100e6).choose(ALL_READY, now).best;
        assert!(fast.plan.uses_server(), "{fast}");
        assert!(fast.total_ms < 90.0);
        let slow = planner(300.0, 0.1e6).choose(ALL_READY, now).best;
        assert_eq!(slow.plan, Plan::Device);
    }

    #[test]
    fn between_the_two_lies_a_cut() {
        // The photo is larger than the activation of cut 1 by more than its head costs.
        let now = Instant::now();
        let mut planner = planner(1.0, 1e6);
        let photo = Plan::Photo(PHOTO);
        planner
            .estimates_mut()
            .sizes
            .observe_packed(&photo, 20_000, 1.0);
        planner
            .estimates_mut()
            .sizes
            .observe_packed(&split(1), 500, 0.1);
        assert_eq!(planner.choose(ALL_READY, now).best.plan, split(1));
    }

    #[test]
    fn a_server_that_is_full_or_late_is_left_for_the_device() {
        let now = Instant::now();
        let mut full = planner(4.0, 100e6);
        full.estimates_mut().server.observe(0, 3, 400.0, 4.5, now);
        full.estimates_mut().server.observe(0, 3, 400.0, 4.5, now);
        assert_eq!(full.choose(ALL_READY, now).best.plan, Plan::Device);

        let mut late = planner(40.0, 100e6);
        assert!(late.choose(ALL_READY, now).best.plan.uses_server());
        let then = now + std::time::Duration::from_millis(1);
        late.estimates_mut().link.late(now, now);
        late.estimates_mut().link.late(then, then);
        assert_eq!(late.choose(ALL_READY, then).best.plan, Plan::Device);
    }

    #[test]
    fn a_plan_is_kept_until_another_is_clearly_better() {
        let now = Instant::now();
        let mut planner = planner(4.0, 100e6);
        let first = planner.choose(ALL_READY, now).best;
        let device = planner.candidate(Plan::Device, ALL_READY, now).total_ms;
        // A queue that makes the server 5 % worse than the device, then one that makes it 30 %.
        let queue = |planner: &mut Planner, over: f64| {
            let queue_ms = device * over - first.total_ms;
            for _ in 0..8 {
                let server = &mut planner.estimates_mut().server;
                server.observe(0, 3, queue_ms, 4.5, now);
            }
        };
        queue(&mut planner, 1.05);
        assert_eq!(planner.choose(ALL_READY, now).best.plan, first.plan);
        queue(&mut planner, 1.3);
        assert_eq!(planner.choose(ALL_READY, now).best.plan, Plan::Device);
    }

    #[test]
    fn a_cut_that_is_not_ready_is_wanted_and_another_plan_runs_meanwhile() {
        let now = Instant::now();
        let mut planner = planner(1.0, 1e6);
        let photo = Plan::Photo(PHOTO);
        planner
            .estimates_mut()
            .sizes
            .observe_packed(&photo, 20_000, 1.0);
        planner
            .estimates_mut()
            .sizes
            .observe_packed(&split(1), 500, 0.1);
        let choice = planner.choose(&[0, 3], now);
        assert_eq!(choice.best.plan, split(1));
        assert!(!choice.best.ready);
        assert!(choice.runnable.ready);
        assert_ne!(choice.runnable.plan, split(1));
        assert_eq!(planner.choose(ALL_READY, now).runnable.plan, split(1));
    }

    #[test]
    fn a_link_that_turns_slow_is_noticed_by_its_answers() {
        let mut now = Instant::now();
        let mut planner = planner(4.0, 100e6);
        assert!(planner.choose(ALL_READY, now).best.plan.uses_server());
        for _ in 0..6 {
            planner.estimates_mut().link.answered(LinkSample {
                bytes: 20_000,
                sent: now,
                wall_ms: 600.0,
                receive_ms: 400.0,
                server_ms: 405.0,
            });
            now += std::time::Duration::from_millis(600);
        }
        assert_eq!(planner.choose(ALL_READY, now).best.plan, Plan::Device);
    }

    #[test]
    fn the_table_is_sorted_and_its_rows_add_up() {
        let candidates = planner(20.0, 5e6).candidates(ALL_READY, Instant::now());
        assert_eq!(candidates.len(), plans().len());
        assert!(candidates.is_sorted_by(|a, b| a.total_ms <= b.total_ms));
        for c in candidates {
            let sum = c.device_ms + c.pack_ms + c.network_ms + c.queue_ms + c.server_ms;
            assert!((c.total_ms - sum).abs() < 1e-9, "{c}");
        }
    }
}
