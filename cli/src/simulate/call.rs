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

/// What became of it, or of one of its messages.
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
    /// Whether an answer in doubt is looked at twice where the plan has a second look.
    pub(super) looks_again: bool,
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
    /// What follows on it with nothing done yet, from its end on.
    pub(super) fn second(&self, plan: Plan) -> Self {
        Self {
            plan,
            bytes: 0,
            pack_ms: 0.0,
            head: None,
            request: None,
            ..*self
        }
    }

    pub(super) fn latency_ms(&self) -> f64 {
        self.end_ms - self.start_ms
    }

    /// Whether the server answered, soon or late.
    pub(super) fn is_answered(&self) -> bool {
        self.request.is_some_and(|request| request.answered)
    }

    /// The upper bound of the loss of accuracy, where it is known.
    pub(super) fn drop_pp(&self, world: &World) -> Option<f64> {
        let facts = world.facts(&self.plan);
        match (
            self.looks_again && facts.second_look.is_some(),
            self.resumed,
        ) {
            // Of all answers, whoever makes those in doubt.
            (true, _) => facts.drop_pp,
            (false, Some(_)) => Some(0.0),
            (false, None) => facts.drop_once_pp,
        }
    }

    pub(super) fn server_ms(&self) -> f64 {
        let request = self.request.filter(|request| request.answered);
        request.map_or(0.0, |request| request.unpack_ms + request.tail_ms)
    }
}

/// A call that sent one message, and perhaps another because the answer was in doubt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    pub(super) first: Outcome,
    pub(super) second: Option<Outcome>,
}

impl Followed {
    /// Both as one: the plan and the head of the first, the answer of the second, the bytes and the times of both.
    pub(super) fn whole(&self) -> Outcome {
        let Some(second) = self.second else {
            return self.first;
        };
        let mut whole = self.first;
        whole.end_ms = second.end_ms;
        whole.bytes += second.bytes;
        whole.pack_ms += second.pack_ms;
        whole.resumed = second.resumed;
        if let (Some(request), Some(again)) = (&mut whole.request, second.request)
            && again.answered
        {
            request.unpack_ms += again.unpack_ms;
            request.tail_ms += again.tail_ms;
        }
        whole
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
}

/// Chooses plans, and learns from what comes of them.
pub(super) trait Policy {
    /// The way up as it is before the first call.
    fn uplink(&self, world: &World) -> Uplink {
        world.uplink()
    }

    /// Whether it takes second looks.
    fn looks_again(&self) -> bool {
        false
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

    /// What became of a message, or of a call that sent none.
    fn learn(&mut self, _outcome: &Outcome) {}

    /// An answer that is in doubt for `share` of the photos was, or was not.
    fn learn_doubt(&mut self, _share: f64, _is_in_doubt: bool) {}
}

/// Runs one call on `uplink`.
pub(super) fn run(
    world: &World,
    uplink: &mut Uplink,
    policy: &mut dyn Policy,
    call: Call,
) -> Outcome {
    let plan = policy.decide(world, uplink, call);
    let looks_again = policy.looks_again();
    let followed = follow(
        world,
        uplink,
        plan,
        looks_again,
        call,
        |plan, bytes, sent_ms| {
            policy.patience(&Sending {
                plan,
                bytes,
                sent_ms,
                start_ms: call.start_ms,
            })
        },
    );
    policy.learn(&followed.first);
    if let Some(look) = world.facts(&plan).second_look
        && followed.first.is_answered()
    {
        policy.learn_doubt(look.share, call.photo.is_in_doubt(look.share));
    }
    if let Some(second) = &followed.second {
        policy.learn(second);
    }
    let whole = followed.whole();
    Outcome {
        bytes: whole.bytes + policy.other_bytes(),
        ..whole
    }
}

/// What comes of following `plan`, with its second look or without.
pub(super) fn follow(
    world: &World,
    uplink: &mut Uplink,
    plan: Plan,
    looks_again: bool,
    call: Call,
    mut patience: impl FnMut(Plan, usize, f64) -> Option<Patience>,
) -> Followed {
    let truth = world.truth(&plan, call.photo);
    let facts = world.facts(&plan);
    let head_end_ms = call.start_ms + truth.head_ms;
    let mut first = Outcome {
        plan,
        start_ms: call.start_ms,
        end_ms: head_end_ms,
        bytes: 0,
        pack_ms: 0.0,
        head: (facts.cut > 0).then_some((0, facts.cut, truth.head_ms)),
        resumed: None,
        request: None,
        looks_again,
    };
    if !plan.uses_server() {
        return Followed {
            first,
            second: None,
        };
    }
    let look = facts
        .second_look
        .filter(|look| looks_again && call.photo.is_in_doubt(look.share));
    ask(
        world,
        uplink,
        &mut first,
        call.photo,
        look.is_some(),
        &mut patience,
    );
    let again = look.filter(|_| first.resumed.is_none() && first.end_ms.is_finite());
    let second = again.map(|look| {
        let mut second = first.second(look.plan);
        if look.plan.uses_server() {
            ask(world, uplink, &mut second, call.photo, false, &mut patience);
        } else {
            second.end_ms += truth.resume_ms;
            second.resumed = Some((facts.cut, world.last_cut, truth.resume_ms));
        }
        second
    });
    Followed { first, second }
}

/// Packs and sends from `outcome.end_ms` on, and waits for the answer; one that is late and in doubt is not taken.
fn ask(
    world: &World,
    uplink: &mut Uplink,
    outcome: &mut Outcome,
    photo: Photo,
    is_in_doubt: bool,
    patience: &mut impl FnMut(Plan, usize, f64) -> Option<Patience>,
) {
    let truth = world.truth(&outcome.plan, photo);
    outcome.bytes = truth.bytes;
    outcome.pack_ms = truth.pack_ms;
    let sent_ms = outcome.end_ms + truth.pack_ms;
    let patience = patience(outcome.plan, truth.bytes, sent_ms);
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
        if answered_ms > resume_ms && (local_ms <= answered_ms || is_in_doubt) {
            let cut = world.facts(&outcome.plan).cut;
            outcome.resumed = Some((cut, world.last_cut, truth.resume_ms));
            outcome.end_ms = local_ms;
        }
        let give_up_ms = sent_ms + patience.give_up_after_ms;
        if answered_ms > give_up_ms.max(outcome.end_ms) {
            request.answered = false;
            request.end_ms = give_up_ms.max(outcome.end_ms);
            uplink.abandon(&world.trace, request.end_ms);
        }
    }
    outcome.request = Some(request);
}
