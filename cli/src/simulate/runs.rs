//! Runs one policy through a world, and sums up what became of its calls.

use std::collections::HashMap;

use dyno_core::schedule::{Metric, Objective, Plan};

use super::call::{self, Call, Outcome, Policy};
use super::policies::Oracle;
use super::report::{Latency, Summary};
use super::stream::Pipeline;
use super::world::{Photo, World};

/// Most calls of one run.
const MAX_CALLS: usize = 1_000_000;

/// How long a run is, and what counts as good.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Calls begin until then.
    pub(super) duration_ms: f64,
    /// Between an answer and the next call.
    pub(super) pause_ms: f64,
    pub(super) objective: Objective,
}

impl Run {
    /// Every call of `policy`; one after another, or as a stream if throughput is the objective.
    pub(super) fn calls(&self, world: &World, policy: &mut dyn Policy) -> Vec<Outcome> {
        if self.is_stream() {
            return self.stream(world, policy);
        }
        let (mut uplink, mut start_ms) = (policy.uplink(world), 0.0);
        let mut outcomes = Vec::new();
        while start_ms < self.duration_ms && outcomes.len() < MAX_CALLS {
            let call = Call {
                start_ms,
                photo: Photo::number(outcomes.len()),
            };
            let outcome = call::run(world, &mut uplink, policy, call);
            start_ms = outcome.end_ms + self.pause_ms;
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Of the calls that broke a limit, those in which `oracle` would have kept it.
    pub(super) fn avoidable(
        &self,
        world: &World,
        policy: &mut dyn Policy,
        oracle: &mut Oracle,
    ) -> usize {
        if self.is_stream() {
            return 0;
        }
        let (mut uplink, mut start_ms, mut index, mut avoidable) =
            (policy.uplink(world), 0.0, 0, 0);
        while start_ms < self.duration_ms && index < MAX_CALLS {
            let call = Call {
                start_ms,
                photo: Photo::number(index),
            };
            let before = uplink.clone();
            let outcome = call::run(world, &mut uplink, policy, call);
            if self.breaks_limits(&outcome, world) {
                let best = oracle.outcome(world, &before, call);
                avoidable += usize::from(best.is_some_and(|o| !self.breaks_limits(&o, world)));
            }
            start_ms = outcome.end_ms + self.pause_ms;
            index += 1;
        }
        avoidable
    }

    /// What a run comes to.
    pub(super) fn summary(&self, world: &World, outcomes: &[Outcome]) -> Summary {
        let calls = outcomes.len();
        let answered: Vec<&Outcome> = outcomes.iter().filter(|o| o.end_ms.is_finite()).collect();
        let latencies_ms: Vec<f64> = answered.iter().map(|o| o.latency_ms()).collect();
        let mean = |of: &dyn Fn(&Outcome) -> f64| {
            outcomes.iter().map(of).sum::<f64>() / calls.max(1) as f64
        };
        let drops: Option<Vec<f64>> = outcomes
            .iter()
            .map(|outcome| outcome.drop_pp(world))
            .collect();
        let latency_ms = Latency::of(latencies_ms);
        let throughput_fps = if self.is_stream() {
            let end_ms = answered.iter().map(|o| o.end_ms).fold(0.0, f64::max);
            frames_per_second(answered.len(), end_ms)
        } else {
            latency_ms.per_second()
        };
        Summary {
            throughput_fps,
            bytes_mean: mean(&|o| o.bytes as f64),
            server_ms_mean: mean(&Outcome::server_ms),
            accuracy_drop_pp: drops.map(|pp| pp.iter().sum::<f64>() / calls.max(1) as f64),
            limit_violations: outcomes
                .iter()
                .filter(|o| self.breaks_limits(o, world))
                .count(),
            avoidable_violations: None,
            answered: answered.len() as f64 / calls.max(1) as f64,
            calls,
            usual_plan: usual_plan(outcomes),
            latency_ms,
        }
    }

    fn is_stream(&self) -> bool {
        self.objective.first_metric() == Metric::Throughput
    }

    fn stream(&self, world: &World, policy: &mut dyn Policy) -> Vec<Outcome> {
        let mut pipeline = Pipeline::new(policy.uplink(world));
        while pipeline.ready(world, policy) < self.duration_ms && pipeline.frames() < MAX_CALLS {
            let photo = Photo::number(pipeline.frames());
            pipeline.run(world, policy, photo);
        }
        pipeline.finish(world, policy)
    }

    fn breaks_limits(&self, outcome: &Outcome, world: &World) -> bool {
        let limits = &self.objective.limits;
        let over = |value: f64, limit: Option<f64>| limit.is_some_and(|limit| value > limit);
        let drop_pp = outcome.drop_pp(world).unwrap_or(0.0);
        over(outcome.latency_ms(), limits.latency_ms)
            || over(outcome.server_ms(), limits.server_ms)
            || over(outcome.bytes as f64, limits.bytes)
            || over(drop_pp, limits.accuracy_drop_pp)
    }
}

fn frames_per_second(count: usize, ms: f64) -> f64 {
    if ms > 0.0 {
        count as f64 * 1e3 / ms
    } else {
        0.0
    }
}

fn usual_plan(outcomes: &[Outcome]) -> Option<(String, f64)> {
    let mut counts: HashMap<Plan, usize> = HashMap::new();
    for outcome in outcomes {
        *counts.entry(outcome.plan).or_default() += 1;
    }
    // By name where two were followed equally often, so that it is the same each time.
    let named = counts
        .into_iter()
        .map(|(plan, count)| (count, plan.to_string()));
    let (count, name) = named.max()?;
    Some((name, count as f64 / outcomes.len().max(1) as f64))
}
