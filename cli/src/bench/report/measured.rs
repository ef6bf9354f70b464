//! What `dyno bench link --json` measured, beside the simulation of the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::cell::Cell;
use super::grid::{Aim, Key};

/// As much of a measurement as is compared.
#[derive(Debug, Deserialize)]
pub(super) struct Measured {
    #[serde(skip)]
    pub(super) file: String,
    model: String,
    machine: String,
    device: Device,
    link: Link,
    policies: BTreeMap<String, Summary>,
}

#[derive(Debug, Deserialize)]
struct Device {
    slowdown: f64,
}

#[derive(Debug, Deserialize)]
struct Link {
    up: Rate,
    rtt_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Rate {
    rate_mbit: Option<f64>,
    trace: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    calls: usize,
    latency_ms: Latency,
    bytes_mean: Option<f64>,
    server_ms_mean: Option<f64>,
}

/// Null where nothing was answered.
#[derive(Debug, Deserialize)]
struct Latency {
    mean: Option<f64>,
    p95: Option<f64>,
}

impl Measured {
    pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>> {
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let what = || format!("the measurement {}", path.display());
        let text = std::fs::read(path).with_context(what)?;
        let mut measured: Self = serde_json::from_slice(&text).with_context(what)?;
        let name = path.file_name().unwrap_or_default();
        measured.file = name.to_string_lossy().into_owned();
        Ok(measured)
    }

    /// The simulation of the same bundle, device and link; of latency, which is what calls that
    /// follow one another are measured for.
    pub(super) fn same<'a>(&self, cells: &'a [Cell]) -> Option<&'a Cell> {
        cells.iter().find(|cell| self.is_of(&cell.key))
    }

    fn is_of(&self, key: &Key) -> bool {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs().max(b.abs());
        let up = &self.link.up;
        let same_link = match (up.rate_mbit, key.rate_mbit) {
            (Some(a), Some(b)) => close(a, b),
            (None, None) => {
                let stem = up.trace.as_deref().map(|name| Path::new(name).file_stem());
                stem.flatten().is_some_and(|stem| *stem == *key.link)
            }
            _ => false,
        };
        key.aim == Aim::Latency
            && key.model == self.model
            && same_link
            && close(key.slowdown, self.device.slowdown)
            && close(key.rtt_ms, self.link.rtt_ms)
    }

    /// What it is of, in words.
    pub(super) fn place(&self) -> String {
        let up = &self.link.up;
        let link = up.rate_mbit.map_or_else(
            || up.trace.clone().unwrap_or_default(),
            |mbit| format!("{mbit} Mbit/s"),
        );
        format!(
            "{}: {}, device ×{}, {link}, round trip {} ms; {}",
            self.file, self.model, self.device.slowdown, self.link.rtt_ms, self.machine
        )
    }

    /// A row a policy: calls, then measured and simulated numbers.
    pub(super) fn rows(&self, cell: Option<&Cell>) -> Vec<Vec<String>> {
        let text = |value: Option<f64>| value.map_or_else(|| "–".into(), |v| format!("{v:.0}"));
        let row = |(name, measured): (&String, &Summary)| {
            let simulated = cell.and_then(|cell| cell.policy(name));
            vec![
                name.clone(),
                measured.calls.to_string(),
                text(measured.latency_ms.mean),
                text(simulated.map(|s| s.latency_ms.mean)),
                text(measured.latency_ms.p95),
                text(simulated.map(|s| s.latency_ms.p95)),
                text(measured.bytes_mean),
                text(simulated.map(|s| s.bytes_mean)),
                text(measured.server_ms_mean),
                text(simulated.map(|s| s.server_ms_mean)),
            ]
        };
        self.policies.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cell, latency};
    use super::*;

    const JSON: &str = r#"{"model":"m","machine":"a CPU","device":{"slowdown":16.0,"padded":"x"},
        "link":{"up":{"rate_mbit":5.0},"rtt_ms":40.0,"loss":0.0},
        "policies":{"dyno":{"calls":3,"latency_ms":{"mean":120.0,"p95":150.4},"bytes_mean":10.0,
        "server_ms_mean":null}}}"#;

    #[test]
    fn a_measurement_finds_its_simulation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.json");
        std::fs::write(&path, JSON).unwrap();
        let measured = Measured::read(&path).unwrap();
        let mut same = cell(Aim::Latency, Some(5.0), &[("dyno", latency(100.0))]);
        let mut other = same.clone();
        other.key.slowdown = 4.0;
        same.key.aim = Aim::Latency;
        let cells = [other, same];
        let found = measured.same(&cells).unwrap();
        assert!((found.key.slowdown - 16.0).abs() < 1e-9);
        assert_eq!(
            measured.rows(Some(found))[0],
            ["dyno", "3", "120", "100", "150", "100", "10", "0", "–", "0"]
        );
        assert!(measured.same(&cells[..1]).is_none());
        assert!(
            measured
                .place()
                .starts_with("m.json: m, device ×16, 5 Mbit/s")
        );
        std::fs::write(&path, "{}").unwrap();
        let error = format!("{:#}", Measured::read(&path).unwrap_err());
        assert!(error.contains("m.json"), "{error}");
    }
}
