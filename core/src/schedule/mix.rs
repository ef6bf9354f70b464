//! Two plans for the frames of one stream: one of them leaves idle what the other wants most.
//!
//! A stream whose frames all follow one plan runs at the pace of that plan's slowest stage, while the others
//! wait. Frames that follow another plan may use them: late cuts beside photos, or the device alone beside the
//! server. In which shares two plans are fastest together is a linear programme with one row for each stage; its
//! optimum lies where two stages are equally busy. The spans of one cut are at hand at a time, so both plans are
//! cut there or nowhere.

use super::candidate::Candidate;

/// A frame that others wait behind keeps the way busy for so many frames at most: what a link does next is not
/// known for longer.
const MAX_BURST_FRAMES: f64 = 4.0;
/// Device, uplink and server.
pub(super) const STAGES: usize = 3;

/// Two plans that frames of a stream follow by turns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mix {
    /// The one that takes the device less time, and keeps the way to the server busier for it: followed while there is
    /// room on that.
    pub(super) heavy: Candidate,
    /// The other, for frames that find the way full: it empties while the device is at them.
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
        Self::of(&Pair::new(a, b, room))
    }

    /// The two plans that were looked at.
    pub(super) fn of(pair: &Pair<'_>) -> Self {
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

/// Between two frames of a stream in which all follow one plan, in milliseconds.
pub(super) fn alone_ms(plan: &Candidate, room: usize) -> f64 {
    plan.stage_ms.max(plan.total_ms / room as f64)
}

/// Two plans that are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    heavy: &'a Candidate,
    light: &'a Candidate,
    /// Between two frames, in milliseconds.
    pub(super) frame_ms: f64,
}

impl<'a> Pair<'a> {
    pub(super) fn new(a: &'a Candidate, b: &'a Candidate, room: usize) -> Self {
        let (of_a, of_b) = (stages_ms(a), stages_ms(b));
        let ((heavy, of_heavy), (light, of_light)) = if fills_the_way(&of_a, &of_b) {
            ((a, of_a), (b, of_b))
        } else {
            ((b, of_b), (a, of_a))
        };
        let (share, stage_ms) = shares(&of_heavy, &of_light);
        let mut pair = Self {
            heavy,
            light,
            frame_ms: stage_ms,
        };
        let way_ms = heavy.way_ms().max(light.way_ms());
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
pub(super) fn stages_ms(candidate: &Candidate) -> [f64; STAGES] {
    [
        candidate.device_ms + candidate.pack_ms,
        candidate.sending_ms,
        candidate.server_ms,
    ]
}

/// Whether frames that keep the stages busy for as long as `a` are to fill the way to the server, and those of `b` to let it become
/// empty again: those take the device longer. (If it were the other way round, and they took the way longer as well, the way would
/// never be full, and no frame would follow `b`.)
fn fills_the_way(a: &[f64; STAGES], b: &[f64; STAGES]) -> bool {
    let [a_ms, a_way @ ..] = a;
    let [b_ms, b_way @ ..] = b;
    let way_ms = |stages: &[f64]| stages.iter().copied().fold(0.0, f64::max);
    a_ms < b_ms || (a_ms.total_cmp(b_ms).is_eq() && way_ms(a_way) >= way_ms(b_way))
}

/// What a frame that follows a plan asks of the stages.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Load {
    /// For how long it keeps device, uplink and server busy, in milliseconds.
    pub(super) stages_ms: [f64; STAGES],
    /// From sending until the answer is there, but for waiting at the server.
    pub(super) remote_ms: f64,
}

impl Load {
    pub(super) fn of(candidate: &Candidate) -> Self {
        Self {
            stages_ms: stages_ms(candidate),
            remote_ms: candidate.remote_ms() - candidate.queue_ms,
        }
    }

    const fn way_ms(&self) -> f64 {
        let [_, sending_ms, server_ms] = self.stages_ms;
        sending_ms.max(server_ms)
    }

    /// Whether a frame takes `least_ms` or longer in whichever shares of this plan and of one that asks for `least` or more
    /// ([`Pair::new`]).
    pub(super) fn is_no_faster_with(&self, least: &Self, room: usize, least_ms: f64) -> bool {
        // Nothing keeps a stage busy for less than the plan that wants it less.
        let mut both = self.stages_ms.iter().zip(&least.stages_ms);
        if both.any(|(&one, &other)| one >= least_ms && other >= least_ms) {
            return true;
        }
        let ([one_ms, ..], [other_ms, ..]) = (self.stages_ms, least.stages_ms);
        let way_ms = self.way_ms().max(least.way_ms());
        // The other one takes the device longer, or this one does.
        let as_heavy_ms = (one_ms.max(other_ms) + self.remote_ms + way_ms) / room as f64;
        let as_light_ms = if other_ms > one_ms {
            f64::INFINITY
        } else {
            (one_ms + least.remote_ms + way_ms) / room as f64
        };
        if as_heavy_ms.max(one_ms).min(as_light_ms) >= least_ms {
            return true;
        }
        let (_, busiest_ms) = shares(&self.stages_ms, &least.stages_ms);
        busiest_ms >= least_ms
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
