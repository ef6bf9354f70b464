//! What plans cost at least, seen at a glance: enough to pass over most of several hundred.
//!
//! Plans of one cut leave the same work to the device and to the server. They differ in bytes, in the work of packing and
//! unpacking, and in what a second look adds, and no metric becomes better by more of any of these. So a plan that had the
//! least of each would be at least as good as every one of them ([`Floor`]); and each is no better than it would be without its
//! second look ([`Glance`]).

use super::coding::ReferenceTimes;
use super::cost::Entry;
use super::mix::Load;
use super::objective::Metric;
use super::rank::Costs;

/// What a plan costs at least, in each metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Glance {
    /// The device's work: the head, and packing.
    pub(super) compute_ms: f64,
    pub(super) sending_ms: f64,
    pub(super) server_ms: f64,
    /// From sending until the answer is there, but for waiting at the server.
    pub(super) remote_ms: f64,
    pub(super) total_ms: f64,
    pub(super) energy_mj: f64,
    pub(super) bytes: usize,
    pub(super) accuracy_drop_pp: Option<f64>,
}

impl Glance {
    /// What a frame asks of the stages at least.
    pub(super) const fn load(&self) -> Load {
        Load {
            stages_ms: [self.compute_ms, self.sending_ms, self.server_ms],
            remote_ms: self.remote_ms,
        }
    }
}

impl Costs for Glance {
    fn cost(&self, metric: Metric) -> f64 {
        match metric {
            Metric::Latency => self.total_ms,
            Metric::Throughput => self.compute_ms.max(self.sending_ms).max(self.server_ms),
            Metric::ServerTime => self.server_ms,
            Metric::Bytes => self.bytes as f64,
            Metric::Energy => self.energy_mj,
        }
    }

    fn accuracy_drop_pp(&self) -> f64 {
        self.accuracy_drop_pp.unwrap_or(0.0)
    }
}

/// The least of everything that the plans of one cut differ in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Floor {
    /// With the fewest of the bytes that are corrected by the cut's messages; infinite if there are none.
    pub(super) least: Entry,
    /// The fewest bytes that are known exactly; infinite if there are none.
    pub(super) exact_bytes: f64,
}

impl Floor {
    /// That of the plans of one inner cut; none if there are none.
    pub(super) fn of(plans: &[Entry]) -> Option<Self> {
        let first = *plans.first()?;
        let least = |of: fn(&Entry) -> f64| plans.iter().map(of).fold(f64::INFINITY, f64::min);
        let bytes = |is_corrected: bool| {
            let those = plans
                .iter()
                .filter(|plan| plan.corrected_by.is_some() == is_corrected);
            those.map(|plan| plan.bytes).fold(f64::INFINITY, f64::min)
        };
        Some(Self {
            least: Entry {
                bytes: bytes(true),
                reference: ReferenceTimes {
                    pack_ms: least(|plan| plan.reference.pack_ms),
                    unpack_ms: least(|plan| plan.reference.unpack_ms),
                },
                accuracy_drop_pp: Some(least(|plan| plan.accuracy_drop_pp.unwrap_or(0.0))),
                again: None,
                ..first
            },
            exact_bytes: bytes(false),
        })
    }
}
