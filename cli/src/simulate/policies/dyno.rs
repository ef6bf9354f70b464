//! DynO itself: the planner and the estimators of the client, in virtual time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dyno_core::client::MAX_IN_FLIGHT;
use dyno_core::schedule::{
    Choice, Estimates, FIRST_PROBE_BYTES, InFlight, LinkSample, Next, OPENING_PROBE_BYTES,
    Objective, Overlap, Patience, Plan, Planner, Probing, SpacePlan, Ticket, UnderWay,
    opening_probe_is_worth_it,
};

use crate::simulate::call::{Call, Outcome, Policy, Request, Sending};
use crate::simulate::uplink::Uplink;
use crate::simulate::world::World;

/// Making a session takes so many inferences (`docs/benchmarks.md`).
const BUILD_INFERENCES: f64 = 3.0;
/// While warming up, a probe without an answer is given up after this long, ...
const WARM_UP_PROBE_TIMEOUT_MS: f64 = 1_000.0;
/// ... and later after this long.
const PROBE_TIMEOUT_MS: f64 = 6_000.0;
/// Answers on their way at once: those of a stream, and late ones and probes.
const MAX_AWAITED: usize = MAX_IN_FLIGHT + 8;

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
    in_flight: InFlight,
    /// Places of messages that were sent, of which it is not known yet what became of them.
    tickets: VecDeque<Ticket>,
    /// Messages whose answers have not come yet.
    awaited: Vec<Awaited>,
    /// Those of them that the device has not answered yet either, though it will.
    resumed: Vec<Awaited>,
    probing: Probing,
    probe_bytes: usize,
    overlap: Option<Overlap>,
    /// As warming up leaves it.
    uplink: Uplink,
}

/// What became of a message, which nobody knows before its end.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    outcome: Outcome,
    request: Request,
    ticket: Ticket,
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
            in_flight: InFlight::default(),
            tickets: VecDeque::new(),
            awaited: Vec::new(),
            resumed: Vec::new(),
            probing: Probing::default(),
            probe_bytes: 0,
            overlap: None,
            uplink: world.uplink(),
        }
    }

    /// What `Client::warm_up` does before the first call: opens the connection, times a round trip,
    /// sends a probe or two over the link as it is at first, runs the model once, and builds the spans of the best plan.
    pub(in crate::simulate) fn warm_up(&mut self, world: &World) {
        self.send_first_probes(world);
        let device = &mut self.planner.estimates_mut().device;
        device.observe(0, self.last_cut, self.device_ms, self.epoch);
        let ready_cuts = [0, self.last_cut];
        if let Plan::Split { cut, .. } = self.planner.would_choose(&ready_cuts, self.epoch) {
            self.ready = cut;
        }
    }

    /// Times a round trip and a probe, and opens the connection's window by a larger one where that is worth it.
    fn send_first_probes(&mut self, world: &World) {
        let mut uplink = world.uplink();
        let link = &mut self.planner.estimates_mut().link;
        link.connected(Some(world.rtt_ms), self.epoch);
        let (mut at_ms, mut bytes) = (0.0, FIRST_PROBE_BYTES);
        loop {
            let sent = uplink.send(&world.trace, at_ms, bytes);
            let wall_ms = sent.last_ms + world.rtt_ms - at_ms;
            if wall_ms > WARM_UP_PROBE_TIMEOUT_MS {
                return;
            }
            let receive_ms = sent.last_ms - sent.first_ms;
            link.answered(LinkSample {
                bytes,
                others: 0,
                sent: self.epoch,
                wall_ms,
                receive_ms,
                server_ms: receive_ms,
            });
            if bytes == OPENING_PROBE_BYTES || !opening_probe_is_worth_it(link, self.epoch) {
                break;
            }
            (at_ms, bytes) = (at_ms + wall_ms, OPENING_PROBE_BYTES);
        }
        self.uplink = uplink.idle_from_the_start();
    }

    fn ready_cuts(&self) -> [usize; 3] {
        [0, self.ready, self.last_cut]
    }

    /// Has built what `choice` asks for, and sends a probe along if one is due.
    fn begin(&mut self, world: &World, uplink: &mut Uplink, call: Call, choice: &Choice) {
        if let Some(cut) = choice.cut_to_build()
            && self.building.is_none_or(|(building, _)| building != cut)
        {
            let until_ms = call.start_ms + BUILD_INFERENCES * self.device_ms;
            self.building = Some((cut, until_ms));
        }
        let (ready_cuts, now) = (self.ready_cuts(), self.at(call.start_ms));
        let planner = &mut self.planner;
        let due = self
            .probing
            .due(planner, &choice.runnable, &ready_cuts, now);
        if let Some(bytes) = due {
            self.probe(world, uplink, call.start_ms, bytes);
        }
    }

    fn at(&self, at_ms: f64) -> Instant {
        let since = Duration::try_from_secs_f64(at_ms / 1e3).unwrap_or_default();
        self.epoch + since
    }

    /// Takes in what has come to its end by `now_ms`, in the order of time.
    fn catch_up(&mut self, now_ms: f64) {
        loop {
            let resumed = first(&self.resumed, |one| one.outcome.end_ms);
            let answered = first(&self.awaited, |one| one.request.end_ms);
            match (resumed, answered) {
                (Some((index, at_ms)), other)
                    if at_ms <= now_ms && other.is_none_or(|(_, other_ms)| at_ms <= other_ms) =>
                {
                    let one = self.resumed.swap_remove(index);
                    self.learn_of_going_on(&one);
                }
                (_, Some((index, at_ms))) if at_ms <= now_ms => {
                    let one = self.awaited.swap_remove(index);
                    self.learn_remote(&one);
                }
                _ => break,
            }
        }
        if let Some((cut, until_ms)) = self.building
            && until_ms <= now_ms
        {
            self.ready = cut;
            self.building = None;
        }
    }

    /// Sends a probe of `bytes` along with a call.
    fn probe(&mut self, world: &World, uplink: &mut Uplink, start_ms: f64, bytes: usize) {
        let sent = uplink.send(&world.trace, start_ms, bytes);
        let answered_ms = sent.last_ms + world.rtt_ms;
        let answered = answered_ms - start_ms <= PROBE_TIMEOUT_MS;
        let request = Request {
            sent_ms: start_ms,
            end_ms: answered_ms.min(start_ms + PROBE_TIMEOUT_MS),
            answered,
            receive_ms: sent.last_ms - sent.first_ms,
            queue_ms: 0.0,
            unpack_ms: 0.0,
            tail_ms: 0.0,
        };
        if !answered {
            uplink.abandon(&world.trace, request.end_ms);
        }
        self.probe_bytes += bytes;
        let outcome = Outcome {
            plan: Plan::Device,
            start_ms,
            end_ms: request.end_ms,
            bytes,
            pack_ms: 0.0,
            head: None,
            resumed: None,
            request: Some(request),
            looks_again: true,
        };
        let ticket = self.sends(None, bytes, start_ms);
        self.wait_for(&Awaited {
            outcome,
            request,
            ticket,
        });
    }

    /// A message is sent; its place among those under way.
    fn sends(&mut self, plan: Option<&Plan>, bytes: usize, at_ms: f64) -> Ticket {
        let now = self.at(at_ms);
        let estimates = self.planner.estimates();
        self.in_flight.send(bytes, plan, estimates, now)
    }

    /// Keeps what will only be known when its answer comes.
    fn wait_for(&mut self, one: &Awaited) {
        if self.awaited.len() == MAX_AWAITED {
            self.awaited.remove(0);
        }
        self.awaited.push(*one);
    }

    /// The device has answered, and the request may go on.
    fn learn_of_going_on(&mut self, one: &Awaited) {
        let Awaited {
            outcome, request, ..
        } = one;
        let now = self.at(outcome.end_ms);
        if let Some((from, to, ms)) = outcome.resumed {
            let device = &mut self.planner.estimates_mut().device;
            device.observe(from, to, ms, now);
        }
        if request.end_ms > outcome.end_ms {
            let (sent, others) = (self.at(request.sent_ms), self.others(&one.ticket, now));
            let link = &mut self.planner.estimates_mut().link;
            link.goes_on(outcome.bytes + others, sent, now);
        }
    }

    /// Bytes of others that share the uplink with a message.
    fn others(&self, ticket: &Ticket, now: Instant) -> usize {
        let rate_bps = self.planner.estimates().link.rate_bps(now);
        self.in_flight.others(ticket, rate_bps)
    }

    fn learn_remote(&mut self, one: &Awaited) {
        let Awaited {
            outcome,
            request,
            ticket,
        } = one;
        let (sent, end) = (self.at(request.sent_ms), self.at(request.end_ms));
        let others = self.others(ticket, end);
        self.in_flight.ended(ticket, end);
        let estimates = self.planner.estimates_mut();
        if !request.answered {
            estimates.link.late(outcome.bytes + others, sent, end);
            return;
        }
        let at_server_ms = request.queue_ms + request.unpack_ms + request.tail_ms;
        estimates.link.answered(LinkSample {
            bytes: outcome.bytes,
            others,
            sent,
            wall_ms: request.end_ms - request.sent_ms,
            receive_ms: request.receive_ms,
            server_ms: request.receive_ms + at_server_ms,
        });
        if outcome.plan.uses_server() {
            let own_queue_ms = ticket.delays().server.as_secs_f64() * 1e3;
            let queue_ms = (request.queue_ms - own_queue_ms).max(0.0);
            let Request {
                unpack_ms, tail_ms, ..
            } = *request;
            estimates.served(&outcome.plan, unpack_ms, queue_ms, tail_ms, end);
        }
    }
}

/// Which comes to its end first, and when.
fn first(all: &[Awaited], end_ms: impl Fn(&Awaited) -> f64) -> Option<(usize, f64)> {
    let ends = all.iter().map(end_ms).enumerate();
    ends.min_by(|a, b| a.1.total_cmp(&b.1))
}

impl Policy for Dyno {
    fn looks_again(&self) -> bool {
        true
    }

    fn uplink(&self, _world: &World) -> Uplink {
        self.uplink.clone()
    }

    fn decide(&mut self, world: &World, uplink: &mut Uplink, call: Call) -> Plan {
        self.catch_up(call.start_ms);
        let now = self.at(call.start_ms);
        let choice = self.planner.choose(&self.ready_cuts(), now);
        self.begin(world, uplink, call, &choice);
        choice.runnable.plan
    }

    fn decide_in_stream(
        &mut self,
        world: &World,
        uplink: &mut Uplink,
        call: Call,
        under_way: &UnderWay,
    ) -> Plan {
        self.catch_up(call.start_ms);
        let now = self.at(call.start_ms);
        let ready_cuts = self.ready_cuts();
        let (choice, overlap) =
            self.planner
                .choose_in_stream(&ready_cuts, MAX_IN_FLIGHT, |_| true, now);
        self.overlap = Some(overlap);
        self.begin(world, uplink, call, &choice);
        match overlap.next(under_way) {
            Next::Instead(plan) => plan,
            Next::Chosen | Next::Waits => choice.runnable.plan,
        }
    }

    fn overlap(&self) -> Option<Overlap> {
        self.overlap
    }

    fn adds(&self, plan: Plan, start_ms: f64) -> UnderWay {
        let now = self.at(start_ms);
        UnderWay::of(&self.planner.candidate(plan, &self.ready_cuts(), now))
    }

    fn other_bytes(&mut self) -> usize {
        std::mem::take(&mut self.probe_bytes)
    }

    fn patience(&mut self, sending: &Sending) -> Option<Patience> {
        let &Sending {
            ref plan,
            bytes,
            sent_ms,
            start_ms,
        } = sending;
        let now = self.at(sent_ms);
        if let Some(before) = self.tickets.back() {
            // That of the same call, whose answer was in doubt.
            self.in_flight.ended(before, now);
        }
        self.planner.estimates_mut().sent(bytes, now);
        let ticket = self.sends(Some(plan), bytes, sent_ms);
        self.tickets.push_back(ticket);
        let delays = ticket.delays();
        let wait_ms = (delays.uplink + delays.server).as_secs_f64() * 1e3;
        let used_ms = sent_ms - start_ms;
        let planner = &self.planner;
        Some(planner.patience_behind(wait_ms, plan, bytes, used_ms, now))
    }

    fn learn(&mut self, outcome: &Outcome) {
        let now = self.at(outcome.end_ms);
        let estimates = self.planner.estimates_mut();
        if let Some((from, to, ms)) = outcome.head {
            estimates.device.observe(from, to, ms, now);
        }
        if outcome.plan.uses_server() {
            estimates.packed(&outcome.plan, outcome.bytes, outcome.pack_ms, now);
        }
        let ticket = outcome.request.and_then(|_| self.tickets.pop_front());
        if let (Some(request), Some(ticket)) = (outcome.request, ticket) {
            let one = Awaited {
                outcome: *outcome,
                request,
                ticket,
            };
            self.wait_for(&one);
            if outcome.resumed.is_some() {
                self.resumed.push(one);
            }
        } else if let Some((from, to, ms)) = outcome.resumed {
            estimates.device.observe(from, to, ms, now);
        }
    }

    fn learn_doubt(&mut self, share: f64, is_in_doubt: bool) {
        let estimates = self.planner.estimates_mut();
        estimates.doubts.observe(share, is_in_doubt);
    }
}
