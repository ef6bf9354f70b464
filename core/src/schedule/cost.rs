//! What a plan is expected to cost now: the sum of its stages, each from its own estimate.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::link::{Link, LinkPrior};
use super::machine::{Machine, Reference};
use super::network::Network;
use super::patience::Patience;
use super::plan::Plan;
use super::server::Server;
use super::sizes::Sizes;
use crate::bundle::{Manifest, Profile};

/// A plan and its expected cost, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The plan.
    pub plan: Plan,
    /// Running the head, or the whole model, on the device.
    pub device_ms: f64,
    /// Packing the activation or encoding the photo.
    pub pack_ms: f64,
    /// Sending it and getting the answer back.
    pub network_ms: f64,
    /// Waiting for a worker of the server.
    pub queue_ms: f64,
    /// Unpacking and running the tail on the server.
    pub server_ms: f64,
    /// All of it.
    pub total_ms: f64,
    /// Bytes sent.
    pub bytes: usize,
    /// Whether the spans it runs on the device are at hand.
    pub ready: bool,
}

impl Candidate {
    /// What happens between sending and having the answer, in milliseconds.
    pub fn remote_ms(&self) -> f64 {
        self.network_ms + self.queue_ms + self.server_ms
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.1} ms (device {:.1}, pack {:.1}, network {:.1}, queue {:.1}, server {:.1}), \
             {} bytes",
            self.plan,
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
        let old = std::mem::replace(&mut self.link, link);
        if network != self.network {
            self.others.push((self.network, old));
            if self.others.len() > MAX_OTHER_NETWORKS {
                self.others.remove(0);
            }
        }
        self.network = network;
    }

    /// How long a request of `bytes` for `plan` is waited for, where the call is to be answered
    /// within `left_ms` of its sending.
    pub fn patience(
        &self,
        plan: &Plan,
        bytes: usize,
        left_ms: Option<f64>,
        now: Instant,
    ) -> Patience {
        let cut = self.cut_of(plan);
        let server_ms = self.server.queue_ms(now)
            + self.sizes.unpack_ms(plan)
            + self.server.tail_ms(cut, self.last_cut);
        let p90_ms = self.link.transfer_p90_ms(bytes, now) + server_ms;
        let resume_ms = self.device.span_ms(cut, self.last_cut);
        Patience::new(p90_ms, resume_ms, left_ms)
    }

    fn cut_of(&self, plan: &Plan) -> usize {
        match *plan {
            Plan::Device => self.last_cut,
            Plan::Split { cut, .. } => cut,
            Plan::Photo(_) => 0,
        }
    }

    /// What `plan` is expected to cost at `now`, with the device's spans at the `ready_cuts`.
    pub fn candidate(&self, plan: Plan, ready_cuts: &[usize], now: Instant) -> Candidate {
        let bytes = self.sizes.bytes(&plan);
        let mut candidate = Candidate {
            plan,
            device_ms: 0.0,
            pack_ms: self.sizes.pack_ms(&plan),
            network_ms: 0.0,
            queue_ms: 0.0,
            server_ms: 0.0,
            total_ms: 0.0,
            bytes,
            ready: true,
        };
        let cut = self.cut_of(&plan);
        candidate.device_ms = self.device.span_ms(0, cut);
        if plan.uses_server() {
            candidate.ready = cut == 0 || ready_cuts.contains(&cut);
            candidate.network_ms = self.link.transfer_ms(bytes, now);
            candidate.queue_ms = self.server.queue_ms(now);
            candidate.server_ms =
                self.sizes.unpack_ms(&plan) + self.server.tail_ms(cut, self.last_cut);
        }
        candidate.total_ms = candidate.device_ms + candidate.pack_ms + candidate.remote_ms();
        candidate
    }
}
