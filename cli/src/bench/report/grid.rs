//! The grid: which bundles, devices, links and objectives are simulated, and what names a cell.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dyno_core::bundle::Bundle;
use dyno_core::schedule::{Metric, Objective};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Args;
use crate::simulate::Scenario;
use crate::trace::Trace;

/// Files of a bundle that a simulation depends on; the first names the hash of all weights.
const BUNDLE_FILES: [&str; 3] = ["bundle.json", "profile.json", "calibration.json"];
/// Between an answer and the next call, where calls follow one another.
const PAUSE_MS: f64 = 100.0;
/// Longest part of a trace that is played.
const MAX_TRACE_S: f64 = 120.0;
/// Length of a run on a link of one rate: of calls, and of a stream, which makes many more.
const CALLS_S: f64 = 60.0;
const STREAM_S: f64 = 30.0;
/// Most characters of a cell's file name that are words.
const MAX_NAME_LETTERS: usize = 80;
/// Digits of the hash in a cell's file name.
const HASH_DIGITS: usize = 16;

/// What a cell is to optimise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Aim {
    Latency,
    Throughput,
    /// Least server time within 100 ms.
    Onloading,
}

impl Aim {
    pub(super) const ALL: [Self; 3] = [Self::Latency, Self::Throughput, Self::Onloading];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Onloading => "onloading",
        }
    }

    pub(super) fn objective(self) -> Objective {
        match self {
            Self::Latency => Objective::minimal(Metric::Latency),
            Self::Throughput => Objective::minimal(Metric::Throughput),
            Self::Onloading => Objective::default(),
        }
    }
}

/// A bundle, opened.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) bundle: Bundle,
    pub(super) name: String,
    /// Of everything in it that a simulation depends on.
    digest: String,
}

/// A link: one rate, or a trace.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) rate_mbit: Option<f64>,
    pub(super) trace: Trace,
    digest: String,
}

/// Everything that is to be simulated.
#[derive(Debug)]
pub(super) struct Grid {
    pub(super) models: Vec<Model>,
    pub(super) slowdowns: Vec<f64>,
    /// Rates first, in ascending order, then traces by name.
    pub(super) links: Vec<Link>,
    /// Every link has each of them; in ascending order.
    pub(super) rtts_ms: Vec<f64>,
    seconds: Option<f64>,
    /// Hash of this program: another one may plan otherwise.
    program: String,
}

/// What a cell's numbers depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) model: String,
    pub(super) aim: Aim,
    pub(super) slowdown: f64,
    pub(super) link: String,
    /// None of a trace.
    pub(super) rate_mbit: Option<f64>,
    pub(super) rtt_ms: f64,
    pub(super) seconds: f64,
    pub(super) bundle_digest: String,
    pub(super) link_digest: String,
    pub(super) program: String,
}

/// A cell that is to be simulated.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) key: Key,
    pub(super) model: &'a Model,
    pub(super) scenario: Scenario,
}

impl Grid {
    pub(super) fn new(args: &Args) -> Result<Self> {
        let models: Vec<Model> = args
            .bundle
            .iter()
            .map(|p| Model::open(p))
            .collect::<Result<_>>()?;
        if let Some(twice) = first_twice(models.iter().map(|model| model.name.as_str())) {
            bail!("two of the bundles are of '{twice}': the page could not tell them apart");
        }
        let mut links: Vec<Link> = ascending(&args.rates)
            .into_iter()
            .map(Link::of_rate)
            .collect();
        if let Some(folder) = &args.traces {
            links.extend(traces(folder)?);
        }
        Ok(Self {
            models,
            slowdowns: ascending(&args.slowdowns),
            links,
            rtts_ms: ascending(&args.rtts_ms),
            seconds: args.seconds,
            program: digest_of_program()?,
        })
    }

    /// Every cell, in the order of bundles, devices, links and aims.
    pub(super) fn jobs(&self) -> Vec<Job<'_>> {
        let mut jobs = Vec::new();
        for model in &self.models {
            for &slowdown in &self.slowdowns {
                for (link, rtt_ms) in self.ways() {
                    let job = |aim| self.job(model, slowdown, link, rtt_ms, aim);
                    jobs.extend(Aim::ALL.map(job));
                }
            }
        }
        jobs
    }

    /// Every link with each round trip, the shortest first.
    pub(super) fn ways(&self) -> impl Iterator<Item = (&Link, f64)> {
        let with_rtt = |&rtt_ms: &f64| self.links.iter().map(move |link| (link, rtt_ms));
        self.rtts_ms.iter().flat_map(with_rtt)
    }

    fn job<'a>(
        &self,
        model: &'a Model,
        slowdown: f64,
        link: &Link,
        rtt_ms: f64,
        aim: Aim,
    ) -> Job<'a> {
        let seconds = self.seconds.unwrap_or_else(|| link.seconds(aim));
        Job {
            key: Key {
                model: model.name.clone(),
                aim,
                slowdown,
                link: link.name.clone(),
                rate_mbit: link.rate_mbit,
                rtt_ms,
                seconds,
                bundle_digest: model.digest.clone(),
                link_digest: link.digest.clone(),
                program: self.program.clone(),
            },
            model,
            scenario: Scenario {
                trace: link.trace.clone(),
                rtt_ms,
                device_slowdown: slowdown,
                server_speedup: 1.0,
                pause_ms: PAUSE_MS,
                duration_ms: seconds * 1e3,
            },
        }
    }
}

impl Key {
    /// Words for people, and a hash of everything.
    pub(super) fn file_name(&self) -> Result<String> {
        let json = serde_json::to_vec(self).context("cannot write JSON")?;
        let hash = &hex(&json)[..HASH_DIGITS];
        let words = format!(
            "{} x{} {} {}",
            self.model,
            self.slowdown,
            self.link,
            self.aim.as_str()
        );
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        };
        let words: String = words.chars().map(plain).take(MAX_NAME_LETTERS).collect();
        Ok(format!("{words}-{hash}.json"))
    }

    /// The cell in words.
    pub(super) fn place(&self) -> String {
        format!(
            "{}, device ×{}, {}, {} ms",
            self.model, self.slowdown, self.link, self.rtt_ms
        )
    }
}

impl Model {
    fn open(folder: &Path) -> Result<Self> {
        let bundle = Bundle::open(folder)?;
        let mut digest = Sha256::new();
        for name in BUNDLE_FILES {
            // Neither profile nor calibration need be there; the bundle's own file was read before.
            let content = std::fs::read(folder.join(name)).unwrap_or_default();
            digest.update((content.len() as u64).to_le_bytes());
            digest.update(content);
        }
        Ok(Self {
            name: bundle.manifest().model.clone(),
            digest: hex_of(&digest.finalize()),
            bundle,
        })
    }
}

impl Link {
    pub(super) fn of_rate(mbit: f64) -> Self {
        Self {
            name: format!("{mbit} Mbit/s"),
            rate_mbit: Some(mbit),
            trace: Trace::constant(mbit * 1e6),
            digest: String::new(),
        }
    }

    fn read(path: &Path) -> Result<Self> {
        let content = std::fs::read(path)
            .with_context(|| format!("cannot read the trace {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.into_owned(),
            rate_mbit: None,
            trace: Trace::read(path)?,
            digest: hex(&content),
        })
    }

    fn seconds(&self, aim: Aim) -> f64 {
        match (self.rate_mbit, aim) {
            (None, _) => (self.trace.duration_ms() / 1e3).min(MAX_TRACE_S),
            (Some(_), Aim::Throughput) => STREAM_S,
            (Some(_), Aim::Latency | Aim::Onloading) => CALLS_S,
        }
    }
}

/// Every CSV file of a folder, by name.
fn traces(folder: &Path) -> Result<Vec<Link>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "csv"));
    if paths.is_empty() {
        bail!("there is no CSV file in {}", folder.display());
    }
    paths.sort();
    paths.iter().map(|path| Link::read(path)).collect()
}

fn digest_of_program() -> Result<String> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let content = std::fs::read(&program)
        .with_context(|| format!("cannot read this program, {}", program.display()))?;
    Ok(hex(&content))
}

fn ascending(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

fn first_twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    let mut names = names;
    names.find(|name| !seen.insert(*name))
}

fn hex(content: &[u8]) -> String {
    hex_of(&Sha256::digest(content))
}

fn hex_of(hash: &[u8]) -> String {
    let bytes: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            model: "m/../x".into(),
            aim: Aim::Latency,
            slowdown: 16.0,
            link: "0.25 Mbit/s".into(),
            rate_mbit: Some(0.25),
            rtt_ms: 40.0,
            seconds: 60.0,
            bundle_digest: "b".into(),
            link_digest: String::new(),
            program: "p".into(),
        }
    }

    #[test]
    fn a_file_is_named_for_everything_that_its_numbers_depend_on() {
        let name = key().file_name().unwrap();
        assert!(
            name.starts_with("m-..-x-x16-0.25-Mbit-s-latency-"),
            "{name}"
        );
        assert_eq!(name, key().file_name().unwrap());
        let changes: [fn(&mut Key); 8] = [
            |key| key.model = "n".into(),
            |key| key.aim = Aim::Throughput,
            |key| key.slowdown = 4.0,
            |key| key.rtt_ms = 41.0,
            |key| key.seconds = 61.0,
            |key| key.bundle_digest = "c".into(),
            |key| key.link_digest = "l".into(),
            |key| key.program = "q".into(),
        ];
        for change in changes {
            let mut other = key();
            change(&mut other);
            assert_ne!(other.file_name().unwrap(), name, "{other:?}");
        }
    }

    #[test]
    fn a_name_is_never_a_path_and_never_too_long() {
        let mut key = key();
        key.link = "/".repeat(1000);
        let name = key.file_name().unwrap();
        assert!(!name.contains('/') && name.len() < 120, "{name}");
    }

    #[test]
    fn rates_are_sorted_and_counted_once() {
        assert_eq!(ascending(&[5.0, 0.5, 5.0]), [0.5, 5.0]);
        assert_eq!(first_twice(["a", "b", "a"].into_iter()), Some("a"));
        assert_eq!(first_twice(["a", "b"].into_iter()), None);
    }

    #[test]
    fn links_are_played_for_as_long_as_they_are_worth() {
        let rate = Link::of_rate(0.25);
        assert_eq!(rate.name, "0.25 Mbit/s");
        assert!(rate.seconds(Aim::Throughput) < rate.seconds(Aim::Latency));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b.csv"), "t_ms,kbit_s\n0,5\n500000,7\n").unwrap();
        std::fs::write(folder.path().join("a.csv"), "t_ms,kbit_s\n0,5\n500,7\n").unwrap();
        std::fs::write(folder.path().join("README.md"), "no trace").unwrap();
        let links = traces(folder.path()).unwrap();
        let seconds: Vec<_> = links
            .iter()
            .map(|l| (l.name.as_str(), l.seconds(Aim::Latency)))
            .collect();
        assert_eq!(seconds, [("a", 1.0), ("b", MAX_TRACE_S)]);
    }
}
