//! A stream in virtual time: device, uplink and server work on successive frames at once.

use super::call::{Call, Outcome, Policy, Request};
use super::world::{Photo, World};

/// Frames whose body has not left yet: the next head waits until there are fewer.
const MAX_UNSENT: usize = 2;

/// A device, an uplink and a server, each with its own work, and one frame after the other.
#[derive(Debug)]
pub(super) struct Pipeline {
    uplink: super::uplink::Uplink,
    device_free_ms: f64,
    uplink_free_ms: f64,
    server_free_ms: f64,
    /// When the last bodies had left, oldest first.
    unsent_until_ms: [f64; MAX_UNSENT],
}

impl Pipeline {
    pub(super) fn new(world: &World) -> Self {
        Self {
            uplink: world.uplink(),
            device_free_ms: 0.0,
            uplink_free_ms: 0.0,
            server_free_ms: 0.0,
            unsent_until_ms: [0.0; MAX_UNSENT],
        }
    }

    /// When the next frame can begin.
    pub(super) fn ready_ms(&self) -> f64 {
        self.device_free_ms.max(self.unsent_until_ms[0])
    }

    /// Runs the next frame.
    pub(super) fn run(&mut self, world: &World, policy: &mut dyn Policy, photo: Photo) -> Outcome {
        let call = Call {
            start_ms: self.ready_ms(),
            photo,
        };
        let plan = policy.decide(world, &mut self.uplink, call);
        let truth = world.truth(&plan, photo);
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
        self.device_free_ms = head_end_ms;
        if plan.uses_server() {
            outcome.bytes = truth.bytes;
            outcome.pack_ms = truth.pack_ms;
            self.device_free_ms += truth.pack_ms;
            self.request(world, policy, &mut outcome, photo);
        }
        policy.learn(&outcome);
        outcome.bytes += policy.other_bytes();
        outcome
    }

    fn request(
        &mut self,
        world: &World,
        policy: &mut dyn Policy,
        outcome: &mut Outcome,
        photo: Photo,
    ) {
        let truth = world.truth(&outcome.plan, photo);
        let cut = world.facts(&outcome.plan).cut;
        let sent_ms = self.device_free_ms.max(self.uplink_free_ms);
        let used_ms = sent_ms - outcome.start_ms;
        let patience = policy.patience(&outcome.plan, outcome.bytes, sent_ms, used_ms);
        let sent = self.uplink.send(&world.trace, sent_ms, outcome.bytes);
        let arrived_ms = sent.last_ms + world.rtt_ms / 2.0;
        let served_ms = arrived_ms.max(self.server_free_ms) + truth.unpack_ms + truth.tail_ms;
        let answered_ms = served_ms + world.rtt_ms / 2.0;
        let mut request = Request {
            sent_ms,
            end_ms: answered_ms,
            answered: answered_ms.is_finite(),
            receive_ms: sent.last_ms - sent.first_ms,
            unpack_ms: truth.unpack_ms,
            tail_ms: truth.tail_ms,
        };
        outcome.end_ms = answered_ms;
        let mut left_ms = sent.last_ms;
        if let Some(patience) = patience {
            let resume_ms = (sent_ms + patience.resume_after_ms).max(self.device_free_ms);
            if answered_ms > resume_ms {
                let end_ms = (resume_ms + truth.resume_ms).min(answered_ms);
                if end_ms < answered_ms {
                    outcome.resumed = Some((cut, world.last_cut, truth.resume_ms));
                    outcome.end_ms = end_ms;
                }
                self.device_free_ms = end_ms;
            }
            let give_up_ms = (sent_ms + patience.give_up_after_ms).max(outcome.end_ms);
            if answered_ms > give_up_ms {
                request.answered = false;
                request.end_ms = give_up_ms;
                self.uplink.abandon(&world.trace, give_up_ms);
                left_ms = left_ms.min(give_up_ms);
            }
        }
        if request.answered {
            self.server_free_ms = served_ms;
        }
        self.uplink_free_ms = left_ms;
        self.unsent_until_ms.rotate_left(1);
        self.unsent_until_ms[MAX_UNSENT - 1] = left_ms;
        outcome.request = Some(request);
    }
}
