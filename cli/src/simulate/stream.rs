//! A stream in virtual time: device, uplink and server work on successive frames at once.

use std::collections::VecDeque;

use dyno_core::client::MAX_IN_FLIGHT;
use dyno_core::schedule::{Overlap, Plan};

use super::call::{Call, Outcome, Policy, Request};
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
    /// When the last calls that used the server were answered.
    answered_ms: VecDeque<f64>,
    /// When the answers of the last frames were taken, which is in their order; oldest first.
    taken_ms: VecDeque<f64>,
    /// What the policy said last of the frames to come.
    overlap: Option<Overlap>,
}

impl Pipeline {
    pub(super) fn new(world: &World) -> Self {
        Self {
            device: Device::default(),
            uplink: world.uplink(),
            uplink_free_ms: 0.0,
            server_free_ms: 0.0,
            unsent_until_ms: [0.0; MAX_UNSENT],
            answered_ms: VecDeque::from([0.0; MAX_IN_FLIGHT]),
            taken_ms: VecDeque::from([0.0; MAX_IN_FLIGHT]),
            overlap: None,
        }
    }

    /// When the next frame can begin.
    pub(super) fn ready_ms(&self) -> f64 {
        let room_ms = self.taken_ms.front().copied().unwrap_or(0.0);
        let device_ms = self.device.free_ms().max(room_ms);
        match self.overlap {
            Some(overlap) if overlap.device_joins => device_ms,
            _ => device_ms.max(self.slot_ms()),
        }
    }

    /// When another frame may be on its way to the server.
    fn slot_ms(&self) -> f64 {
        match self.overlap {
            Some(overlap) => self.fewer_than_ms(overlap.remote_calls),
            None => self.unsent_until_ms[0],
        }
    }

    /// From when on fewer than so many calls are without the server's answer.
    fn fewer_than_ms(&self, calls: usize) -> f64 {
        let mut ends_ms: Vec<f64> = self.answered_ms.iter().copied().collect();
        ends_ms.sort_by(f64::total_cmp);
        let nth_last = ends_ms.len().checked_sub(calls);
        nth_last
            .and_then(|i| ends_ms.get(i))
            .copied()
            .unwrap_or(0.0)
    }

    /// Runs the next frame.
    pub(super) fn run(&mut self, world: &World, policy: &mut dyn Policy, photo: Photo) -> Outcome {
        let call = Call {
            start_ms: self.ready_ms(),
            photo,
        };
        let plan = if call.start_ms < self.slot_ms() {
            Plan::Device
        } else {
            let plan = policy.decide(world, &mut self.uplink, call);
            self.overlap = policy.overlap();
            plan
        };
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
        shift_in(&mut self.taken_ms, before_ms.max(outcome.end_ms));
        if plan.uses_server() {
            shift_in(&mut self.answered_ms, outcome.end_ms);
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

fn shift_in(list: &mut VecDeque<f64>, ms: f64) {
    list.pop_front();
    list.push_back(ms);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_ms(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    fn pipeline(overlap: Option<Overlap>) -> Pipeline {
        Pipeline {
            device: Device::default(),
            uplink: Uplink::new(10.0),
            uplink_free_ms: 0.0,
            server_free_ms: 0.0,
            unsent_until_ms: [70.0, 80.0],
            answered_ms: (1..=MAX_IN_FLIGHT).map(|i| i as f64).collect(),
            taken_ms: VecDeque::from([0.0; MAX_IN_FLIGHT]),
            overlap,
        }
    }

    #[test]
    fn a_frame_waits_for_a_slot_or_is_the_devices() {
        let overlap = |device_joins| {
            Some(Overlap {
                remote_calls: 3,
                device_joins,
            })
        };
        let last = MAX_IN_FLIGHT as f64;
        let waits = pipeline(overlap(false));
        // Then two are without an answer.
        assert_ms(waits.ready_ms(), last - 2.0);
        let joins = pipeline(overlap(true));
        assert_ms(joins.ready_ms(), 0.0);
        assert_ms(joins.slot_ms(), last - 2.0);
        assert_ms(pipeline(None).ready_ms(), 70.0);
    }

    #[test]
    fn no_frame_begins_before_the_oldest_answer_is_taken() {
        let mut full = pipeline(None);
        full.taken_ms[0] = 500.0;
        assert_ms(full.ready_ms(), 500.0);
    }
}
