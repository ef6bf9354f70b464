//! The decision that would be made now, with everything it follows from.

use dyno_core::schedule;

use crate::network::NetworkKind;
use crate::plan::Plan;

/// The plan that a call would follow now, every plan it was chosen from, and why.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Explanation {
    /// What is optimised and kept, in words.
    pub objective: String,
    /// The network that the estimates are of.
    pub network: NetworkKind,
    /// Whether bytes cost money there.
    pub metered: bool,
    /// Estimated round trip, in milliseconds.
    pub rtt_ms: f64,
    /// Estimated uplink, in bits per second.
    pub rate_bps: f64,
    /// How many times as long as the profile's machine the device takes.
    pub device_factor: f64,
    /// How many times as long the server takes.
    pub server_factor: f64,
    /// The plan that a call would follow now.
    pub chosen: Plan,
    /// Why, in a sentence.
    pub reason: String,
    /// Every candidate, the best first.
    pub plans: Vec<ExplainedPlan>,
}

/// A plan, what is expected of it, and what became of it.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct ExplainedPlan {
    /// The plan.
    pub plan: Plan,
    /// The plan in words, with what is sent where the answer is in doubt.
    pub name: String,
    /// On the device, in milliseconds.
    pub device_ms: f64,
    /// Packing the activation or encoding the photo.
    pub pack_ms: f64,
    /// Sending it and getting the answer back.
    pub network_ms: f64,
    /// Waiting for a worker of the server.
    pub queue_ms: f64,
    /// On the server.
    pub server_ms: f64,
    /// All of it.
    pub total_ms: f64,
    /// What 95 of 100 calls take at most.
    pub p95_ms: f64,
    /// Bytes sent.
    pub bytes: u64,
    /// Energy of the device, in millijoules: a model, not a measurement.
    pub energy_mj: f64,
    /// Upper bound of the loss of accuracy, in percentage points; none if it was not measured.
    pub accuracy_drop_pp: Option<f64>,
    /// Whether what it runs on the device is at hand.
    pub ready: bool,
    /// Why it was chosen or not.
    pub verdict: String,
}

impl From<schedule::Explanation> for Explanation {
    fn from(explanation: schedule::Explanation) -> Self {
        Self {
            objective: explanation.objective.to_string(),
            network: explanation.network.kind.into(),
            metered: explanation.network.metered,
            rtt_ms: explanation.rtt_ms,
            rate_bps: explanation.rate_bps,
            device_factor: explanation.device_factor,
            server_factor: explanation.server_factor,
            chosen: explanation.chosen.plan.into(),
            reason: explanation.reason,
            plans: explanation.rows.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<schedule::ExplainedRow> for ExplainedPlan {
    fn from(row: schedule::ExplainedRow) -> Self {
        let candidate = row.candidate;
        Self {
            plan: candidate.plan.into(),
            name: candidate.name(),
            device_ms: candidate.device_ms,
            pack_ms: candidate.pack_ms,
            network_ms: candidate.network_ms,
            queue_ms: candidate.queue_ms,
            server_ms: candidate.server_ms,
            total_ms: candidate.total_ms,
            p95_ms: candidate.p95_ms,
            bytes: candidate.bytes as u64,
            energy_mj: candidate.energy_mj,
            accuracy_drop_pp: candidate.accuracy_drop_pp,
            ready: candidate.ready,
            verdict: row.verdict,
        }
    }
}
