//! DynO itself: the planner and the estimators of the client, in virtual time.

use std::time::{Duration, Instant};

use dyno_core::schedule::{
    Estimates, LinkSample, Objective, Overlap, PROBE_BYTES, Patience, Plan, Planner, Probing,
    SpacePlan,
};

use crate::simulate::call::{Call, Outcome, Policy, Request};
use crate::simulate::uplink::Uplink;
use crate::simulate::world::World;

/// Making a session takes so many inferences (`docs/benchmarks.md`).
const BUILD_INFERENCES: f64 = 3.0;
/// A probe without an answer is given up after this long.
const PROBE_TIMEOUT_MS: f64 = 6_000.0;
/// Late answers on their way at once.
const MAX_LATE: usize = 4;

/// The client's planner, and what it will learn when the time has come.
#[derive(Debug)]
pub(in crate::simulate) struct Dyno {
    planner: Planner,
    epoch: Instant,
    device_ms: f64,
    last_cut: usize,
    /// The cut whose spans are at hand, the one that is being built, and until when.
    ready: usize,
    building: Option<(usize, f64)>,
    late: Vec<Outcome>,
    probing: Probing,
    probe_bytes: usize,
    overlap: Option<Overlap>,
}

impl Dyno {
    pub(in crate::simulate) fn new(
        plans: &[SpacePlan],
        estimates: Estimates,
        objective: Objective,
        world: &World,
    ) -> Self {
        Self {
            planner: Planner::new(plans, estimates, objective),
            epoch: Instant::now(),
            device_ms: world.device_ms(),
            last_cut: world.last_cut,
            ready: 0,
            building: None,
            late: Vec::with_capacity(MAX_LATE),
            probing: Probing::default(),
            probe_bytes: 0,
            overlap: None,
        }
    }

    /// What `Client::warm_up` does before the first call: opens the connection, times a round trip,
    /// sends a probe over the link as it is at first, runs the model once, and builds the spans of the best plan.
    pub(in crate::simulate) fn warm_up(&mut self, world: &World) {
        let mut uplink = world.uplink().opened(0.0);
        let sent = uplink.send(&world.trace, 0.0, PROBE_BYTES);
        let wall_ms = sent.last_ms + world.rtt_ms;
        let link = &mut self.planner.estimates_mut().link;
        link.connected(Some(world.rtt_ms), self.epoch);
        if wall_ms <= PROBE_TIMEOUT_MS {
            let receive_ms = sent.last_ms - sent.first_ms;
            link.answered(LinkSample {
                bytes: PROBE_BYTES,
                others: 0,
                sent: self.epoch,
                wall_ms,
                receive_ms,
                server_ms: receive_ms,
            });
        }
        let device = &mut self.planner.estimates_mut().device;
        device.observe(0, self.last_cut, self.device_ms, self.epoch);
        let ready_cuts = [0, self.last_cut];
        if let Plan::Split { cut, .. } = self.planner.would_choose(&ready_cuts, self.epoch) {
            self.ready = cut;
        }
    }

    fn at(&self, at_ms: f64) -> Instant {
        let since = Duration::try_from_secs_f64(at_ms / 1e3).unwrap_or_default();
        self.epoch + since
    }

    /// Takes in the answers, late ones too, that have come by `now_ms`.
    fn catch_up(&mut self, now_ms: f64) {
        let came = |outcome: &Outcome| outcome.request.is_some_and(|r| r.end_ms <= now_ms);
        while let Some(index) = self.late.iter().position(came) {
            let outcome = self.late.remove(index);
            self.learn_remote(&outcome);
        }
        if let Some((cut, until_ms)) = self.building
            && until_ms <= now_ms
        {
            self.ready = cut;
            self.building = None;
        }
    }

    /// Sends a probe along with a call.
    fn probe(&mut self, world: &World, uplink: &mut Uplink, start_ms: f64) {
        let sent = uplink.send(&world.trace, start_ms, PROBE_BYTES);
        let answered_ms = sent.last_ms + world.rtt_ms;
        let answered = answered_ms - start_ms <= PROBE_TIMEOUT_MS;
        let request = Request {
            sent_ms: start_ms,
            end_ms: answered_ms.min(start_ms + PROBE_TIMEOUT_MS),
            answered,
            receive_ms: sent.last_ms - sent.first_ms,
            unpack_ms: 0.0,
            tail_ms: 0.0,
        };
        if !answered {
            uplink.abandon(&world.trace, request.end_ms);
        }
        self.probe_bytes += PROBE_BYTES;
        self.remember(Outcome {
            plan: Plan::Device,
            start_ms,
            end_ms: request.end_ms,
            bytes: PROBE_BYTES,
            pack_ms: 0.0,
            head: None,
            resumed: None,
            request: Some(request),
        });
    }

    /// Keeps what will only be known when its answer comes.
    fn remember(&mut self, outcome: Outcome) {
        if self.late.len() == MAX_LATE {
            self.late.remove(0);
        }
        self.late.push(outcome);
    }

    fn learn_remote(&mut self, outcome: &Outcome) {
        let Some(request) = outcome.request else {
            return;
        };
        let (sent, end) = (self.at(request.sent_ms), self.at(request.end_ms));
        let estimates = self.planner.estimates_mut();
        if !request.answered {
            estimates.link.late(outcome.bytes, sent, end);
            return;
        }
        let server_ms = request.receive_ms + request.unpack_ms + request.tail_ms;
        estimates.link.answered(LinkSample {
            bytes: outcome.bytes,
            others: 0,
            sent,
            wall_ms: request.end_ms - request.sent_ms,
            receive_ms: request.receive_ms,
            server_ms,
        });
        if !outcome.plan.uses_server() {
            return;
        }
        estimates.served(&outcome.plan, request.unpack_ms, 0.0, request.tail_ms, end);
    }
}

impl Policy for Dyno {
    fn decide(&mut self, world: &World, uplink: &mut Uplink, call: Call) -> Plan {
        self.catch_up(call.start_ms);
        let ready_cuts = [0, self.ready, self.last_cut];
        let now = self.at(call.start_ms);
        let choice = self.planner.choose(&ready_cuts, now);
        if !choice.best.ready
            && let Plan::Split { cut, .. } = choice.best.plan
            && self.building.is_none_or(|(building, _)| building != cut)
        {
            let until_ms = call.start_ms + BUILD_INFERENCES * self.device_ms;
            self.building = Some((cut, until_ms));
        }
        let plan = choice.runnable.plan;
        self.overlap = Some(self.planner.overlap(&choice.runnable, &ready_cuts, now));
        if self
            .probing
            .is_due(&mut self.planner, &choice.runnable, &ready_cuts, now)
        {
            self.probe(world, uplink, call.start_ms);
        }
        plan
    }

    fn overlap(&self) -> Option<Overlap> {
        self.overlap
    }

    fn other_bytes(&mut self) -> usize {
        std::mem::take(&mut self.probe_bytes)
    }

    fn patience(
        &mut self,
        plan: &Plan,
        bytes: usize,
        sent_ms: f64,
        used_ms: f64,
    ) -> Option<Patience> {
        let now = self.at(sent_ms);
        self.planner.estimates_mut().sent(bytes, now);
        Some(self.planner.patience(plan, bytes, used_ms, now))
    }

    fn learn(&mut self, outcome: &Outcome) {
        let now = self.at(outcome.end_ms);
        let estimates = self.planner.estimates_mut();
        for (from, to, ms) in outcome.head.into_iter().chain(outcome.resumed) {
            estimates.device.observe(from, to, ms, now);
        }
        if outcome.plan.uses_server() {
            estimates.packed(&outcome.plan, outcome.bytes, outcome.pack_ms, now);
        }
        if outcome.request.is_some() {
            self.remember(*outcome);
        }
        self.catch_up(outcome.end_ms);
    }
}
