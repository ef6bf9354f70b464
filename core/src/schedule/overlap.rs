//! How many frames of a stream are under way at once, and what becomes of one that finds the way to the server full.

use std::iter::Sum;

use super::candidate::Candidate;
use super::mix::Mix;
use super::objective::Objective;
use super::plan::Plan;

/// Device, network and server: each may have a frame of a stream, whatever the estimates say.
const STAGES: usize = 3;
/// The device joins in if it takes at most so many times as long for a whole frame as the stream does for one:
/// what is under way then keeps the uplink and the server busy meanwhile.
const JOINS_WITHIN: f64 = 2.0;
/// The lighter of two plans is followed until so many times as much is under way as keeps the way busy with another of
/// the heavier one's frames on it: then nothing comes back, and its frames would only wait as well.
const LIGHT_WITHIN: f64 = 2.0;

/// What a stream does with the next frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    full: Full,
    /// Whether the device answers a frame alone when everything is full and it has nothing to do.
    device_joins: bool,
}

/// When the way to the server is full.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Full {
    /// With so many calls under way.
    Calls(usize),
    /// With so much work under way, in milliseconds; then frames follow the lighter plan, if it uses the server, as
    /// long as there is less than the second number.
    Busy { ms: f64, light: Option<(Plan, f64)> },
}

/// The calls of a stream that use the server and are without their answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct UnderWay {
    /// How many.
    pub calls: usize,
    /// For how long they keep the way to the server busy ([`Candidate::way_ms`]), in all.
    pub way_ms: f64,
}

impl UnderWay {
    /// What a call of which this is expected adds.
    pub fn of(expected: &Candidate) -> Self {
        if !expected.plan.uses_server() {
            return Self::default();
        }
        Self {
            calls: 1,
            way_ms: expected.way_ms(),
        }
    }
}

impl Sum for UnderWay {
    fn sum<I: Iterator<Item = Self>>(calls: I) -> Self {
        calls.fold(Self::default(), |sum, call| Self {
            calls: sum.calls + call.calls,
            way_ms: sum.way_ms + call.way_ms,
        })
    }
}

/// What becomes of the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It follows the plan that was chosen.
    Chosen,
    /// It follows this one.
    Instead(Plan),
    /// It waits for an answer.
    Waits,
}

impl Overlap {
    /// Until anything was planned.
    pub const FIRST: Self = Self {
        full: Full::Calls(STAGES),
        device_joins: false,
    };

    /// What becomes of a frame that finds so much under way.
    pub fn next(&self, under_way: &UnderWay) -> Next {
        match self.full {
            Full::Calls(calls) if under_way.calls < calls => Next::Chosen,
            Full::Busy { ms, .. } if under_way.way_ms < ms => Next::Chosen,
            Full::Busy {
                light: Some((light, most_ms)),
                ..
            } if under_way.way_ms < most_ms => Next::Instead(light),
            _ if self.device_joins => Next::Instead(Plan::Device),
            _ => Next::Waits,
        }
    }

    /// For frames that follow `plan` where `device` is what the device alone would take, if it may.
    ///
    /// The device joins in where frames a second are what is asked for, and no limit is broken by it.
    pub(super) fn of(objective: &Objective, plan: &Candidate, device: Option<&Candidate>) -> Self {
        let is_for_speed = objective.is_for_speed();
        // Waiting for the server does not count, since it is these calls that wait for each other there.
        let call_ms = if is_for_speed {
            plan.p95_ms
        } else {
            plan.total_ms
        };
        let is_as_good =
            |device: &Candidate| objective.keeps_limits(device) || !objective.keeps_limits(plan);
        Self {
            full: Full::Calls(calls_under_way(call_ms - plan.queue_ms, plan.stage_ms)),
            device_joins: is_for_speed
                && plan.plan.uses_server()
                && device.is_some_and(|d| is_as_good(d) && joins(d, plan.stage_ms)),
        }
    }

    /// For frames that follow two plans by turns; all of them, and the device, keep the limits.
    pub(super) fn of_mix(mix: &Mix, device: Option<&Candidate>) -> Self {
        let light = mix.light.plan;
        let most_ms = LIGHT_WITHIN * (mix.busy_ms + mix.heavy.way_ms());
        Self {
            full: Full::Busy {
                ms: mix.busy_ms,
                light: light.uses_server().then_some((light, most_ms)),
            },
            device_joins: !light.uses_server()
                || device.is_some_and(|device| joins(device, mix.frame_ms)),
        }
    }
}

/// Whether the device is fast enough for a stream that takes `frame_ms` for a frame.
fn joins(device: &Candidate, frame_ms: f64) -> bool {
    device.stage_ms <= JOINS_WITHIN * frame_ms
}

/// Calls of `call_ms` that keep busy what needs `stage_ms` for each: as many as it can run in the time of one, and
/// one more.
fn calls_under_way(call_ms: f64, stage_ms: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and what is too much for the type is bounded by whoever asks anyway"
    )]
    let calls = (call_ms / stage_ms) as usize;
    calls.saturating_add(1).max(STAGES)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::schedule::fixtures::manifest;
    use crate::schedule::{
        Codec, Estimates, Levels, LinkPrior, Metric, PhotoCodec, Plan, Precision,
    };

    fn split() -> Plan {
        Plan::Split {
            cut: 2,
            precision: Precision::Levels(Levels::EIGHT_BITS),
            codec: Codec::Zstd,
        }
    }

    /// A call whose slowest stage takes 10 ms, and what the device alone takes.
    fn candidates(total_ms: f64, device_ms: f64) -> (Candidate, Candidate) {
        let estimates = Estimates::new(&manifest(), None, LinkPrior::MOBILE, 1.0);
        let candidate = |plan| estimates.candidate(plan, &[], Instant::now());
        let plan = Candidate {
            total_ms,
            p95_ms: 2.0 * total_ms,
            queue_ms: 0.0,
            stage_ms: 10.0,
            ..candidate(split())
        };
        let device = Candidate {
            total_ms: device_ms,
            p95_ms: device_ms,
            stage_ms: device_ms,
            ..candidate(Plan::Device)
        };
        (plan, device)
    }

    fn overlap(objective: &Objective, total_ms: f64, device_ms: f64) -> Overlap {
        let (plan, device) = candidates(total_ms, device_ms);
        Overlap::of(objective, &plan, Some(&device))
    }

    /// So many calls, each of 10 ms.
    fn under_way(calls: usize) -> UnderWay {
        let call = UnderWay {
            calls: 1,
            way_ms: 10.0,
        };
        std::iter::repeat_n(call, calls).sum()
    }

    /// Calls that begin as chosen before the first that does not, and what becomes of that.
    fn until_full(overlap: &Overlap) -> (usize, Next) {
        let next = |calls| overlap.next(&under_way(calls));
        let full = (0..100).find(|&calls| next(calls) != Next::Chosen);
        let calls = full.expect("fewer than a hundred");
        (calls, next(calls))
    }

    #[test]
    fn as_many_calls_as_the_slowest_stage_runs_in_the_time_of_one() {
        let latency = Objective::minimal(Metric::Latency);
        let calls = |total_ms| until_full(&overlap(&latency, total_ms, 100.0));
        let waits = |calls| (calls, Next::Waits);
        assert_eq!([12.0, 45.0, 90.0].map(calls), [STAGES, 5, 10].map(waits));
        // Where frames are all that counts one call in twenty may take twice as long.
        let speed = Objective::minimal(Metric::Throughput);
        assert_eq!(until_full(&overlap(&speed, 45.0, 100.0)), waits(10));
    }

    #[test]
    fn the_device_joins_in_for_speed_where_it_is_nearly_as_fast() {
        let joins = |overlap: Overlap| until_full(&overlap).1 == Next::Instead(Plan::Device);
        let speed = Objective::minimal(Metric::Throughput);
        assert!(joins(overlap(&speed, 45.0, 20.0)));
        assert!(!joins(overlap(&speed, 45.0, 21.0)));
        let onloading = Objective::default();
        assert!(!joins(overlap(&onloading, 45.0, 20.0)));
        let (plan, device) = candidates(45.0, 20.0);
        // It is the device's turn anyway, or never.
        assert!(!joins(Overlap::of(&speed, &device, Some(&device))));
        assert!(!joins(Overlap::of(&speed, &plan, None)));
    }

    #[test]
    fn a_device_that_breaks_a_limit_does_not_join_in_where_the_plan_keeps_it() {
        let mut objective = Objective::minimal(Metric::Throughput);
        objective.limits.latency_ms = Some(19.0);
        assert!(!overlap(&objective, 9.0, 20.0).device_joins);
        assert!(overlap(&objective, 45.0, 20.0).device_joins, "neither does");
    }

    #[test]
    fn of_two_plans_the_heavier_goes_first_then_the_lighter_then_the_device() {
        let (plan, device) = candidates(45.0, 20.0);
        let light = Candidate {
            plan: Plan::Photo(PhotoCodec::Ppm),
            ..plan
        };
        let mix = |light| Mix {
            heavy: Candidate {
                sending_ms: 5.0,
                server_ms: 1.0,
                ..plan
            },
            light,
            busy_ms: 35.0,
            frame_ms: 10.0,
        };
        let of_two = Overlap::of_mix(&mix(light), Some(&device));
        assert_eq!(until_full(&of_two), (4, Next::Instead(light.plan)));
        // Up to twice what keeps the way busy while another of the heavier ones is on it.
        assert_eq!(of_two.next(&under_way(7)), Next::Instead(light.plan));
        assert_eq!(of_two.next(&under_way(8)), Next::Instead(Plan::Device));
        assert_eq!(
            Overlap::of_mix(&mix(light), None).next(&under_way(8)),
            Next::Waits
        );
        let beside_the_device = Overlap::of_mix(&mix(device), Some(&device));
        assert_eq!(
            until_full(&beside_the_device),
            (4, Next::Instead(Plan::Device))
        );
    }
}
