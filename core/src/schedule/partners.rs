//! The search for the two plans of a stream, among hundreds and several times for each frame.

use super::candidate::Candidate;
use super::mix::{MAX_BURST_FRAMES, Mix, Pair, STAGES, alone_ms, fills_the_way, stages_ms};
use super::plan::Plan;
use super::rank::Rated;

/// Two plans must be faster than one by this share to be begun with; they are kept as long as they are not slower.
const GAIN: f64 = 0.03;
/// The best partner of the best partner, and so on: so many times at most.
const MAX_ROUNDS: usize = 3;

/// The candidates that may be one of two plans. Made once, searched for every frame, without an allocation.
#[derive(Debug, Clone)]
pub(super) struct Partners {
    /// Those without an inner cut first, then by cut.
    all: Vec<Partner>,
    /// How many have no inner cut.
    uncut: usize,
    device: Option<Partner>,
}

/// What decides in almost every case that a candidate is of no use beside another: a sixth of the candidate, so that
/// all of them stay in the nearest cache.
#[derive(Debug, Clone, Copy)]
struct Partner {
    stages_ms: [f64; STAGES],
    way_ms: f64,
    /// A frame of the two takes no less than this where it is the heavier one, which is one of so many under way until
    /// its answer is there.
    under_way_ms: f64,
    /// Whose spans it needs.
    cut: Option<usize>,
    /// In the candidates.
    index: usize,
    ready: bool,
}

impl Partner {
    fn new(candidate: &Candidate, index: usize, room: usize) -> Self {
        let way_ms = candidate.way_ms();
        let answered_ms = way_ms + candidate.remote_ms() - candidate.queue_ms;
        Self {
            stages_ms: stages_ms(candidate),
            way_ms,
            under_way_ms: answered_ms / room as f64,
            cut: candidate.plan.inner_cut(),
            index,
            ready: candidate.ready,
        }
    }

    /// Whether a frame of the two takes `least_ms` or longer in whichever shares ([`Pair::new`]), for a reason that is seen
    /// without working them out.
    fn cannot_beat(&self, other: &Self, least_ms: f64) -> bool {
        let (heavy, light) = if fills_the_way(&self.stages_ms, &other.stages_ms) {
            (self, other)
        } else {
            (other, self)
        };
        let way_ms = heavy.way_ms.max(light.way_ms);
        let is_burst = || light.way_ms > 0.0 && way_ms >= least_ms * MAX_BURST_FRAMES;
        // Nothing keeps a stage busy for less than the one that wants it less.
        let is_busy = || {
            let mut both = self.stages_ms.iter().zip(&other.stages_ms);
            both.any(|(&one, &other)| one >= least_ms && other >= least_ms)
        };
        heavy.under_way_ms >= least_ms || is_burst() || is_busy()
    }
}

impl Partners {
    /// With room for so many.
    pub(super) fn with_capacity(candidates: usize) -> Self {
        Self {
            all: Vec::with_capacity(candidates),
            uncut: 0,
            device: None,
        }
    }

    /// Those of `rated` that keep the limits and `may` be followed, in place of what was here. `rated` is in the order of
    /// inner cuts, those without one first: others are not found.
    pub(super) fn gather(&mut self, rated: &[Rated], room: usize, may: impl Fn(&Plan) -> bool) {
        self.all.clear();
        self.device = None;
        self.uncut = 0;
        for (index, rated) in rated.iter().enumerate() {
            let candidate = &rated.candidate;
            if rated.excess > 0.0 || !may(&candidate.plan) {
                continue;
            }
            let partner = Partner::new(candidate, index, room);
            self.all.push(partner);
            self.uncut += usize::from(partner.cut.is_none());
            if candidate.plan == Plan::Device {
                self.device = Some(partner);
            }
        }
    }

    /// The best two plans of those `rated` that were gathered, if they are faster than the `best` one in a stream of
    /// so much `room`; `best` is looked at beside them where it may be followed.
    pub(super) fn best_two(&self, search: &Search<'_>) -> Option<Mix> {
        let Search {
            rated,
            best,
            room,
            only_ready,
            ..
        } = *search;
        // What is no faster than one plan is no use, nor does anything lead on from it.
        let alone_ms = alone_ms(best, room);
        let mut fastest: Option<Pair<'_>> = None;
        let best_one = search
            .may_best
            .then(|| Partner::new(best, rated.len(), room));
        let device = self.device.filter(|device| device.ready || !only_ready);
        for first in [best_one, device].into_iter().flatten() {
            let mut one = first;
            for _ in 0..MAX_ROUNDS {
                let least_ms = fastest.map_or(alone_ms, |pair| pair.frame_ms);
                let Some((pair, partner)) = self.best_beside(&one, search, least_ms) else {
                    break;
                };
                fastest = Some(pair);
                one = partner;
            }
        }
        let gain = if search.is_mixed { 0.0 } else { GAIN };
        let fastest = fastest.filter(|pair| pair.frame_ms * (1.0 + gain) < alone_ms)?;
        Some(Mix::of(&fastest))
    }

    /// Those with which one pair of spans, or none, is all that the two need.
    fn beside(&self, one: &Partner) -> impl Iterator<Item = &Partner> {
        let (uncut, cut) = self.all.split_at(self.uncut);
        let there = match one.cut {
            None => cut,
            of_one => {
                let begin = cut.partition_point(|partner| partner.cut < of_one);
                let end = cut.partition_point(|partner| partner.cut <= of_one);
                cut.get(begin..end).unwrap_or_default()
            }
        };
        uncut.iter().chain(there)
    }

    /// The plan that is fastest together with `one`, if they take less than `least_ms` for a frame.
    fn best_beside<'a>(
        &self,
        one: &Partner,
        search: &Search<'a>,
        mut least_ms: f64,
    ) -> Option<(Pair<'a>, Partner)> {
        let one_candidate = search.candidate(one)?;
        let mut fastest = None;
        for partner in self.beside(one) {
            if one.cannot_beat(partner, least_ms) || (search.only_ready && !partner.ready) {
                continue;
            }
            let candidate = search.candidate(partner)?;
            if candidate.plan == one_candidate.plan {
                continue;
            }
            let pair = Pair::new(one_candidate, candidate, search.room);
            if pair.frame_ms < least_ms {
                least_ms = pair.frame_ms;
                fastest = Some((pair, *partner));
            }
        }
        fastest
    }
}

/// What is searched, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    /// What was gathered from.
    pub(super) rated: &'a [Rated],
    /// What is to be faster.
    pub(super) best: &'a Candidate,
    /// Whether that may be one of the two.
    pub(super) may_best: bool,
    /// Frames under way at most.
    pub(super) room: usize,
    /// Whether two plans are followed already.
    pub(super) is_mixed: bool,
    /// Whether what needs spans that are not at hand is left out.
    pub(super) only_ready: bool,
}

impl<'a> Search<'a> {
    /// That of a partner; of `best` behind all others.
    fn candidate(&self, partner: &Partner) -> Option<&'a Candidate> {
        if partner.index == self.rated.len() {
            return Some(self.best);
        }
        self.rated.get(partner.index).map(|rated| &rated.candidate)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::schedule::fixtures::manifest;
    use crate::schedule::{
        Codec, Estimates, Levels, Limits, LinkPrior, PhotoCodec, Precision, plan,
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
        let mut partners = Partners::with_capacity(0);
        partners.gather(&rated, room, &may);
        partners.best_two(&Search {
            rated: &rated,
            best,
            may_best: may(&best.plan),
            room,
            is_mixed: false,
            only_ready: false,
        })
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
        /// What is passed over at a glance would not have been chosen.
        #[test]
        fn what_cannot_beat_does_not(
            a in prop::array::uniform3(0.1_f64..100.0),
            b in prop::array::uniform3(0.1_f64..100.0),
            room in 1_usize..40,
            is_device in any::<bool>(),
        ) {
            let one = candidate(split(2), a);
            let other = match (is_device, b) {
                (true, [device_ms, ..]) => candidate(Plan::Device, [device_ms, 0.0, 0.0]),
                _ => candidate(PHOTO, b),
            };
            let frame_ms = Pair::new(&one, &other, room).frame_ms;
            let [one, other] = [&one, &other].map(|of| Partner::new(of, 0, room));
            prop_assert!(!one.cannot_beat(&other, frame_ms * (1.0 + 1e-9)));
            prop_assert!(one.cannot_beat(&other, 0.05));
        }
    }
}
