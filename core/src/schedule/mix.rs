//! Two plans for the frames of one stream: one of them leaves idle what the other wants most.
//!
//! A stream whose frames all follow one plan runs at the pace of that plan's slowest stage, while the others
//! wait. Frames that follow another plan may use them: late cuts beside photos, or the device alone beside the
//! server. In which shares two plans are fastest together is a linear programme with one row for each stage; its
//! optimum lies where two stages are equally busy. The spans of one cut are at hand at a time, so both plans are
//! cut there or nowhere.

use super::candidate::Candidate;
use super::plan::Plan;
use super::rank::Rated;

/// Two plans must be faster than one by this share to be begun with; they are kept as long as they are not slower.
const GAIN: f64 = 0.03;
/// A frame that others wait behind keeps the way busy for so many frames at most: what a link does next is not
/// known for longer.
const MAX_BURST_FRAMES: f64 = 4.0;
/// The best partner of the best partner, and so on: so many times at most.
const MAX_ROUNDS: usize = 3;
/// Device, uplink and server.
const STAGES: usize = 3;

/// Two plans that frames of a stream follow by turns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mix {
    /// The one that keeps the way to the server busier: followed while there is room on it.
    pub(super) heavy: Candidate,
    /// The other, for frames that find the way full.
    pub(super) light: Candidate,
    /// The work that is to be under way, in milliseconds, so that the way is busy until another frame is on it.
    pub(super) busy_ms: f64,
    /// Between two frames, in milliseconds.
    pub(super) frame_ms: f64,
}

impl Mix {
    /// Two plans in the shares in which they are fastest, in a stream that takes answers in the order of its
    /// `room` frames under way.
    pub(super) fn new(a: &Candidate, b: &Candidate, room: usize) -> Self {
        let pair = Pair::new(a, b, room);
        Self {
            heavy: *pair.heavy,
            light: *pair.light,
            busy_ms: pair.busy_ms(),
            frame_ms: pair.frame_ms,
        }
    }

    /// Whether the spans of both are at hand.
    pub(super) fn is_ready(&self) -> bool {
        self.heavy.ready && self.light.ready
    }

    /// The plan whose spans are to be built, if any.
    pub(super) fn unready(&self) -> Option<Candidate> {
        [self.heavy, self.light].into_iter().find(|c| !c.ready)
    }
}

/// The best two plans of those that `may` be followed, if they are faster than the `best` one.
pub(super) fn best_mix(
    rated: &[Rated],
    best: &Candidate,
    room: usize,
    is_mixed: bool,
    may: impl Fn(&Candidate) -> bool,
) -> Option<Mix> {
    let candidates = || {
        let kept = rated.iter().filter(|rated| rated.excess <= 0.0);
        kept.map(|rated| &rated.candidate).filter(|&c| may(c))
    };
    let device = candidates().find(|c| c.plan == Plan::Device);
    let mut fastest: Option<Pair<'_>> = None;
    let best_one = Some(best).filter(|&c| may(c));
    for first in [best_one, device].into_iter().flatten() {
        let mut one = first;
        for _ in 0..MAX_ROUNDS {
            let least_ms = fastest.map_or(f64::INFINITY, |pair| pair.frame_ms);
            let Some(pair) = best_partner(one, candidates(), room, least_ms) else {
                break;
            };
            fastest = Some(pair);
            one = if pair.heavy.plan == one.plan {
                pair.light
            } else {
                pair.heavy
            };
        }
    }
    let gain = if is_mixed { 0.0 } else { GAIN };
    let fastest = fastest.filter(|pair| pair.frame_ms * (1.0 + gain) < alone_ms(best, room))?;
    Some(Mix::new(fastest.heavy, fastest.light, room))
}

/// Between two frames of a stream in which all follow one plan, in milliseconds.
pub(super) fn alone_ms(plan: &Candidate, room: usize) -> f64 {
    plan.stage_ms.max(plan.total_ms / room as f64)
}

/// The plan that is fastest together with `one`, if they take less than `least_ms` for a frame.
fn best_partner<'a>(
    one: &'a Candidate,
    candidates: impl Iterator<Item = &'a Candidate>,
    room: usize,
    mut least_ms: f64,
) -> Option<Pair<'a>> {
    let stages = stages_ms(one);
    let mut fastest = None;
    for candidate in candidates {
        if candidate.plan == one.plan {
            continue;
        }
        let others = stages_ms(candidate);
        // Nothing keeps a stage busy for less than the one of the two that wants it less.
        let at_least_ms = (0..STAGES)
            .map(|i| stages[i].min(others[i]))
            .fold(0.0, f64::max);
        if at_least_ms >= least_ms || !share_spans(one, candidate) {
            continue;
        }
        let pair = Pair::new(one, candidate, room);
        if pair.frame_ms < least_ms {
            least_ms = pair.frame_ms;
            fastest = Some(pair);
        }
    }
    fastest
}

/// Two plans that are looked at.
#[derive(Debug, Clone, Copy)]
struct Pair<'a> {
    heavy: &'a Candidate,
    light: &'a Candidate,
    frame_ms: f64,
}

impl<'a> Pair<'a> {
    fn new(a: &'a Candidate, b: &'a Candidate, room: usize) -> Self {
        let (heavy, light) = if a.way_ms() >= b.way_ms() {
            (a, b)
        } else {
            (b, a)
        };
        let (share, stage_ms) = shares(&stages_ms(heavy), &stages_ms(light));
        let mut pair = Self {
            heavy,
            light,
            frame_ms: stage_ms,
        };
        let way_ms = heavy.way_ms();
        let answered_ms = pair.busy_ms() + way_ms;
        let mut frame_ms = stage_ms.max(answered_ms / room as f64);
        if light.plan.uses_server() {
            frame_ms = frame_ms.max(way_ms / MAX_BURST_FRAMES);
        }
        let stalls_ms =
            share * heavy.stall_ms(room, frame_ms) + (1.0 - share) * light.stall_ms(room, frame_ms);
        pair.frame_ms = frame_ms + stalls_ms;
        pair
    }

    /// The device may be about to work on the lighter plan's frame, for as long as which the way is to be busy; and
    /// what is on its way counts until its answer is back.
    fn busy_ms(&self) -> f64 {
        let Self { heavy, light, .. } = self;
        let light_ms = light.device_ms + light.pack_ms;
        light_ms + heavy.remote_ms() - heavy.queue_ms
    }
}

/// What a frame keeps busy: device, uplink and server, in milliseconds.
fn stages_ms(candidate: &Candidate) -> [f64; STAGES] {
    [
        candidate.device_ms + candidate.pack_ms,
        candidate.sending_ms,
        candidate.server_ms,
    ]
}

/// The share of `a` with which the busiest stage is the least busy, and for how long a frame keeps it busy then.
fn shares(a: &[f64; STAGES], b: &[f64; STAGES]) -> (f64, f64) {
    let busiest_ms = |share: f64| {
        let stages = a.iter().zip(b);
        stages
            .map(|(a, b)| share * a + (1.0 - share) * b)
            .fold(0.0, f64::max)
    };
    let mut best = (1.0, busiest_ms(1.0));
    let mut consider = |share: f64| {
        let ms = busiest_ms(share);
        if ms < best.1 {
            best = (share, ms);
        }
    };
    consider(0.0);
    for (i, j) in [(0, 1), (0, 2), (1, 2)] {
        let (gap_b, gap_a) = (b[j] - b[i], a[j] - a[i]);
        let share = gap_b / (gap_b - gap_a);
        if share > 0.0 && share < 1.0 {
            consider(share);
        }
    }
    best
}

/// Whether the spans of one cut are all that two plans need.
fn share_spans(a: &Candidate, b: &Candidate) -> bool {
    match (a.plan.inner_cut(), b.plan.inner_cut()) {
        (Some(a), Some(b)) => a == b,
        _ => true,
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
        may: impl Fn(&Candidate) -> bool,
    ) -> Option<Mix> {
        let rate = |candidate: &Candidate| Rated::new(*candidate, &Limits::default());
        let rated: Vec<Rated> = candidates.iter().map(rate).collect();
        let alone = |c: &&Candidate| alone_ms(c, room);
        let best = candidates
            .iter()
            .min_by(|a, b| alone(a).total_cmp(&alone(b)));
        best_mix(&rated, best.unwrap(), room, false, may)
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
            let mix = mix_of_allowed(&[late, photo], ROOM, |c| c.plan != plan);
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
        #[test]
        fn no_share_is_better(
            a in prop::array::uniform3(0.1_f64..100.0),
            b in prop::array::uniform3(0.1_f64..100.0),
            other in 0.0_f64..=1.0,
        ) {
            let busiest_ms = |share: f64| {
                (0..STAGES).map(|i| share * a[i] + (1.0 - share) * b[i]).fold(0.0, f64::max)
            };
            let (share, ms) = shares(&a, &b);
            prop_assert!((0.0..=1.0).contains(&share));
            prop_assert!((busiest_ms(share) - ms).abs() < 1e-9);
            prop_assert!(ms <= busiest_ms(other) + 1e-9, "{} at {}", busiest_ms(other), other);
        }
    }
}
