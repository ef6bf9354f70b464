//! The oracle: knows this photo's bytes and times, and what the link will do, before it chooses.

use dyno_core::schedule::{Candidate, Network, Objective, Plan, Power};

use crate::simulate::call::{Call, Outcome, Policy, follow};
use crate::simulate::uplink::{Uplink, carried_ms};
use crate::simulate::world::World;

/// Calls that a limit of the latency lets be late.
const LATE_SHARE: f64 = 0.05;

/// Runs every plan in its mind, and follows the best.
#[derive(Debug)]
pub(in crate::simulate) struct Oracle {
    plans: Vec<Plan>,
    objective: Objective,
    candidates: Vec<Candidate>,
}

impl Oracle {
    /// `template` gives what no plan needs.
    pub(in crate::simulate) fn new(plans: Vec<Plan>, objective: Objective) -> Self {
        Self {
            candidates: Vec::with_capacity(plans.len()),
            plans,
            objective,
        }
    }

    /// The best plan for a call, as it will truly be.
    pub(in crate::simulate) fn best(
        &mut self,
        world: &World,
        uplink: &Uplink,
        call: Call,
    ) -> Option<Candidate> {
        self.candidates.clear();
        for &plan in &self.plans {
            let opened = opened(world, uplink, plan, call);
            self.candidates.push(truly(world, &opened, plan, call));
        }
        self.objective.best_of(&self.candidates).copied()
    }

    /// What becomes of a call that follows the best plan.
    pub(in crate::simulate) fn outcome(
        &mut self,
        world: &World,
        uplink: &Uplink,
        call: Call,
    ) -> Option<Outcome> {
        let plan = self.best(world, uplink, call)?.plan;
        let mut opened = opened(world, uplink, plan, call);
        let followed = follow(world, &mut opened, plan, true, call, |_, _, _| None);
        Some(followed.whole())
    }
}

impl Policy for Oracle {
    fn looks_again(&self) -> bool {
        true
    }

    fn decide(&mut self, world: &World, uplink: &mut Uplink, call: Call) -> Plan {
        let best = self.best(world, uplink, call);
        best.map_or(Plan::Device, |candidate| candidate.plan)
    }
}

/// Whoever stays with a plan finds the connection open but for the first time: an oracle that looks one call ahead
/// would never open it.
fn opened(world: &World, uplink: &Uplink, plan: Plan, call: Call) -> Uplink {
    uplink.opened(call.start_ms + world.truth(&plan, call.photo).head_ms)
}

/// What a plan will cost. Whether an answer will be in doubt nobody knows before it is there: what either case costs
/// counts for its share.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes of a call: not negative and small"
)]
fn truly(world: &World, uplink: &Uplink, plan: Plan, call: Call) -> Candidate {
    let case = |is_in_doubt| {
        let photo = call.photo.in_doubt(is_in_doubt);
        one_case(world, uplink, plan, Call { photo, ..call })
    };
    let clear = case(false);
    let Some(look) = world.facts(&plan).second_look else {
        return clear;
    };
    let doubted = case(true);
    let mean = |of: fn(&Candidate) -> f64| of(&clear) + look.share * (of(&doubted) - of(&clear));
    let compute_ms = mean(|c| c.device_ms + c.pack_ms);
    let (sending_ms, server_ms) = (mean(|c| c.sending_ms), mean(|c| c.server_ms));
    Candidate {
        device_ms: mean(|c| c.device_ms),
        pack_ms: mean(|c| c.pack_ms),
        network_ms: mean(|c| c.network_ms),
        server_ms,
        total_ms: mean(|c| c.total_ms),
        twice_ms: doubted.total_ms,
        p95_ms: if look.share > LATE_SHARE {
            doubted.p95_ms
        } else {
            clear.p95_ms
        },
        sending_ms,
        stage_ms: compute_ms.max(sending_ms).max(server_ms),
        bytes: mean(|c| c.bytes as f64).ceil() as usize,
        energy_mj: mean(|c| c.energy_mj),
        ..clear
    }
}

/// What a plan will cost, with the answer in doubt or not.
fn one_case(world: &World, uplink: &Uplink, plan: Plan, call: Call) -> Candidate {
    let followed = follow(world, &mut uplink.clone(), plan, true, call, |_, _, _| None);
    let outcome = followed.whole();
    let truth = world.truth(&plan, call.photo);
    let latency_ms = outcome.latency_ms();
    let resumed_ms = outcome.resumed.map_or(0.0, |(_, _, ms)| ms);
    let compute_ms = truth.head_ms + outcome.pack_ms + resumed_ms;
    let server_ms = outcome.server_ms();
    let remote_ms = latency_ms - compute_ms;
    let sending_ms = outcome.request.map_or(0.0, |request| {
        carried_ms(&world.trace, request.sent_ms, outcome.bytes as f64) - request.sent_ms
    });
    let rate_bps = world.recent_rate_bps(call.start_ms);
    Candidate {
        plan,
        device_ms: truth.head_ms + resumed_ms,
        pack_ms: outcome.pack_ms,
        network_ms: (remote_ms - server_ms).max(0.0),
        queue_ms: 0.0,
        server_ms,
        total_ms: latency_ms,
        p95_ms: latency_ms,
        twice_ms: latency_ms,
        sending_ms,
        stage_ms: compute_ms.max(sending_ms).max(server_ms),
        bytes: outcome.bytes,
        first_bytes: followed.first.bytes,
        energy_mj: Power::new(Network::default(), rate_bps).energy_mj(
            compute_ms,
            sending_ms,
            (remote_ms - sending_ms).max(0.0),
        ),
        accuracy_drop_pp: world.facts(&plan).drop_pp,
        ready: true,
        second_look: None,
        again_share: 0.0,
    }
}
