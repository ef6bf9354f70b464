//! The rivals, each with what it is given: the true times of device and server, the true round trip,
//! and (but for the paper's own estimator) the true mean rate of the last second.

use dyno_core::schedule::{Metric, Objective, Plan};

use crate::simulate::call::{Call, Outcome, Policy};
use crate::simulate::uplink::Uplink;
use crate::simulate::world::{Facts, World};

/// One plan for ever.
#[derive(Debug)]
pub(in crate::simulate) struct Fixed(pub(in crate::simulate) Plan);

impl Policy for Fixed {
    fn decide(&mut self, _world: &World, _uplink: &mut Uplink, _call: Call) -> Plan {
        self.0
    }
}

/// One plan of `DynO`'s space for ever, with the second look that it has there.
#[derive(Debug)]
pub(in crate::simulate) struct FixedOfSpace(pub(in crate::simulate) Plan);

impl Policy for FixedOfSpace {
    fn looks_again(&self) -> bool {
        true
    }

    fn decide(&mut self, _world: &World, _uplink: &mut Uplink, _call: Call) -> Plan {
        self.0
    }
}

/// The plan of least latency at the rate of the last second: Neurosurgeon (Kang et al., ASPLOS 2017)
/// over fp32 activations, JALAD (Li et al., ICPADS 2018) over cuts and bits.
#[derive(Debug)]
pub(in crate::simulate) struct Rival {
    pub(in crate::simulate) plans: Vec<Plan>,
}

impl Policy for Rival {
    fn decide(&mut self, world: &World, _uplink: &mut Uplink, call: Call) -> Plan {
        let rate_bps = world.recent_rate_bps(call.start_ms);
        least(&self.plans, world, |facts| {
            total_ms(facts, world.rtt_ms, rate_bps)
        })
    }
}

/// `DynO` as published (Almeida et al. 2022): cut and bits by a moving average of the throughput that
/// requests saw, for latency or throughput; waits for its answers however long they take.
#[derive(Debug)]
pub(in crate::simulate) struct PaperDyno {
    pub(in crate::simulate) plans: Vec<Plan>,
    pub(in crate::simulate) objective: Objective,
    pub(in crate::simulate) rate_bps: f64,
}

/// Weight of the newest throughput in the paper's moving average.
const PAPER_WEIGHT: f64 = 0.3;

impl Policy for PaperDyno {
    fn decide(&mut self, world: &World, _uplink: &mut Uplink, _call: Call) -> Plan {
        let of_stream = self.objective.first_metric() == Metric::Throughput;
        least(&self.plans, world, |facts| {
            if of_stream {
                stage_ms(facts, self.rate_bps)
            } else {
                total_ms(facts, world.rtt_ms, self.rate_bps)
            }
        })
    }

    fn learn(&mut self, outcome: &Outcome) {
        if let Some(request) = outcome.request
            && request.answered
            && request.receive_ms > 0.0
        {
            let rate_bps = outcome.bytes as f64 * 8e3 / request.receive_ms;
            self.rate_bps += PAPER_WEIGHT * (rate_bps - self.rate_bps);
        }
    }
}

fn least(plans: &[Plan], world: &World, cost: impl Fn(&Facts) -> f64) -> Plan {
    let facts = plans.iter().map(|plan| world.facts(plan));
    let costs = facts.map(|facts| (facts.plan, cost(&facts)));
    costs
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(Plan::Device, |(plan, _)| plan)
}

fn total_ms(facts: &Facts, rtt_ms: f64, rate_bps: f64) -> f64 {
    if !facts.plan.uses_server() {
        return facts.head_ms;
    }
    let sending_ms = facts.bytes * 8e3 / rate_bps.max(1.0);
    facts.head_ms + facts.pack_ms + rtt_ms + sending_ms + facts.unpack_ms + facts.tail_ms
}

fn stage_ms(facts: &Facts, rate_bps: f64) -> f64 {
    let sending_ms = facts.bytes * 8e3 / rate_bps.max(1.0);
    (facts.head_ms + facts.pack_ms)
        .max(sending_ms)
        .max(facts.unpack_ms + facts.tail_ms)
}
