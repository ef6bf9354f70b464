//! What a plan is expected to cost at one moment: the state of all estimates, read once for a decision, and asked for
//! every plan.

use std::time::Instant;

use super::candidate::Candidate;
use super::coding::ReferenceTimes;
use super::cost::{Again, Entry, Estimates};
use super::energy::Power;
use super::glance::{Floor, Glance};
use super::link::{IDLE_AFTER_S, LinkNow};
use super::sizes::whole_bytes;
use super::spread::Spread;

/// A plan that keeps the connection's window open, or opens it, is charged this share of what the
/// first request waits for it: the calls after that one do not.
const OPENING_SHARE: f64 = 0.02;

/// The state of everything at one moment: made once for a decision, asked for every plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    link: LinkNow,
    power: Power,
    device_factor: f64,
    device_p95_factor: f64,
    server_factor: f64,
    queue_ms: f64,
    /// Between an answer and the next call.
    pause_ms: f64,
    /// How many times as many answers are in doubt as calibration expects.
    doubts_factor: f64,
    /// The least of all codecs' corrections of packing, and of unpacking.
    least_corrections: (f64, f64),
}

impl Estimates {
    /// The state of everything at `now`.
    pub(super) fn at(&self, now: Instant) -> Moment {
        Moment {
            link: self.link.at(now),
            power: Power::new(self.network(), self.link.rate_bps(now)),
            device_factor: self.device.factor(now),
            device_p95_factor: self.device.p95_factor(),
            server_factor: self.server.factor(now),
            queue_ms: self.server.queue_ms(now),
            pause_ms: self.pause_ms.get(),
            doubts_factor: self.doubts.factor(),
            least_corrections: self.coding.least_corrections(),
        }
    }
}

/// What a plan sends, and the work of writing and of reading it.
#[derive(Debug, Clone, Copy)]
struct Message {
    bytes: usize,
    pack_ms: f64,
    /// On the server, but for its factor.
    unpack_ms: f64,
}

impl Message {
    const NONE: Self = Self {
        bytes: 0,
        pack_ms: 0.0,
        unpack_ms: 0.0,
    };
}

impl Moment {
    /// What the plan of `entry` is expected to cost.
    pub(super) fn candidate(
        &self,
        entry: &Entry,
        estimates: &Estimates,
        ready_cuts: &[usize],
    ) -> Candidate {
        let Some(message) = self.message(entry, estimates) else {
            return self.on_the_device(entry);
        };
        let mut candidate = self.sent(entry, &message);
        if let Some(again) = &entry.again {
            self.look_again(&mut candidate, again, entry.tail_ms, estimates);
        }
        let c = &mut candidate;
        let compute_ms = c.device_ms + c.pack_ms;
        c.stage_ms = compute_ms.max(c.sending_ms).max(c.server_ms);
        let waits_ms = (c.remote_ms() - c.sending_ms).max(0.0);
        c.energy_mj = self.power.energy_mj(compute_ms, c.sending_ms, waits_ms);
        c.ready = entry.cut == 0 || ready_cuts.contains(&entry.cut);
        candidate
    }

    /// What the plan of `entry` costs at least.
    pub(super) fn glance(&self, entry: &Entry, estimates: &Estimates) -> Glance {
        let message = self.message(entry, estimates).unwrap_or(Message::NONE);
        self.at_least(entry, &message)
    }

    /// What the plans of a cut cost at least.
    pub(super) fn floor(&self, floor: &Floor, estimates: &Estimates) -> Glance {
        let least = &floor.least;
        let correction = estimates.sizes.correction_at(Some(least.cut));
        let (pack_correction, unpack_correction) = self.least_corrections;
        let message = Message {
            bytes: whole_bytes(floor.exact_bytes.min(least.bytes * correction)),
            pack_ms: self.pack_ms(&least.reference, pack_correction),
            unpack_ms: least.reference.unpack_ms * unpack_correction,
        };
        self.at_least(least, &message)
    }

    fn at_least(&self, entry: &Entry, message: &Message) -> Glance {
        let compute_ms = entry.head_ms * self.device_factor + message.pack_ms;
        let sending_ms = self.link.sending_ms(message.bytes);
        let server_ms = (entry.tail_ms + message.unpack_ms) * self.server_factor;
        let (network_ms, queue_ms) = match entry.codec {
            Some(_) => (self.network_ms(message.bytes, compute_ms), self.queue_ms),
            None => (0.0, 0.0),
        };
        let remote_ms = network_ms + server_ms;
        let waits_ms = (remote_ms + queue_ms - sending_ms).max(0.0);
        Glance {
            compute_ms,
            sending_ms,
            server_ms,
            remote_ms,
            total_ms: compute_ms + remote_ms + queue_ms,
            energy_mj: self.power.energy_mj(compute_ms, sending_ms, waits_ms),
            bytes: message.bytes,
            accuracy_drop_pp: entry.accuracy_drop_pp,
        }
    }

    /// What the plan of `entry` sends at first; none if it sends nothing.
    fn message(&self, entry: &Entry, estimates: &Estimates) -> Option<Message> {
        let (codec, coding) = (entry.codec?, &estimates.coding);
        let correction = estimates.sizes.correction_at(entry.corrected_by);
        Some(Message {
            bytes: whole_bytes(entry.bytes * correction),
            pack_ms: self.pack_ms(&entry.reference, coding.pack_correction(codec)),
            unpack_ms: entry.reference.unpack_ms * coding.unpack_correction(codec),
        })
    }

    fn on_the_device(&self, entry: &Entry) -> Candidate {
        let device_ms = entry.head_ms * self.device_factor;
        Candidate {
            plan: entry.plan,
            device_ms,
            pack_ms: 0.0,
            network_ms: 0.0,
            queue_ms: 0.0,
            server_ms: 0.0,
            total_ms: device_ms,
            p95_ms: device_ms * self.device_p95_factor,
            twice_ms: device_ms,
            sending_ms: 0.0,
            stage_ms: device_ms,
            bytes: 0,
            first_bytes: 0,
            energy_mj: self.power.energy_mj(device_ms, 0.0, 0.0),
            accuracy_drop_pp: entry.accuracy_drop_pp,
            ready: true,
            second_look: None,
            again_share: 0.0,
        }
    }

    /// What sending `message` costs, but for energy and the slowest stage.
    fn sent(&self, entry: &Entry, message: &Message) -> Candidate {
        let device_ms = entry.head_ms * self.device_factor;
        let &Message { bytes, pack_ms, .. } = message;
        let compute_ms = device_ms + pack_ms;
        let network_ms = self.network_ms(bytes, compute_ms);
        let server_ms = (entry.tail_ms + message.unpack_ms) * self.server_factor;
        let total_ms = compute_ms + (network_ms + self.queue_ms + server_ms);
        Candidate {
            plan: entry.plan,
            device_ms,
            pack_ms,
            network_ms,
            queue_ms: self.queue_ms,
            server_ms,
            total_ms,
            p95_ms: total_ms + self.off_ms(compute_ms, network_ms),
            twice_ms: total_ms,
            sending_ms: self.link.sending_ms(bytes),
            stage_ms: 0.0,
            bytes,
            first_bytes: bytes,
            energy_mj: 0.0,
            accuracy_drop_pp: entry.accuracy_drop_pp,
            ready: false,
            second_look: None,
            again_share: 0.0,
        }
    }

    /// Sending `bytes` and getting a small answer back, after the device's work.
    fn network_ms(&self, bytes: usize, compute_ms: f64) -> f64 {
        let ms = self.link.transfer_ms(bytes);
        if self.pause_ms + compute_ms >= IDLE_AFTER_S * 1e3 {
            return ms;
        }
        let open_ms = self.link.open_transfer_ms(bytes);
        open_ms + (ms - open_ms) * OPENING_SHARE
    }

    fn pack_ms(&self, reference: &ReferenceTimes, correction: f64) -> f64 {
        reference.pack_ms * self.device_factor * correction
    }

    /// What 95 of 100 calls take more than the mean, in milliseconds. Stages that are late independently of each
    /// other are rarely late together.
    fn off_ms(&self, device_ms: f64, network_ms: f64) -> f64 {
        let device_off_ms = device_ms * (self.device_p95_factor - 1.0);
        let network_off_ms = network_ms * (self.link.p95_factor() - 1.0);
        // Not `hypot`, which guards against overflows that milliseconds do not have, for ten times as long.
        let squares = device_off_ms * device_off_ms
            + network_off_ms * network_off_ms
            + self.queue_ms * self.queue_ms;
        squares.sqrt()
    }

    /// Adds what a second look costs to a candidate that has everything but that.
    fn look_again(&self, c: &mut Candidate, again: &Again, tail_ms: f64, estimates: &Estimates) {
        let Again {
            look,
            codec,
            reference,
            corrected_by,
        } = again;
        let share = (look.share * self.doubts_factor).min(1.0);
        let mut more = Stages::default();
        match codec {
            Some(codec) => {
                let coding = &estimates.coding;
                let bytes = look.bytes * estimates.sizes.correction_at(*corrected_by);
                let unpack_ms = reference.unpack_ms * coding.unpack_correction(*codec);
                more.pack_ms = self.pack_ms(reference, coding.pack_correction(*codec));
                // The connection is open, and was used a moment ago.
                more.network_ms = self.link.open_transfer_ms(whole_bytes(bytes));
                more.queue_ms = self.queue_ms;
                more.server_ms = (tail_ms + unpack_ms) * self.server_factor;
                c.sending_ms += share * self.link.sending_ms(whole_bytes(bytes));
                c.bytes += whole_bytes(share * bytes);
            }
            None => more.device_ms = tail_ms * self.device_factor,
        }
        let once = Spread {
            mean_ms: c.total_ms,
            p95_ms: c.p95_ms,
        };
        let both_ms = c.total_ms + more.total_ms();
        let off_ms = self.off_ms(
            c.device_ms + c.pack_ms + more.device_ms + more.pack_ms,
            c.network_ms + more.network_ms,
        );
        let twice = Spread {
            mean_ms: both_ms,
            p95_ms: both_ms + off_ms,
        };
        c.p95_ms = Spread::p95_of_either(once, twice, share);
        c.twice_ms = both_ms;
        c.total_ms += share * more.total_ms();
        c.device_ms += share * more.device_ms;
        c.pack_ms += share * more.pack_ms;
        c.network_ms += share * more.network_ms;
        c.queue_ms += share * more.queue_ms;
        c.server_ms += share * more.server_ms;
        c.second_look = Some(*look);
        c.again_share = share;
    }
}

/// What a second look adds to each stage, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_field_names, reason = "units belong in names")]
struct Stages {
    device_ms: f64,
    pack_ms: f64,
    network_ms: f64,
    queue_ms: f64,
    server_ms: f64,
}

impl Stages {
    fn total_ms(&self) -> f64 {
        self.device_ms + self.pack_ms + self.network_ms + self.queue_ms + self.server_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::manifest;
    use crate::schedule::{Codec, Levels, LinkPrior, Plan, Precision, SecondLook, SpacePlan};

    fn split(levels: u32) -> Plan {
        Plan::Split {
            cut: 1,
            precision: Precision::Levels(Levels::new(levels).unwrap()),
            codec: Codec::Zstd,
        }
    }

    fn estimates(rate_bps: f64) -> Estimates {
        let link = LinkPrior {
            rtt_ms: 20.0,
            rate_bps,
        };
        let mut estimates = Estimates::new(&manifest(), None, link, 2.0);
        estimates.sizes.expect(&split(16), 2_000.0);
        estimates.sizes.expect(&split(256), 6_000.0);
        estimates
    }

    fn with_look(estimates: &Estimates, look: SecondLook, now: Instant) -> Candidate {
        let row = SpacePlan {
            second_look: Some(look),
            ..SpacePlan::unmeasured(split(16))
        };
        let moment = estimates.at(now);
        moment.candidate(&estimates.entry(&row), estimates, &[1])
    }

    #[track_caller]
    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }

    #[test]
    fn a_second_message_counts_for_its_share_of_the_calls() {
        let (estimates, now) = (estimates(1e6), Instant::now());
        let first = estimates.candidate(split(16), &[1], now);
        let second = estimates.candidate(split(256), &[1], now);
        let look = SecondLook::new(1.0, 0.25, split(256), 6_000.0);
        let both = with_look(&estimates, look, now);
        assert_near(both.server_ms, first.server_ms + 0.25 * second.server_ms);
        assert_near(both.pack_ms, first.pack_ms + 0.25 * second.pack_ms);
        assert_near(both.sending_ms, first.sending_ms + 0.25 * second.sending_ms);
        assert_near(both.device_ms, first.device_ms);
        assert_eq!((both.bytes, both.first_bytes), (3_500, 2_000));
        assert_eq!(both.most_bytes(), 8_000);
        assert_near(
            both.total_ms,
            both.device_ms + both.pack_ms + both.remote_ms(),
        );
        // One call in four takes as long as both, and frames behind it wait.
        assert!(both.twice_ms > both.total_ms, "{both:?}");
        assert_near(both.stall_ms(8, both.twice_ms / 8.0), 0.0);
        assert_near(both.stall_ms(8, both.twice_ms / 16.0), both.twice_ms / 8.0);
        assert!(
            both.p95_ms > first.total_ms + second.remote_ms(),
            "{both:?}"
        );
    }

    #[test]
    fn the_device_takes_as_long_as_behind_the_cut() {
        let (estimates, now) = (estimates(1e6), Instant::now());
        let first = estimates.candidate(split(16), &[1], now);
        let both = with_look(
            &estimates,
            SecondLook::new(1.0, 0.5, Plan::Device, 0.0),
            now,
        );
        let tail_ms = estimates.resume_ms(&split(16), now);
        assert_near(both.device_ms, first.device_ms + 0.5 * tail_ms);
        assert_near(both.total_ms, first.total_ms + 0.5 * tail_ms);
        assert_near(both.network_ms, first.network_ms);
        assert_eq!((both.bytes, both.most_bytes()), (first.bytes, 2_000));
    }

    #[test]
    fn photos_that_are_harder_than_expected_are_sent_finely_at_once() {
        let (mut estimates, now) = (estimates(1e6), Instant::now());
        let look = SecondLook::new(1.0, 0.25, split(256), 6_000.0);
        let fine_ms = estimates.candidate(split(256), &[1], now).total_ms;
        assert!(with_look(&estimates, look, now).total_ms < fine_ms);
        let stall_ms = |estimates: &Estimates| with_look(estimates, look, now).stall_ms(1, 0.0);
        let expected_ms = stall_ms(&estimates);
        for _ in 0..100 {
            estimates.doubts.fade();
            estimates.doubts.observe(look.share, true);
        }
        // And frames of a stream wait for more of them.
        assert!(stall_ms(&estimates) > 1.5 * expected_ms);
        assert!(with_look(&estimates, look, now).total_ms > fine_ms);
    }

    #[test]
    fn a_link_that_carries_nothing_leaves_no_nonsense() {
        let (estimates, now) = (estimates(1e-3), Instant::now());
        let look = SecondLook::new(1.0, 0.25, split(256), 6_000.0);
        let both = with_look(&estimates, look, now);
        assert!(!both.total_ms.is_nan() && !both.p95_ms.is_nan(), "{both:?}");
    }
}
