//! A stream in virtual time: device, uplink and server work on successive frames at once.

use std::collections::VecDeque;

use dyno_core::client::MAX_IN_FLIGHT;
use dyno_core::schedule::{Next, Overlap, UnderWay};

use super::call::{Call, Outcome, Policy, Request, Sending};
use super::device::Device;
use super::uplink::Uplink;
use super::world::{Photo, World};

/// Bodies that have not left yet, of policies that do not say how many calls they have at once: the next
/// head waits until there are fewer.
const MAX_UNSENT: usize = 2;

/// A device, an uplink and a server, each with its own work, and one frame after the other.
#[derive(Debug)]
pub(super) struct Pipeline {
    device: Device,
    uplink: Uplink,
    uplink_free_ms: f64,
    server_free_ms: f64,
    /// When the last bodies had left, oldest first.
    unsent_until_ms: [f64; MAX_UNSENT],
    /// The last calls that used the server: when they were answered, and what each added until then.
    remote: VecDeque<(f64, UnderWay)>,
    /// When the answers of the last frames were taken, which is in their order; oldest first.
    taken_ms: VecDeque<f64>,
    /// What the policy said last of the frames to come.
    overlap: Option<Overlap>,
}

impl Pipeline {
    pub(super) fn new(uplink: Uplink) -> Self {
        Self {
            device: Device::default(),
            uplink,
            uplink_free_ms: 0.0,
            server_free_ms: 0.0,
            unsent_until_ms: [0.0; MAX_UNSENT],
            remote: VecDeque::with_capacity(MAX_IN_FLIGHT),
            taken_ms: VecDeque::from([0.0; MAX_IN_FLIGHT]),
            overlap: None,
        }
    }

    /// When the next frame can begin.
    pub(super) fn ready_ms(&self) -> f64 {
        let room_ms = self.taken_ms.front().copied().unwrap_or(0.0);
        let slot_ms = match &self.overlap {
            Some(overlap) => self.slot_ms(overlap),
            None => self.unsent_until_ms[0],
        };
        self.device.free_ms().max(room_ms).max(slot_ms)
    }

    /// From when on a frame does not have to wait for answers.
    fn slot_ms(&self, overlap: &Overlap) -> f64 {
        let mut ends_ms: Vec<f64> = self.remote.iter().map(|(end_ms, _)| *end_ms).collect();
        ends_ms.sort_by(f64::total_cmp);
        let begins = |at_ms: &f64| overlap.next(&self.under_way(*at_ms)) != Next::Waits;
        let times_ms = std::iter::once(0.0).chain(ends_ms);
        times_ms.into_iter().find(begins).unwrap_or(0.0)
    }

    fn under_way(&self, at_ms: f64) -> UnderWay {
        let open = self.remote.iter().filter(|(end_ms, _)| *end_ms > at_ms);
        open.map(|(_, adds)| *adds).sum()
    }

    /// Runs the next frame.
    pub(super) fn run(&mut self, world: &World, policy: &mut dyn Policy, photo: Photo) -> Outcome {
        let call = Call {
            start_ms: self.ready_ms(),
            photo,
        };
        let under_way = self.under_way(call.start_ms);
        let plan = policy.decide_in_stream(world, &mut self.uplink, call, &under_way);
        self.overlap = policy.overlap();
        let adds = policy.adds(plan, call.start_ms);
        let truth = world.truth(&plan, photo);
        let cut = world.facts(&plan).cut;
        let (bytes, pack_ms) = if plan.uses_server() {
            (truth.bytes, truth.pack_ms)
        } else {
            (0, 0.0)
        };
        let packed_ms = self.device.compute(call.start_ms, truth.head_ms + pack_ms);
        let mut outcome = Outcome {
            plan,
            start_ms: call.start_ms,
            end_ms: packed_ms,
            bytes,
            pack_ms,
            head: (cut > 0).then_some((0, cut, truth.head_ms)),
            resumed: None,
            request: None,
        };
        if plan.uses_server() {
            self.request(world, policy, &mut outcome, photo);
        }
        policy.learn(&outcome);
        let before_ms = self.taken_ms.back().copied().unwrap_or(0.0);
        self.taken_ms.pop_front();
        self.taken_ms.push_back(before_ms.max(outcome.end_ms));
        if plan.uses_server() {
            if self.remote.len() == MAX_IN_FLIGHT {
                self.remote.pop_front();
            }
            self.remote.push_back((outcome.end_ms, adds));
        }
        outcome.bytes += policy.other_bytes();
        outcome
    }

    /// Sends what the device has packed by `outcome.end_ms`.
    fn request(
        &mut self,
        world: &World,
        policy: &mut dyn Policy,
        outcome: &mut Outcome,
        photo: Photo,
    ) {
        let truth = world.truth(&outcome.plan, photo);
        let cut = world.facts(&outcome.plan).cut;
        let sent_ms = outcome.end_ms.max(self.uplink_free_ms);
        let patience = policy.patience(&Sending {
            plan: outcome.plan,
            bytes: outcome.bytes,
            sent_ms,
            start_ms: outcome.start_ms,
            server_free_ms: self.server_free_ms,
        });
        let sent = self.uplink.send(&world.trace, sent_ms, outcome.bytes);
        let arrived_ms = sent.last_ms + world.rtt_ms / 2.0;
        let queue_ms = (self.server_free_ms - arrived_ms).max(0.0);
        let served_ms = arrived_ms + queue_ms + truth.unpack_ms + truth.tail_ms;
        let answered_ms = served_ms + world.rtt_ms / 2.0;
        let mut request = Request {
            sent_ms,
            end_ms: answered_ms,
            answered: answered_ms.is_finite(),
            receive_ms: sent.last_ms - sent.first_ms,
            queue_ms,
            unpack_ms: truth.unpack_ms,
            tail_ms: truth.tail_ms,
        };
        outcome.end_ms = answered_ms;
        let mut left_ms = sent.last_ms;
        if let Some(patience) = patience {
            let resume_ms = self.device.resumes_ms(sent_ms + patience.resume_after_ms);
            if answered_ms > resume_ms {
                let end_ms = (resume_ms + truth.resume_ms).min(answered_ms);
                if end_ms < answered_ms {
                    outcome.resumed = Some((cut, world.last_cut, truth.resume_ms));
                    outcome.end_ms = end_ms;
                }
                self.device.resume(resume_ms, end_ms);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_ms(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    fn pipeline(overlap: Option<Overlap>) -> Pipeline {
        let adds = UnderWay {
            calls: 1,
            way_ms: 1.0,
        };
        Pipeline {
            device: Device::default(),
            uplink: Uplink::new(10.0),
            uplink_free_ms: 0.0,
            server_free_ms: 0.0,
            unsent_until_ms: [70.0, 80.0],
            remote: (1..=MAX_IN_FLIGHT).map(|i| (i as f64, adds)).collect(),
            taken_ms: VecDeque::from([0.0; MAX_IN_FLIGHT]),
            overlap,
        }
    }

    #[test]
    fn a_frame_waits_for_a_slot_where_it_needs_one() {
        let last = MAX_IN_FLIGHT as f64;
        // Then two are without an answer.
        let three = pipeline(Some(Overlap::FIRST));
        assert_ms(three.ready_ms(), last - 2.0);
        assert_eq!(three.under_way(last - 2.0).calls, 2);
        assert_ms(pipeline(None).ready_ms(), 70.0);
    }

    #[test]
    fn no_frame_begins_before_the_oldest_answer_is_taken() {
        let mut full = pipeline(None);
        full.taken_ms[0] = 500.0;
        assert_ms(full.ready_ms(), 500.0);
    }
}
