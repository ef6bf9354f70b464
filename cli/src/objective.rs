//! The options that name an objective, the same for every command that plans.

use anyhow::Result;
use dyno_core::schedule::Objective;

/// What to optimise, and the limits to keep.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ObjectiveArgs {
    /// latency, throughput, server-seconds, bytes or energy; several in order
    /// (server-seconds,latency) or with weights (latency=1,energy=0.5); or onloading: least server
    /// time within 100 ms.
    #[arg(long, value_name = "OBJECTIVE")]
    pub(crate) objective: Option<Objective>,
    /// 95 of 100 calls are to be answered within this.
    #[arg(long, value_name = "MS")]
    max_latency_ms: Option<f64>,
    /// Frames a second that a stream is to reach.
    #[arg(long, value_name = "FPS")]
    min_throughput_fps: Option<f64>,
    /// Loss of accuracy, in percentage points, that what is sent may cause (calibrated bundles; 1
    /// unless told).
    #[arg(long, value_name = "PP")]
    max_accuracy_drop: Option<f64>,
    /// Time of the server for one call.
    #[arg(long, value_name = "MS")]
    max_server_ms: Option<f64>,
    /// Bytes sent for one call.
    #[arg(long, value_name = "N")]
    max_bytes: Option<f64>,
    /// Bytes sent in any 24 hours on a metered network.
    #[arg(long, value_name = "N")]
    metered_bytes_per_day: Option<u64>,
    /// Energy of the device for one call, in millijoules.
    #[arg(long, value_name = "MJ")]
    max_energy_mj: Option<f64>,
}

impl ObjectiveArgs {
    /// What was asked for; `unless_told` where no objective was named.
    pub(crate) fn objective(&self, unless_told: &Objective) -> Result<Objective> {
        let mut objective = self.objective.as_ref().unwrap_or(unless_told).clone();
        let limits = &mut objective.limits;
        limits.latency_ms = self.max_latency_ms.or(limits.latency_ms);
        limits.throughput_fps = self.min_throughput_fps.or(limits.throughput_fps);
        limits.accuracy_drop_pp = self.max_accuracy_drop.or(limits.accuracy_drop_pp);
        limits.server_ms = self.max_server_ms.or(limits.server_ms);
        limits.bytes = self.max_bytes.or(limits.bytes);
        limits.metered_bytes_per_day = self.metered_bytes_per_day.or(limits.metered_bytes_per_day);
        limits.energy_mj = self.max_energy_mj.or(limits.energy_mj);
        objective.check()?;
        Ok(objective)
    }
}
