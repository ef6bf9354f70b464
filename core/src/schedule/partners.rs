//! The search for the two plans of a stream, among hundreds and several times for each frame.

use super::candidate::Candidate;
use super::decision::Decision;
use super::mix::{Load, Mix, Pair, alone_ms};
use super::plan::Plan;
use super::rank::Rated;
use super::shortlist::Shortlist;

/// Two plans must be faster than one by this share to be begun with; they are kept as long as they are not slower.
const GAIN: f64 = 0.03;
/// The best partner of the best partner, and so on: so many times at most.
const MAX_ROUNDS: usize = 3;

/// What is searched for.
#[derive(Debug)]
pub(super) struct Search<'a, May> {
    /// What is to be faster.
    pub(super) best: &'a Candidate,
    /// Whether a plan may be followed.
    pub(super) may: &'a May,
    /// Frames under way at most.
    pub(super) room: usize,
    /// The two plans that were best in the last decision.
    pub(super) last: Option<(Plan, Plan)>,
    /// Whether two plans are followed already.
    pub(super) is_mixed: bool,
    /// Whether what needs spans that are not at hand is left out.
    pub(super) only_ready: bool,
}

impl<May: Fn(&Plan) -> bool> Search<'_, May> {
    /// The best two plans of those that keep the limits, if they are faster than the `best` one; cuts at which one of them may
    /// be are looked at.
    pub(super) fn best_two(
        &self,
        shortlist: &mut Shortlist,
        decision: &Decision<'_>,
    ) -> Option<Mix> {
        // What is no faster than one plan is no use, nor does anything lead on from it.
        let alone_ms = alone_ms(self.best, self.room);
        let best_one = Some(*self.best).filter(|best| (self.may)(&best.plan));
        let best_one = best_one.filter(|best| best.ready || !self.only_ready);
        let device = shortlist.rated_plan(Plan::Device);
        let device = device.filter(|rated| self.is_one(rated));
        let device = device.map(|rated| rated.candidate);
        let mut fastest: Option<Mix> = None;
        for first in [best_one, device].into_iter().flatten() {
            let mut one = first;
            for _ in 0..MAX_ROUNDS {
                let least_ms = fastest.map_or(alone_ms, |mix| mix.frame_ms);
                let Some(other) = self.best_beside(&one, least_ms, shortlist, decision) else {
                    break;
                };
                fastest = Some(Mix::new(&one, &other, self.room));
                one = other;
            }
        }
        let gain = if self.is_mixed { 0.0 } else { GAIN };
        fastest.filter(|mix| mix.frame_ms * (1.0 + gain) < alone_ms)
    }

    /// The plan that is fastest together with `one`, if they take less than `least_ms` for a frame.
    fn best_beside(
        &self,
        one: &Candidate,
        mut least_ms: f64,
        shortlist: &mut Shortlist,
        decision: &Decision<'_>,
    ) -> Option<Candidate> {
        let load = Load::of(one);
        let mut fastest = None;
        let mut consider = |rated: &Rated, least_ms: &mut f64| {
            let other = &rated.candidate;
            if !self.is_one(rated) || other.plan == one.plan {
                return;
            }
            let frame_ms = Pair::new(one, other, self.room).frame_ms;
            if frame_ms < *least_ms {
                *least_ms = frame_ms;
                fastest = Some(*other);
            }
        };
        let mut beside = shortlist.beside(one.plan.inner_cut(), self.only_ready);
        // The sooner there is something fast, the more is passed over.
        let last = self.last.map(|(heavy, light)| [heavy, light]);
        for plan in last.into_iter().flatten() {
            if let Some(rated) = shortlist.rated_plan(plan)
                && beside.has(plan)
            {
                consider(&rated, &mut least_ms);
            }
        }
        while let Some(rated) = shortlist.next(&mut beside, decision, |least| {
            !load.is_no_faster_with(least, self.room, least_ms)
        }) {
            consider(rated, &mut least_ms);
        }
        fastest
    }

    /// Whether frames may follow it.
    fn is_one(&self, rated: &Rated) -> bool {
        let candidate = &rated.candidate;
        rated.excess <= 0.0 && (candidate.ready || !self.only_ready) && (self.may)(&candidate.plan)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::schedule::fixtures::manifest;
    use crate::schedule::mix::STAGES;
    use crate::schedule::{
        Codec, Estimates, Levels, Limits, LinkPrior, Metric, Objective, PhotoCodec, Precision,
        SpacePlan, plan,
    };

    const ROOM: usize = 32;
    const PHOTO: Plan = Plan::Photo(PhotoCodec::Ppm);

    fn split(cut: usize) -> Plan {
        Plan::Split {
            cut,
            precision: Precision::Levels(Levels::EIGHT_BITS),
            codec: Codec::Zstd,
        }
    }

    /// What keeps device, uplink and server busy for so long, over a round trip of 20 ms.
    fn candidate(plan: Plan, [device_ms, sending_ms, server_ms]: [f64; STAGES]) -> Candidate {
        let estimates = Estimates::new(&manifest(), None, LinkPrior::MOBILE, 1.0);
        let network_ms = if plan.uses_server() {
            sending_ms + 20.0
        } else {
            0.0
        };
        let total_ms = device_ms + network_ms + server_ms;
        Candidate {
            device_ms,
            pack_ms: 0.0,
            network_ms,
            queue_ms: 0.0,
            server_ms,
            total_ms,
            p95_ms: total_ms,
            sending_ms,
            stage_ms: device_ms.max(sending_ms).max(server_ms),
            ready: true,
            ..estimates.candidate(plan, &[], Instant::now())
        }
    }

    fn mix_of(candidates: &[Candidate], room: usize) -> Option<Mix> {
        mix_of_allowed(candidates, room, |_| true)
    }

    fn mix_of_allowed(
        candidates: &[Candidate],
        room: usize,
        may: impl Fn(&Plan) -> bool,
    ) -> Option<Mix> {
        let rate = |candidate: &Candidate| Rated::new(*candidate, &Limits::default());
        let mut rated: Vec<Rated> = candidates.iter().map(rate).collect();
        rated.sort_by_key(|rated| rated.candidate.plan.inner_cut());
        let alone = |c: &&Candidate| alone_ms(c, room);
        let best = candidates
            .iter()
            .min_by(|a, b| alone(a).total_cmp(&alone(b)))
            .unwrap();
        let search = Search {
            best,
            may: &may,
            room,
            last: None,
            is_mixed: false,
            only_ready: false,
        };
        let estimates = Estimates::new(&manifest(), None, LinkPrior::MOBILE, 1.0);
        let objective = Objective::minimal(Metric::Throughput);
        let now = Instant::now();
        let decision = Decision::new(&estimates, &objective, Some(room), &[], now);
        let entry = |plan: &Plan| estimates.entry(&SpacePlan::unmeasured(*plan));
        search.best_two(&mut Shortlist::of_rated(rated, entry), &decision)
    }

    #[test]
    fn a_late_cut_and_a_photo_use_what_the_other_leaves_idle() {
        let late = candidate(split(2), [20.0, 5.0, 1.0]);
        let photo = candidate(PHOTO, [4.0, 30.0, 5.0]);
        let mix = mix_of(&[late, photo], ROOM).unwrap();
        assert_eq!((mix.heavy.plan, mix.light.plan), (PHOTO, split(2)));
        // 20 s + 4 (1 - s) = 5 s + 30 (1 - s) for a share s of 26 in 41.
        let share = 26.0 / 41.0;
        let expected_ms = 20.0 * share + 4.0 * (1.0 - share);
        assert!((mix.frame_ms - expected_ms).abs() < 1e-9, "{mix:?}");
        assert!((mix.busy_ms - (20.0 + 30.0 + 20.0 + 5.0)).abs() < 1e-9);
    }

    #[test]
    fn what_may_not_be_followed_is_neither_of_two() {
        let late = candidate(split(2), [20.0, 5.0, 1.0]);
        let photo = candidate(PHOTO, [4.0, 30.0, 5.0]);
        for plan in [split(2), PHOTO] {
            let mix = mix_of_allowed(&[late, photo], ROOM, |&of| of != plan);
            assert_eq!(mix, None, "{plan}");
        }
    }

    #[test]
    fn the_device_answers_what_the_way_has_no_room_for() {
        let device = candidate(Plan::Device, [50.0, 0.0, 0.0]);
        let late = candidate(split(2), [20.0, 40.0, 1.0]);
        let mix = mix_of(&[device, late], ROOM).unwrap();
        assert_eq!((mix.heavy.plan, mix.light.plan), (split(2), Plan::Device));
        assert!(mix.frame_ms < 30.0, "{mix:?}");
    }

    #[test]
    fn plans_that_want_the_same_are_no_better_together() {
        let device = candidate(Plan::Device, [50.0, 0.0, 0.0]);
        let early = candidate(split(1), [49.0, 1.0, 1.0]);
        assert_eq!(mix_of(&[device, early], ROOM), None);
    }

    #[test]
    fn the_spans_of_two_cuts_are_never_wanted_at_once() {
        let early = candidate(split(1), [4.0, 30.0, 5.0]);
        let late = candidate(split(2), [20.0, 5.0, 1.0]);
        assert_eq!(mix_of(&[early, late], ROOM), None);
        let coarse = Plan::Split {
            cut: 2,
            precision: Precision::Levels(plan::Levels::new(4).unwrap()),
            codec: Codec::Context,
        };
        let same_cut = candidate(coarse, [12.0, 30.0, 1.0]);
        assert!(mix_of(&[same_cut, late], ROOM).is_some());
    }

    #[test]
    fn the_plan_that_takes_the_device_longer_is_for_frames_that_find_the_way_full() {
        let photo = candidate(PHOTO, [2.0, 4.0, 8.0]);
        // It keeps the way busy for hardly longer, if only one part of it.
        let slow = candidate(split(2), [100.0, 8.1, 2.0]);
        let mix = mix_of(&[photo, slow], 1_000).unwrap();
        assert_eq!((mix.heavy.plan, mix.light.plan), (PHOTO, split(2)));
    }

    #[test]
    fn answers_in_order_leave_no_room_for_a_plan_that_is_much_slower() {
        let device = candidate(Plan::Device, [10.0, 0.0, 0.0]);
        let slow = candidate(split(2), [1.0, 100.0, 1.0]);
        assert!(mix_of(&[device, slow], 100).is_some());
        // Three frames of the device's at most would begin behind one that takes 120 ms.
        assert_eq!(mix_of(&[device, slow], 4), None);
    }

    #[test]
    fn nothing_large_is_sent_before_many_small_ones() {
        let small = candidate(split(2), [20.0, 15.0, 1.0]);
        let burst = candidate(PHOTO, [1.0, 200.0, 5.0]);
        assert_eq!(mix_of(&[small, burst], ROOM), None);
    }

    proptest! {
        /// What is passed over at a glance would not have been chosen, nor anything that asks for more.
        #[test]
        fn what_is_no_faster_with_the_least_is_no_faster(
            a in prop::array::uniform3(0.1_f64..100.0),
            b in prop::array::uniform3(0.1_f64..100.0),
            shares in prop::array::uniform4(0.0_f64..=1.0),
            room in 1_usize..40,
            has_device in any::<bool>(),
        ) {
            let one = match (has_device, a) {
                (true, [device_ms, ..]) => candidate(Plan::Device, [device_ms, 0.0, 0.0]),
                _ => candidate(PHOTO, a),
            };
            let other = candidate(split(2), b);
            let frame_ms = Pair::new(&one, &other, room).frame_ms;
            let (load, all) = (Load::of(&one), Load::of(&other));
            let [device, sending, server, remote] = shares;
            let least = Load {
                stages_ms: [device * b[0], sending * b[1], server * b[2]],
                remote_ms: remote * all.remote_ms,
            };
            let above_ms = frame_ms * (1.0 + 1e-9);
            prop_assert!(!load.is_no_faster_with(&all, room, above_ms));
            prop_assert!(!load.is_no_faster_with(&least, room, above_ms));
            prop_assert!(load.is_no_faster_with(&all, room, 0.05));
        }
    }
}
