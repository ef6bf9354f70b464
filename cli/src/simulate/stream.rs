//! A stream in virtual time: device, uplink and server work on successive frames at once.

use dyno_core::client::MAX_IN_FLIGHT;
use dyno_core::schedule::{Next, Overlap, Plan, SecondLook, UnderWay};

use super::call::{Call, Followed, Outcome, Policy, Request, Sending};
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
    frames: Vec<Frame>,
    /// When the answers of all but the last [`MAX_IN_FLIGHT`] frames were there.
    taken_ms: f64,
    /// What the policy said last of the frames to come.
    overlap: Option<Overlap>,
}

/// A frame, and what became of it so far.
#[derive(Debug)]
struct Frame {
    outcome: Outcome,
    /// What it adds to what is under way until its answer, if it uses the server.
    adds: Option<UnderWay>,
    /// What is to be sent once the first answer is there, if that is in doubt.
    look: Option<(Plan, Photo)>,
}

impl Pipeline {
    pub(super) fn new(uplink: Uplink) -> Self {
        Self {
            device: Device::default(),
            uplink,
            uplink_free_ms: 0.0,
            server_free_ms: 0.0,
            unsent_until_ms: [0.0; MAX_UNSENT],
            frames: Vec::new(),
            taken_ms: 0.0,
            overlap: None,
        }
    }

    /// How many frames began.
    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// When the next frame can begin; until then second looks are sent.
    pub(super) fn ready(&mut self, world: &World, policy: &mut dyn Policy) -> f64 {
        loop {
            let ready_ms = self.ready_ms();
            match self.next_look() {
                Some((index, at_ms)) if at_ms <= ready_ms => self.look(world, policy, index),
                _ => return ready_ms,
            }
        }
    }

    /// Every frame, once all are answered.
    pub(super) fn finish(mut self, world: &World, policy: &mut dyn Policy) -> Vec<Outcome> {
        while let Some((index, _)) = self.next_look() {
            self.look(world, policy, index);
        }
        self.frames.into_iter().map(|frame| frame.outcome).collect()
    }

    fn ready_ms(&self) -> f64 {
        // Answers are taken in the order of the frames.
        let oldest = self.frames.len().checked_sub(MAX_IN_FLIGHT);
        let oldest = oldest.and_then(|index| self.frames.get(index));
        let room_ms = oldest.map_or(0.0, |frame| self.taken_ms.max(frame.outcome.end_ms));
        let slot_ms = match &self.overlap {
            Some(overlap) => self.slot_ms(overlap),
            None => self.unsent_until_ms[0],
        };
        self.device.free_ms().max(room_ms).max(slot_ms)
    }

    /// The frames that may be without an answer.
    fn last(&self) -> &[Frame] {
        let from = self.frames.len().saturating_sub(MAX_IN_FLIGHT);
        self.frames.get(from..).unwrap_or_default()
    }

    /// From when on a frame does not have to wait for answers.
    fn slot_ms(&self, overlap: &Overlap) -> f64 {
        let remote = self.last().iter().filter(|frame| frame.adds.is_some());
        let mut ends_ms: Vec<f64> = remote.map(|frame| frame.outcome.end_ms).collect();
        ends_ms.sort_by(f64::total_cmp);
        let begins = |at_ms: &f64| overlap.next(&self.under_way(*at_ms)) != Next::Waits;
        let times_ms = std::iter::once(0.0).chain(ends_ms);
        times_ms.into_iter().find(begins).unwrap_or(0.0)
    }

    fn under_way(&self, at_ms: f64) -> UnderWay {
        let open = self
            .last()
            .iter()
            .filter(|frame| frame.outcome.end_ms > at_ms);
        open.filter_map(|frame| frame.adds).sum()
    }

    /// The first answer that is in doubt: of which frame, and when it is there.
    fn next_look(&self) -> Option<(usize, f64)> {
        let from = self.frames.len().saturating_sub(MAX_IN_FLIGHT);
        let frames = self.frames.iter().enumerate().skip(from);
        let looks = frames.filter(|(_, frame)| frame.look.is_some());
        let looks = looks.map(|(index, frame)| (index, frame.outcome.end_ms));
        looks.min_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Sends the second message of a frame.
    fn look(&mut self, world: &World, policy: &mut dyn Policy, index: usize) {
        let Some(frame) = self.frames.get_mut(index) else {
            return;
        };
        let Some((plan, photo)) = frame.look.take() else {
            return;
        };
        let first = frame.outcome;
        let mut second = first.second(plan);
        if plan.uses_server() {
            let truth = world.truth(&plan, photo);
            second.bytes = truth.bytes;
            second.pack_ms = truth.pack_ms;
            second.end_ms = self.device.compute(first.end_ms, truth.pack_ms);
            self.request(world, policy, &mut second, photo, false);
        } else {
            let takes_ms = world.truth(&first.plan, photo).resume_ms;
            let cut = world.facts(&first.plan).cut;
            second.end_ms = self.device.compute(first.end_ms, takes_ms);
            second.resumed = Some((cut, world.last_cut, takes_ms));
        }
        policy.learn(&second);
        let followed = Followed {
            first,
            second: Some(second),
        };
        if let Some(frame) = self.frames.get_mut(index) {
            frame.outcome = followed.whole();
        }
    }

    /// Runs the next frame.
    pub(super) fn run(&mut self, world: &World, policy: &mut dyn Policy, photo: Photo) {
        let call = Call {
            start_ms: self.ready(world, policy),
            photo,
        };
        let under_way = self.under_way(call.start_ms);
        let plan = policy.decide_in_stream(world, &mut self.uplink, call, &under_way);
        self.overlap = policy.overlap();
        let adds = policy.adds(plan, call.start_ms);
        let truth = world.truth(&plan, photo);
        let facts = world.facts(&plan);
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
            head: (facts.cut > 0).then_some((0, facts.cut, truth.head_ms)),
            resumed: None,
            request: None,
            looks_again: policy.looks_again(),
        };
        let in_doubt = |look: &SecondLook| photo.is_in_doubt(look.share);
        let look = facts
            .second_look
            .filter(|look| outcome.looks_again && in_doubt(look));
        if plan.uses_server() {
            self.request(world, policy, &mut outcome, photo, look.is_some());
        }
        policy.learn(&outcome);
        if let Some(look) = facts.second_look
            && outcome.is_answered()
        {
            policy.learn_doubt(look.share, in_doubt(&look));
        }
        let is_answered = outcome.resumed.is_none() && outcome.end_ms.is_finite();
        let look = look.filter(|_| is_answered);
        outcome.bytes += policy.other_bytes();
        if let Some(leaves) = self.frames.len().checked_sub(MAX_IN_FLIGHT)
            && let Some(frame) = self.frames.get(leaves)
        {
            self.taken_ms = self.taken_ms.max(frame.outcome.end_ms);
        }
        self.frames.push(Frame {
            outcome,
            adds: plan.uses_server().then_some(adds),
            look: look.map(|look| (look.plan, photo)),
        });
    }

    /// Sends what the device has packed by `outcome.end_ms`. An answer that is late and in doubt is not taken.
    fn request(
        &mut self,
        world: &World,
        policy: &mut dyn Policy,
        outcome: &mut Outcome,
        photo: Photo,
        is_in_doubt: bool,
    ) {
        let truth = world.truth(&outcome.plan, photo);
        let cut = world.facts(&outcome.plan).cut;
        let sent_ms = outcome.end_ms.max(self.uplink_free_ms);
        let patience = policy.patience(&Sending {
            plan: outcome.plan,
            bytes: outcome.bytes,
            sent_ms,
            start_ms: outcome.start_ms,
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
                let local_ms = resume_ms + truth.resume_ms;
                let end_ms = if is_in_doubt {
                    local_ms
                } else {
                    local_ms.min(answered_ms)
                };
                if local_ms < answered_ms || is_in_doubt {
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
    use dyno_core::schedule::{Codec, Levels, Precision};

    use super::*;
    use crate::simulate::policies::FixedOfSpace;

    #[track_caller]
    fn assert_ms(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    fn pipeline(overlap: Option<Overlap>) -> Pipeline {
        let adds = UnderWay {
            calls: 1,
            way_ms: 1.0,
        };
        let frame = |end_ms| Frame {
            outcome: Outcome {
                plan: Plan::Device,
                start_ms: 0.0,
                end_ms,
                bytes: 0,
                pack_ms: 0.0,
                head: None,
                resumed: None,
                request: None,
                looks_again: false,
            },
            adds: Some(adds),
            look: None,
        };
        Pipeline {
            unsent_until_ms: [70.0, 80.0],
            frames: (1..=MAX_IN_FLIGHT).map(|i| frame(i as f64)).collect(),
            overlap,
            ..Pipeline::new(Uplink::new(10.0))
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
        full.frames[0].outcome.end_ms = 500.0;
        assert_ms(full.ready_ms(), 500.0);
        full.taken_ms = 600.0;
        assert_ms(full.ready_ms(), 600.0);
    }

    const FIRST: Plan = Plan::Split {
        cut: 1,
        precision: Precision::Levels(Levels::EIGHT_BITS),
        codec: Codec::Raw,
    };
    const FRAMES: usize = 200;

    /// 200 frames on a link that carries a first message in 2 ms.
    fn stream(look: SecondLook) -> Vec<Outcome> {
        let world = World::of_one_plan(8e6, FIRST, 2_000.0, look);
        let mut policy = FixedOfSpace(FIRST);
        let mut pipeline = Pipeline::new(world.uplink());
        for index in 0..FRAMES {
            pipeline.run(&world, &mut policy, Photo::number(index));
        }
        assert_eq!(pipeline.frames(), FRAMES);
        pipeline.finish(&world, &mut policy)
    }

    fn last_ms(outcomes: &[Outcome]) -> f64 {
        outcomes.iter().map(|o| o.end_ms).fold(0.0, f64::max)
    }

    #[test]
    fn a_second_message_takes_its_time_of_the_link_and_a_second_round_trip() {
        let fine = Plan::Split {
            cut: 1,
            precision: Precision::Raw,
            codec: Codec::Raw,
        };
        let outcomes = stream(SecondLook::new(1.0, 0.25, fine, 8_000.0));
        let (twice, once): (Vec<&Outcome>, Vec<&Outcome>) =
            outcomes.iter().partition(|o| o.bytes == 10_000);
        assert!(once.iter().all(|o| o.bytes == 2_000));
        assert!((45..=55).contains(&twice.len()), "{}", twice.len());
        for outcome in twice {
            assert!(outcome.latency_ms() > 2.0 * 20.0 + 10.0, "{outcome:?}");
            // Tails take 1 ms, give or take some per cent.
            assert!(outcome.server_ms() > 1.7, "{outcome:?}");
        }
        // Nothing is sent at a higher rate than the link's, and little of its time is lost.
        let sent_ms: f64 = outcomes.iter().map(|o| o.bytes as f64 / 1e3).sum();
        let took_ms = last_ms(&outcomes);
        assert!(
            took_ms > sent_ms && took_ms < 1.2 * sent_ms + 100.0,
            "{took_ms} {sent_ms}"
        );
    }

    #[test]
    fn what_the_device_computes_in_doubt_sends_nothing() {
        let outcomes = stream(SecondLook::new(1.0, 0.25, Plan::Device, 0.0));
        let resumed = outcomes.iter().filter(|o| o.resumed.is_some()).count();
        assert!((45..=55).contains(&resumed), "{resumed}");
        assert!(outcomes.iter().all(|o| o.bytes == 2_000));
    }
}
