//! What a plan is expected to cost now: the sum of its stages, each from its own estimate.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::budget::Budget;
use super::coding::{self, CodecRow, Coding, ReferenceTimes};
use super::energy::Power;
use super::ewma::Ewma;
use super::link::{IDLE_AFTER_S, Link, LinkNow, LinkPrior};
use super::machine::{Machine, Reference};
use super::network::Network;
use super::objective::Metric;
use super::patience::Patience;
use super::plan::Plan;
use super::second_look::{Doubts, SecondLook};
use super::server::Server;
use super::sizes::{Sizes, whole_bytes};
use super::space::SpacePlan;
use super::spread::Spread;
use crate::bundle::{Manifest, Profile};

/// A plan and what is expected of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The plan.
    pub plan: Plan,
    /// Running the head, or the whole model, on the device, in milliseconds.
    pub device_ms: f64,
    /// Packing the activation or encoding the photo.
    pub pack_ms: f64,
    /// Sending it and getting the answer back.
    pub network_ms: f64,
    /// Waiting for a worker of the server.
    pub queue_ms: f64,
    /// Unpacking and running the tail on the server: the time that its cores are busy.
    pub server_ms: f64,
    /// All of it.
    pub total_ms: f64,
    /// What 95 of 100 calls take at most.
    pub p95_ms: f64,
    /// For how long its bytes keep the uplink busy.
    pub sending_ms: f64,
    /// The slowest of device, uplink and server: a stream runs one frame in this time.
    pub stage_ms: f64,
    /// Bytes sent.
    pub bytes: usize,
    /// Energy of the device, in millijoules: a model (`docs/planner.md`), not a measurement.
    pub energy_mj: f64,
    /// Upper bound of the loss of accuracy, in percentage points; 0 for what loses nothing, none for
    /// what was not calibrated.
    pub accuracy_drop_pp: Option<f64>,
    /// Whether the spans it runs on the device are at hand.
    pub ready: bool,
    /// What is sent where the answer is in doubt. All of the above counts it for the share of calls that it is
    /// expected in, and `p95_ms` for the calls that it makes late.
    pub second_look: Option<SecondLook>,
}

impl Candidate {
    /// What happens between sending and having the answer, in milliseconds.
    pub fn remote_ms(&self) -> f64 {
        self.network_ms + self.queue_ms + self.server_ms
    }

    /// For how long it keeps the way to the server busy: the slower of uplink and server.
    pub fn way_ms(&self) -> f64 {
        self.sending_ms.max(self.server_ms)
    }

    /// The plan in words, with its second look.
    pub fn name(&self) -> String {
        match &self.second_look {
            None => self.plan.to_string(),
            Some(look) => format!(
                "{}; {:.0} % again: {}",
                self.plan,
                100.0 * look.share,
                look.plan
            ),
        }
    }

    /// The metric's value, less being better: milliseconds of the slowest stage for throughput.
    pub fn cost(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Latency => self.total_ms,
            Metric::Throughput => self.stage_ms,
            Metric::ServerTime => self.server_ms,
            Metric::Bytes => self.bytes as f64,
            Metric::Energy => self.energy_mj,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.1} ms (device {:.1}, pack {:.1}, network {:.1}, queue {:.1}, server {:.1}), \
             {} bytes",
            self.name(),
            self.total_ms,
            self.device_ms,
            self.pack_ms,
            self.network_ms,
            self.queue_ms,
            self.server_ms,
            self.bytes
        )
    }
}

/// A plan with everything about it that does not change from call to call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) plan: Plan,
    cut: usize,
    bytes: f64,
    codec: Option<CodecRow>,
    reference: ReferenceTimes,
    head_ms: f64,
    tail_ms: f64,
    accuracy_drop_pp: Option<f64>,
    again: Option<Again>,
}

/// A plan's second look, and its message, if it sends one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Again {
    look: SecondLook,
    codec: Option<CodecRow>,
    reference: ReferenceTimes,
}

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
}

/// A plan that keeps the connection's window open, or opens it, is charged this share of what the
/// first request waits for it: the calls after that one do not.
const OPENING_SHARE: f64 = 0.02;
/// Weight of the newest pause, and what is assumed before there was one: that calls are rare.
const PAUSE_WEIGHT: f64 = 0.3;
const PAUSE_PRIOR_MS: f64 = 10_000.0;

/// Everything that is known about costs, from priors and from what was observed.
///
/// Public fields, because every call observes some of them.
#[derive(Debug, Clone)]
pub struct Estimates {
    /// This device.
    pub device: Machine,
    /// The server.
    pub server: Server,
    /// The way between them.
    pub link: Link,
    /// What crosses it.
    pub sizes: Sizes,
    /// Answers that are asked for again.
    pub doubts: Doubts,
    coding: Coding,
    pause_ms: Ewma,
    budget: Budget,
    network: Network,
    others: Vec<(Network, Link)>,
    link_prior: LinkPrior,
    last_cut: usize,
}

/// Networks besides the current one whose links are remembered; the one left longest ago goes first.
const MAX_OTHER_NETWORKS: usize = 8;

impl Estimates {
    /// Nothing known yet but the bundle, and what is assumed of the link and of the server: to be
    /// `server_speed` times as fast as the machine of the profile.
    pub fn new(
        manifest: &Manifest,
        profile: Option<&Profile>,
        link: LinkPrior,
        server_speed: f64,
    ) -> Self {
        let reference = Arc::new(Reference::new(manifest, profile));
        Self {
            device: Machine::new(reference.clone()),
            server: Server::new(reference, server_speed),
            link: Link::new(link),
            sizes: Sizes::new(manifest),
            doubts: Doubts::new(),
            coding: Coding::new(),
            pause_ms: Ewma::new(PAUSE_PRIOR_MS, PAUSE_WEIGHT),
            budget: Budget::new(),
            network: Network::default(),
            others: Vec::new(),
            link_prior: link,
            last_cut: manifest.last_cut(),
        }
    }

    /// The network that the link belongs to.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The device is on `network` now: what was learnt of the old link is put by, and what was
    /// learnt of this one is taken up. Its connection is a fresh one in any case.
    pub fn network_changed(&mut self, network: Network) {
        let known = self.others.iter().position(|(other, _)| *other == network);
        let mut link = match known {
            Some(index) => self.others.remove(index).1,
            None if network == self.network => self.link.clone(),
            None => Link::new(self.link_prior),
        };
        link.broken();
        link.set_probed(!network.metered);
        let old = std::mem::replace(&mut self.link, link);
        if network != self.network {
            self.others.push((self.network, old));
            if self.others.len() > MAX_OTHER_NETWORKS {
                self.others.remove(0);
            }
        }
        self.network = network;
    }

    /// How long a request of `bytes` for `plan` is waited for, where it waits for `wait_ms` behind
    /// others and the call is to be answered within `left_ms` of its sending.
    pub fn patience(
        &self,
        wait_ms: f64,
        plan: &Plan,
        bytes: usize,
        left_ms: Option<f64>,
        now: Instant,
    ) -> Patience {
        let expected = self.candidate(*plan, &[], now);
        let server_ms = wait_ms + expected.queue_ms + expected.server_ms;
        let expected_ms = self.link.transfer_ms(bytes, now) + server_ms;
        let p90_ms = self.link.transfer_p90_ms(bytes, now) + server_ms;
        Patience::new(expected_ms, p90_ms, self.resume_ms(plan, now), left_ms)
    }

    /// Milliseconds that the device is expected to need to finish `plan` by itself from its cut.
    pub fn resume_ms(&self, plan: &Plan, now: Instant) -> f64 {
        self.device.span_ms(self.cut_of(plan), self.last_cut, now)
    }

    /// What `plan` is expected to cost at `now`, with the device's spans at the `ready_cuts`, and without a second
    /// look.
    pub fn candidate(&self, plan: Plan, ready_cuts: &[usize], now: Instant) -> Candidate {
        let entry = self.entry(&SpacePlan::unmeasured(plan));
        self.at(now).candidate(&entry, self, ready_cuts)
    }

    /// The device packed the activation, or encoded the photo, of `plan` to `bytes` in `pack_ms`.
    pub fn packed(&mut self, plan: &Plan, bytes: usize, pack_ms: f64, now: Instant) {
        self.sizes.observe(plan, bytes);
        if let Some(row) = CodecRow::of(plan) {
            let reference = coding::reference(Some(row), self.sizes.elements(plan));
            let expected_ms = reference.pack_ms * self.device.factor(now);
            self.coding.observe_pack(row, pack_ms / expected_ms);
        }
    }

    /// `bytes` were sent, whatever became of them.
    pub fn sent(&mut self, bytes: usize, now: Instant) {
        if self.network.metered {
            self.budget.spend(bytes as u64, now);
        }
    }

    /// Bytes sent over metered networks in the last 24 hours.
    pub fn metered_bytes(&self, now: Instant) -> u64 {
        self.budget.spent(now)
    }

    /// The server unpacked what `plan` sent in `unpack_ms`, after `queue_ms` of waiting, and ran the
    /// tail in `infer_ms`.
    pub fn served(
        &mut self,
        plan: &Plan,
        unpack_ms: f64,
        queue_ms: f64,
        infer_ms: f64,
        now: Instant,
    ) {
        let (cut, last) = (self.cut_of(plan), self.last_cut);
        self.server.observe(cut, last, queue_ms, infer_ms, now);
        if let Some(row) = CodecRow::of(plan) {
            let reference = coding::reference(Some(row), self.sizes.elements(plan));
            let expected_ms = reference.unpack_ms * self.server.factor(now);
            self.coding.observe_unpack(row, unpack_ms / expected_ms);
        }
    }

    /// A call begins at `now`.
    pub(super) fn begins(&mut self, now: Instant) {
        if let Some(last) = self.device.seen().max(self.link.used()) {
            let pause = now.saturating_duration_since(last);
            self.pause_ms.observe(pause.as_secs_f64() * 1e3);
        }
    }

    /// What does not change about a plan.
    pub(super) fn entry(&self, row: &SpacePlan) -> Entry {
        let &SpacePlan {
            plan,
            accuracy_drop_pp,
            second_look,
            ..
        } = row;
        let (cut, codec) = (self.cut_of(&plan), CodecRow::of(&plan));
        let reference = self.device.reference();
        let again = second_look.map(|look| {
            let codec = CodecRow::of(&look.plan);
            Again {
                look,
                codec,
                reference: coding::reference(codec, self.sizes.elements(&look.plan)),
            }
        });
        Entry {
            plan,
            cut,
            bytes: self.sizes.uncorrected(&plan),
            codec,
            reference: coding::reference(codec, self.sizes.elements(&plan)),
            head_ms: reference.span_ms(0, cut),
            tail_ms: reference.span_ms(cut, self.last_cut),
            accuracy_drop_pp: match plan {
                Plan::Device => Some(0.0),
                _ => accuracy_drop_pp,
            },
            again,
        }
    }

    /// The state of everything at `now`.
    pub(super) fn at(&self, now: Instant) -> Moment {
        Moment {
            link: self.link.at(now),
            power: Power::new(self.network, self.link.rate_bps(now)),
            device_factor: self.device.factor(now),
            device_p95_factor: self.device.p95_factor(),
            server_factor: self.server.factor(now),
            queue_ms: self.server.queue_ms(now),
            pause_ms: self.pause_ms.get(),
            doubts_factor: self.doubts.factor(),
        }
    }

    fn cut_of(&self, plan: &Plan) -> usize {
        match *plan {
            Plan::Device => self.last_cut,
            Plan::Split { cut, .. } => cut,
            Plan::Photo(_) => 0,
        }
    }
}

impl Moment {
    /// What the plan of `entry` is expected to cost.
    pub(super) fn candidate(
        &self,
        entry: &Entry,
        estimates: &Estimates,
        ready_cuts: &[usize],
    ) -> Candidate {
        let device_ms = entry.head_ms * self.device_factor;
        let mut candidate = Candidate {
            plan: entry.plan,
            device_ms,
            pack_ms: 0.0,
            network_ms: 0.0,
            queue_ms: 0.0,
            server_ms: 0.0,
            total_ms: device_ms,
            p95_ms: device_ms * self.device_p95_factor,
            sending_ms: 0.0,
            stage_ms: device_ms,
            bytes: 0,
            energy_mj: self.power.energy_mj(device_ms, 0.0, 0.0),
            accuracy_drop_pp: entry.accuracy_drop_pp,
            ready: true,
            second_look: None,
        };
        let Some(codec) = entry.codec else {
            return candidate;
        };
        let c = &mut candidate;
        let correction = estimates.sizes.correction(&entry.plan);
        c.bytes = whole_bytes(entry.bytes * correction);
        c.pack_ms =
            entry.reference.pack_ms * self.device_factor * estimates.coding.pack_correction(codec);
        c.network_ms = self.link.transfer_ms(c.bytes);
        if self.pause_ms + device_ms + c.pack_ms < IDLE_AFTER_S * 1e3 {
            let open_ms = self.link.open_transfer_ms(c.bytes);
            c.network_ms = open_ms + (c.network_ms - open_ms) * OPENING_SHARE;
        }
        c.queue_ms = self.queue_ms;
        let unpack_ms = entry.reference.unpack_ms * estimates.coding.unpack_correction(codec);
        c.server_ms = (entry.tail_ms + unpack_ms) * self.server_factor;
        c.total_ms = device_ms + c.pack_ms + c.remote_ms();
        c.sending_ms = self.link.sending_ms(c.bytes);
        c.p95_ms = c.total_ms + self.off_ms(device_ms + c.pack_ms, c.network_ms);
        if let Some(again) = &entry.again {
            self.look_again(c, again, entry.tail_ms, estimates);
        }
        let compute_ms = c.device_ms + c.pack_ms;
        c.stage_ms = compute_ms.max(c.sending_ms).max(c.server_ms);
        c.energy_mj = self.power.energy_mj(
            compute_ms,
            c.sending_ms,
            (c.remote_ms() - c.sending_ms).max(0.0),
        );
        c.ready = entry.cut == 0 || ready_cuts.contains(&entry.cut);
        candidate
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
        } = again;
        let share = (look.share * self.doubts_factor).min(1.0);
        let mut more = Stages::default();
        match codec {
            Some(codec) => {
                let coding = &estimates.coding;
                let bytes = look.bytes * estimates.sizes.correction(&look.plan);
                let pack_factor = self.device_factor * coding.pack_correction(*codec);
                let unpack_ms = reference.unpack_ms * coding.unpack_correction(*codec);
                more.pack_ms = reference.pack_ms * pack_factor;
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
        c.total_ms += share * more.total_ms();
        c.device_ms += share * more.device_ms;
        c.pack_ms += share * more.pack_ms;
        c.network_ms += share * more.network_ms;
        c.queue_ms += share * more.queue_ms;
        c.server_ms += share * more.server_ms;
        c.second_look = Some(*look);
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
