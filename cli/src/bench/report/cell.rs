//! One cell: how every policy did, and the file that remembers it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use dyno_core::schedule::Plan;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::grid::{Aim, Job, Key};
use crate::simulate::report::Summary;
use crate::simulate::{CallLine, simulate};

/// What a simulation said.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) key: Key,
    /// Whether the best plan for all calls splits in the second half of the model's cuts.
    pub(super) late_cut_wins: bool,
    pub(super) policies: BTreeMap<String, Summary>,
    /// `DynO`'s calls, of latency on a trace: what is drawn over time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) calls: Vec<CallLine>,
}

impl Cell {
    /// Simulates.
    pub(super) fn simulate(job: &Job<'_>) -> Self {
        let bundle = &job.model.bundle;
        let objective = job.key.aim.objective();
        let simulated = simulate(bundle, &objective, &job.scenario);
        let last_cut = bundle.manifest().last_cut();
        let is_late = |plan: Plan| match plan {
            Plan::Split { cut, .. } => 2 * cut >= last_cut && cut < last_cut,
            _ => false,
        };
        let is_drawn = job.key.aim == Aim::Latency && job.key.rate_mbit.is_none();
        let lines = simulated
            .calls
            .iter()
            .filter(|_| is_drawn)
            .map(CallLine::of);
        Self {
            key: job.key.clone(),
            late_cut_wins: simulated.best_fixed.is_some_and(is_late),
            policies: simulated
                .policies
                .policies
                .into_iter()
                .map(|(name, summary)| (name.to_owned(), summary))
                .collect(),
            // JSON has no infinity: a call without an answer is none that could be drawn.
            calls: lines.filter(|line| line.latency_ms.is_finite()).collect(),
        }
    }

    /// The cell as it was kept; none where it was not, or not by this version.
    pub(super) fn read(folder: &Path, key: &Key) -> Result<Option<Self>> {
        let Ok(content) = std::fs::read(folder.join(key.file_name()?)) else {
            return Ok(None);
        };
        let cell = serde_json::from_slice::<Self>(&content).ok();
        Ok(cell.filter(|cell| cell.key == *key))
    }

    /// Keeps it, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(self.key.file_name()?);
        let json = serde_json::to_vec(self).context("cannot write JSON")?;
        let write = || -> std::io::Result<()> {
            let mut file = NamedTempFile::new_in(folder)?;
            file.write_all(&json)?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    pub(super) fn without_calls(&self) -> Self {
        Self {
            calls: Vec::new(),
            ..self.clone()
        }
    }

    pub(super) fn policy(&self, name: &str) -> Option<&Summary> {
        self.policies.get(name)
    }

    /// Mean latency of `DynO` over that of the oracle.
    pub(super) fn regret(&self) -> Option<f64> {
        let (dyno, oracle) = (self.policy("dyno")?, self.policy("oracle")?);
        ratio(dyno.latency_ms.mean, oracle.latency_ms.mean)
    }

    /// Frames a second of `DynO` over those of a rival.
    pub(super) fn speed_over(&self, rival: &str) -> Option<f64> {
        let (dyno, rival) = (self.policy("dyno")?, self.policy(rival)?);
        ratio(dyno.throughput_fps, rival.throughput_fps)
    }

    /// Bytes of the raw photo over those of `DynO`.
    pub(super) fn bytes_saved(&self) -> Option<f64> {
        let (dyno, raw) = (self.policy("dyno")?, self.policy("server_raw")?);
        ratio(raw.bytes_mean, dyno.bytes_mean)
    }
}

fn ratio(a: f64, b: f64) -> Option<f64> {
    (b > 0.0 && a.is_finite()).then(|| a / b)
}
