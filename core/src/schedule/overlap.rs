//! How many frames of a stream are under way at once, and when the device answers some of them by itself.

use super::cost::Candidate;
use super::objective::{Metric, Objective};

/// Device, network and server: each may have a frame of a stream, whatever the estimates say.
const STAGES: usize = 3;
/// The device joins in if it takes at most so many times as long for a whole frame as the plan's slowest
/// stage: what is under way then keeps the uplink and the server busy meanwhile.
const JOINS_WITHIN: f64 = 2.0;

/// What a stream does with the next frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Calls under way that use the server, or are on their way to it.
    pub remote_calls: usize,
    /// Whether the device answers a frame alone when there are that many and it has nothing to do.
    pub device_joins: bool,
}

impl Overlap {
    /// Until anything was planned.
    pub const FIRST: Self = Self {
        remote_calls: STAGES,
        device_joins: false,
    };

    /// For frames that follow `plan` where `device` is what the device alone would take.
    ///
    /// As many calls keep the slowest stage busy as it can run in the time of one, and one more. Waiting
    /// for the server does not count, since it is these calls that wait for each other there.
    ///
    /// The device joins in where frames a second are what is asked for, and no limit is broken by it.
    pub(super) fn of(objective: &Objective, plan: &Candidate, device: &Candidate) -> Self {
        let is_for_speed = objective.first_metric() == Metric::Throughput;
        let call_ms = if is_for_speed {
            plan.p95_ms
        } else {
            plan.total_ms
        };
        let calls = (call_ms - plan.queue_ms) / plan.stage_ms;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and what is too much for the type is bounded by whoever asks anyway"
        )]
        let calls = calls as usize;
        let is_as_good = objective.keeps_limits(device) || !objective.keeps_limits(plan);
        Self {
            remote_calls: calls.saturating_add(1).max(STAGES),
            device_joins: is_for_speed
                && plan.plan.uses_server()
                && is_as_good
                && device.stage_ms <= JOINS_WITHIN * plan.stage_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::schedule::fixtures::manifest;
    use crate::schedule::{Codec, Estimates, Levels, LinkPrior, Plan, Precision};

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
        Overlap::of(objective, &plan, &device)
    }

    #[test]
    fn as_many_calls_as_the_slowest_stage_runs_in_the_time_of_one() {
        let latency = Objective::minimal(Metric::Latency);
        let calls = |total_ms| overlap(&latency, total_ms, 100.0).remote_calls;
        assert_eq!([12.0, 45.0, 90.0].map(calls), [STAGES, 5, 10]);
        // Where frames are all that counts one call in twenty may take twice as long.
        let speed = Objective::minimal(Metric::Throughput);
        assert_eq!(overlap(&speed, 45.0, 100.0).remote_calls, 10);
    }

    #[test]
    fn the_device_joins_in_for_speed_where_it_is_nearly_as_fast() {
        let speed = Objective::minimal(Metric::Throughput);
        assert!(overlap(&speed, 45.0, 20.0).device_joins);
        assert!(!overlap(&speed, 45.0, 21.0).device_joins);
        let onloading = Objective::default();
        assert!(!overlap(&onloading, 45.0, 20.0).device_joins);
        // It is the device's turn anyway.
        let (_, device) = candidates(45.0, 20.0);
        assert!(!Overlap::of(&speed, &device, &device).device_joins);
    }

    #[test]
    fn a_device_that_breaks_a_limit_does_not_join_in_where_the_plan_keeps_it() {
        let mut objective = Objective::minimal(Metric::Throughput);
        objective.limits.latency_ms = Some(19.0);
        assert!(!overlap(&objective, 9.0, 20.0).device_joins);
        assert!(overlap(&objective, 45.0, 20.0).device_joins, "neither does");
    }
}
