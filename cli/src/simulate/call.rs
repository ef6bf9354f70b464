//! One call in virtual time: what a policy decides, and what comes of it in the true world.

use dyno_core::schedule::{Overlap, Patience, Plan, UnderWay};

use super::uplink::Uplink;
use super::world::{Photo, World};

/// A call that begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) start_ms: f64,
    pub(super) photo: Photo,
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    pub(super) start_ms: f64,
    /// When the answer was there; infinite if it never was.
    pub(super) end_ms: f64,
    pub(super) bytes: usize,
    pub(super) pack_ms: f64,
    /// Spans that ran on the device: from, to and milliseconds.
    pub(super) head: Option<(usize, usize, f64)>,
    pub(super) resumed: Option<(usize, usize, f64)>,
    pub(super) request: Option<Request>,
}

/// A request of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(super) sent_ms: f64,
    /// When its answer came, or when it was given up.
    pub(super) end_ms: f64,
    pub(super) answered: bool,
    pub(super) receive_ms: f64,
    /// Behind the tails of this client's other requests.
    pub(super) queue_ms: f64,
    pub(super) unpack_ms: f64,
    pub(super) tail_ms: f64,
}

impl Outcome {
    pub(super) fn latency_ms(&self) -> f64 {
        self.end_ms - self.start_ms
    }

    pub(super) fn server_ms(&self) -> f64 {
        let request = self.request.filter(|request| request.answered);
        request.map_or(0.0, |request| request.unpack_ms + request.tail_ms)
    }
}

/// A request that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    pub(super) plan: Plan,
    pub(super) bytes: usize,
    pub(super) sent_ms: f64,
    /// When its call began.
    pub(super) start_ms: f64,
    /// When the server will have answered the requests before it.
    pub(super) server_free_ms: f64,
}

/// Chooses plans, and learns from what comes of them.
pub(super) trait Policy {
    /// The way up as it is before the first call.
    fn uplink(&self, world: &World) -> Uplink {
        world.uplink()
    }

    /// The plan for a call.
    fn decide(&mut self, world: &World, uplink: &mut Uplink, call: Call) -> Plan;

    /// The plan for the next frame of a stream.
    fn decide_in_stream(
        &mut self,
        world: &World,
        uplink: &mut Uplink,
        call: Call,
        _under_way: &UnderWay,
    ) -> Plan {
        self.decide(world, uplink, call)
    }

    /// Bytes that were sent besides the call's own, since this was asked last.
    fn other_bytes(&mut self) -> usize {
        0
    }

    /// How long the request of a call is waited for; for ever if none is said.
    fn patience(&mut self, _sending: &Sending) -> Option<Patience> {
        None
    }

    /// What a stream does with the frames after the one that was decided last; none if all follow a plan, and
    /// as many begin as bodies find room.
    fn overlap(&self) -> Option<Overlap> {
        None
    }

    /// What a call that follows `plan` and uses the server adds to what is under way.
    fn adds(&self, _plan: Plan, _start_ms: f64) -> UnderWay {
        UnderWay::default()
    }

    /// What became of a call.
    fn learn(&mut self, _outcome: &Outcome) {}
}

/// Runs one call on `uplink`.
pub(super) fn run(
    world: &World,
    uplink: &mut Uplink,
    policy: &mut dyn Policy,
    call: Call,
) -> Outcome {
    let plan = policy.decide(world, uplink, call);
    let outcome = follow(world, uplink, plan, call, |bytes, sent_ms| {
        policy.patience(&Sending {
            plan,
            bytes,
            sent_ms,
            start_ms: call.start_ms,
            server_free_ms: 0.0,
        })
    });
    policy.learn(&outcome);
    Outcome {
        bytes: outcome.bytes + policy.other_bytes(),
        ..outcome
    }
}

/// What comes of following `plan`.
pub(super) fn follow(
    world: &World,
    uplink: &mut Uplink,
    plan: Plan,
    call: Call,
    patience: impl FnOnce(usize, f64) -> Option<Patience>,
) -> Outcome {
    let truth = world.truth(&plan, call.photo);
    let cut = world.facts(&plan).cut;
    let head_end_ms = call.start_ms + truth.head_ms;
    let mut outcome = Outcome {
        plan,
        start_ms: call.start_ms,
        end_ms: head_end_ms,
        bytes: 0,
        pack_ms: 0.0,
        head: (cut > 0).then_some((0, cut, truth.head_ms)),
        resumed: None,
        request: None,
    };
    if !plan.uses_server() {
        return outcome;
    }
    outcome.bytes = truth.bytes;
    outcome.pack_ms = truth.pack_ms;
    let sent_ms = head_end_ms + truth.pack_ms;
    let patience = patience(truth.bytes, sent_ms);
    let sent = uplink.send(&world.trace, sent_ms, truth.bytes);
    let answered_ms = sent.last_ms + world.rtt_ms + truth.unpack_ms + truth.tail_ms;
    let mut request = Request {
        sent_ms,
        end_ms: answered_ms,
        answered: answered_ms.is_finite(),
        receive_ms: sent.last_ms - sent.first_ms,
        queue_ms: 0.0,
        unpack_ms: truth.unpack_ms,
        tail_ms: truth.tail_ms,
    };
    outcome.end_ms = answered_ms;
    if let Some(patience) = patience {
        let resume_ms = sent_ms + patience.resume_after_ms;
        let local_ms = resume_ms + truth.resume_ms;
        if answered_ms > resume_ms {
            let ran_ms = truth.resume_ms.min(answered_ms - resume_ms);
            if local_ms <= answered_ms {
                outcome.resumed = Some((cut, world.last_cut, ran_ms));
                outcome.end_ms = local_ms;
            }
        }
        let give_up_ms = sent_ms + patience.give_up_after_ms;
        if answered_ms > give_up_ms.max(outcome.end_ms) {
            request.answered = false;
            request.end_ms = give_up_ms.max(outcome.end_ms);
            uplink.abandon(&world.trace, request.end_ms);
        }
    }
    outcome.request = Some(request);
    outcome
}
