//! A plan and what is expected of it.

use std::fmt;

use super::objective::Metric;
use super::plan::Plan;
use super::second_look::SecondLook;
use super::sizes::whole_bytes;

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
    /// All of it in a call that is looked at twice; `total_ms` where none is.
    pub twice_ms: f64,
    /// For how long its bytes keep the uplink busy.
    pub sending_ms: f64,
    /// The slowest of device, uplink and server: a stream runs one frame in this time.
    pub stage_ms: f64,
    /// Bytes sent.
    pub bytes: usize,
    /// Those of the first message.
    pub first_bytes: usize,
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
    /// The share of calls whose answer is expected to be in doubt, 0 to 1, after what this device's photos were like; 0 without a
    /// second look.
    pub again_share: f64,
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
                100.0 * self.again_share,
                look.plan
            ),
        }
    }

    /// What its second looks add on the mean to the time between two frames of a stream that takes answers in the order
    /// of its `room` frames under way, one every `frame_ms`: those behind a frame that is looked at twice wait for it.
    pub(super) fn stall_ms(&self, room: usize, frame_ms: f64) -> f64 {
        let longer_ms = self.twice_ms - room as f64 * frame_ms;
        if self.again_share > 0.0 {
            self.again_share * longer_ms.max(0.0)
        } else {
            0.0
        }
    }

    /// Bytes of a call that is looked at twice, or of any where none is.
    pub(super) fn most_bytes(&self) -> usize {
        let again = self.second_look.map_or(0.0, |look| look.bytes);
        self.first_bytes + whole_bytes(again)
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
