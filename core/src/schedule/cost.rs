//! What is known of costs: an estimate for each stage, what corrects it, and what does not change about a plan.

use std::sync::Arc;
use std::time::Instant;

use super::budget::Budget;
use super::candidate::Candidate;
use super::coding::{self, CodecRow, Coding, ReferenceTimes};
use super::ewma::Ewma;
use super::link::{Link, LinkPrior};
use super::machine::{Machine, Reference};
use super::network::Network;
use super::patience::Patience;
use super::plan::Plan;
use super::second_look::{Doubts, SecondLook};
use super::server::Server;
use super::sizes::{Sizes, corrected_by};
use super::space::SpacePlan;
use crate::bundle::{Manifest, Profile};

/// A plan with everything about it that does not change from call to call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) plan: Plan,
    pub(super) cut: usize,
    pub(super) bytes: f64,
    /// The cut whose messages correct its bytes.
    pub(super) corrected_by: Option<usize>,
    pub(super) codec: Option<CodecRow>,
    pub(super) reference: ReferenceTimes,
    pub(super) head_ms: f64,
    pub(super) tail_ms: f64,
    pub(super) accuracy_drop_pp: Option<f64>,
    pub(super) again: Option<Again>,
}

/// A plan's second look, and its message, if it sends one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Again {
    pub(super) look: SecondLook,
    pub(super) corrected_by: Option<usize>,
    pub(super) codec: Option<CodecRow>,
    pub(super) reference: ReferenceTimes,
}

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
    pub(super) coding: Coding,
    pub(super) pause_ms: Ewma,
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
        self.doubts.fade();
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
                corrected_by: corrected_by(&look.plan),
                codec,
                reference: coding::reference(codec, self.sizes.elements(&look.plan)),
            }
        });
        Entry {
            plan,
            cut,
            bytes: self.sizes.uncorrected(&plan),
            corrected_by: corrected_by(&plan),
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

    fn cut_of(&self, plan: &Plan) -> usize {
        match *plan {
            Plan::Device => self.last_cut,
            Plan::Split { cut, .. } => cut,
            Plan::Photo(_) => 0,
        }
    }
}
