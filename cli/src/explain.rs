//! `dyno inspect --explain`: the plan that would be chosen for a device, a link and a server, every plan
//! it was chosen from, and why.

use std::fmt::Write;
use std::time::Instant;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use dyno_core::bundle::Bundle;
use dyno_core::schedule::{
    Codec, Estimates, Explanation, Levels, LinkPrior, Objective, PhotoCodec, Planner, Precision,
    all_plans, calibrated_plans,
};
use serde::Serialize;

use crate::objective::ObjectiveArgs;

/// What to assume of everything that is learnt at run time.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Show which plan would be chosen, and every plan's estimates.
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    objective: ObjectiveArgs,
    /// Round trip.
    #[arg(long, value_name = "MS", default_value_t = LinkPrior::MOBILE.rtt_ms)]
    rtt_ms: f64,
    /// Uplink, in Mbit/s.
    #[arg(long, value_name = "MBIT_S", default_value_t = LinkPrior::MOBILE.rate_bps / 1e6)]
    rate_mbit: f64,
    /// How many times as long as the profile's machine the device takes.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    device_slowdown: f64,
    /// How many times as fast as the profile's machine the server is.
    #[arg(long, value_name = "Y", default_value_t = 1.0)]
    server_speedup: f64,
}

impl ExplainArgs {
    /// The decision that a client with a warm connection would make.
    pub(crate) fn explanation(&self, bundle: &Bundle) -> Result<Explanation> {
        let (manifest, now) = (bundle.manifest(), Instant::now());
        let objective = self.objective.objective(&Objective::default())?;
        let link = LinkPrior {
            rtt_ms: self.rtt_ms,
            rate_bps: self.rate_mbit * 1e6,
        };
        link.check()?;
        for (name, value) in [
            ("--device-slowdown", self.device_slowdown),
            ("--server-speedup", self.server_speedup),
        ] {
            if !value.is_finite() || value <= 0.0 {
                anyhow::bail!("{name} must be above 0, got {value}");
            }
        }
        let last = manifest.last_cut();
        let mut estimates = Estimates::new(manifest, bundle.profile(), link, self.server_speedup);
        let whole_ms = estimates.device.span_ms(0, last, now);
        estimates
            .device
            .observe(0, last, whole_ms * self.device_slowdown, now);
        estimates.link.connected(Some(self.rtt_ms), now);
        let plans = match bundle.calibration() {
            Some(calibration) => calibrated_plans(manifest, calibration, &objective),
            None => all_plans(
                manifest,
                Precision::Levels(Levels::EIGHT_BITS),
                Codec::Zstd,
                PhotoCodec::WebPLossless,
            ),
        };
        let every_cut: Vec<usize> = (0..=last).collect();
        Ok(Planner::new(&plans, estimates, objective).explain(&every_cut, now))
    }
}

/// The explanation as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    objective: String,
    rtt_ms: f64,
    rate_bps: f64,
    device_factor: f64,
    server_factor: f64,
    chosen: String,
    reason: String,
    candidates: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    plan: String,
    total_ms: f64,
    p95_ms: f64,
    device_ms: f64,
    pack_ms: f64,
    network_ms: f64,
    queue_ms: f64,
    server_ms: f64,
    stage_ms: f64,
    bytes: usize,
    energy_mj: f64,
    accuracy_drop_pp: Option<f64>,
    verdict: String,
}

impl Report {
    pub(crate) fn new(explanation: &Explanation) -> Self {
        Self {
            objective: explanation.objective.to_string(),
            rtt_ms: explanation.rtt_ms,
            rate_bps: explanation.rate_bps,
            device_factor: explanation.device_factor,
            server_factor: explanation.server_factor,
            chosen: explanation.chosen.name(),
            reason: explanation.reason.clone(),
            candidates: explanation
                .rows
                .iter()
                .map(|row| {
                    let c = &row.candidate;
                    Row {
                        plan: c.name(),
                        total_ms: c.total_ms,
                        p95_ms: c.p95_ms,
                        device_ms: c.device_ms,
                        pack_ms: c.pack_ms,
                        network_ms: c.network_ms,
                        queue_ms: c.queue_ms,
                        server_ms: c.server_ms,
                        stage_ms: c.stage_ms,
                        bytes: c.bytes,
                        energy_mj: c.energy_mj,
                        accuracy_drop_pp: c.accuracy_drop_pp,
                        verdict: row.verdict.clone(),
                    }
                })
                .collect(),
        }
    }
}

/// The explanation for people.
pub(crate) fn describe(explanation: &Explanation) -> Result<String> {
    let Explanation {
        objective,
        rtt_ms,
        rate_bps,
        device_factor,
        server_factor,
        chosen,
        reason,
        rows,
        ..
    } = explanation;
    let mut text = String::new();
    writeln!(text, "objective   {objective}{}", limits(objective))?;
    writeln!(
        text,
        "link        {rtt_ms:.0} ms, {:.2} Mbit/s",
        rate_bps / 1e6
    )?;
    writeln!(
        text,
        "speed       device {device_factor:.2} times as long as the profile's machine, server \
         {server_factor:.2} times"
    )?;
    writeln!(text, "chosen      {}", chosen.name())?;
    writeln!(text, "because     {reason}")?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "plan", "ms", "p95", "device", "pack", "network", "server", "stage", "bytes", "mJ", "pp",
        "why",
    ]);
    for row in rows {
        let c = &row.candidate;
        let drop_pp = c.accuracy_drop_pp;
        table.add_row([
            c.name(),
            format!("{:.1}", c.total_ms),
            format!("{:.1}", c.p95_ms),
            format!("{:.1}", c.device_ms),
            format!("{:.1}", c.pack_ms),
            format!("{:.1}", c.network_ms),
            format!("{:.1}", c.queue_ms + c.server_ms),
            format!("{:.1}", c.stage_ms),
            c.bytes.to_string(),
            format!("{:.0}", c.energy_mj),
            drop_pp.map_or_else(|| "?".to_owned(), |pp| format!("{pp:.2}")),
            row.verdict.clone(),
        ]);
    }
    for column in 1..11 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    write!(text, "\n{table}")?;
    Ok(text)
}

/// The limits of an objective, in words.
fn limits(objective: &Objective) -> String {
    let limits = &objective.limits;
    let parts = [
        limits.latency_ms.map(|ms| format!("95 % within {ms} ms")),
        limits.throughput_fps.map(|fps| format!("{fps} frames/s")),
        Some(format!(
            "at most {} pp of accuracy",
            objective.accuracy_drop_pp()
        )),
        limits.server_ms.map(|ms| format!("{ms} ms of the server")),
        limits.bytes.map(|bytes| format!("{bytes} bytes")),
        limits
            .metered_bytes_per_day
            .map(|bytes| format!("{bytes} bytes a day where metered")),
        limits.energy_mj.map(|mj| format!("{mj} mJ")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!(", with {}", parts.join(", "))
}
