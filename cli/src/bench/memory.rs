//! Resident memory of a process that runs the model, each case in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dyno_core::bundle::Bundle;
use dyno_core::runtime::{Activation, Cancel, DeviceExecutor, Executor};
use dyno_core::{Tensor, TensorData};
use ort::value::TensorRef;
use serde::{Deserialize, Serialize};

use super::bare::bare_session;
use crate::output;

/// Runs before memory is read.
const RUNS: usize = 20;
/// How often the peak is looked at.
const SAMPLING: Duration = Duration::from_millis(1);
/// Longest time that building the spans of a cut may take.
const MAX_BUILDING_RUNS: usize = 10_000;

/// Arguments of the hidden `dyno bench memory-of`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    #[arg(long)]
    bundle: PathBuf,
    /// Threads that run one inference.
    #[arg(long)]
    threads: usize,
    /// Client at this cut; a bare session without.
    #[arg(long)]
    cut: Option<usize>,
    /// Then move to this cut.
    #[arg(long, requires = "cut")]
    then: Option<usize>,
}

/// Resident memory in MiB.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    /// A bare ONNX Runtime session of the whole model.
    pub(super) bare_mib: f64,
    /// The client's executor in the steady state.
    pub(super) steady: Vec<Steady>,
    /// While the spans of another cut are built, and afterwards.
    pub(super) building: Building,
}

#[derive(Debug, Serialize)]
pub(super) struct Steady {
    pub(super) cut: usize,
    pub(super) mib: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Building {
    pub(super) cut: usize,
    pub(super) peak_mib: f64,
    pub(super) after_mib: f64,
}

/// What a process of the measurement prints.
#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    peak_mib: f64,
    after_mib: f64,
}

/// Starts one process a case. None where `/proc` does not tell the memory.
pub(super) fn measure(bundle: &Path, threads: usize, cuts: &[usize]) -> Result<Option<Memory>> {
    let (Some(&first), Some(&last)) = (cuts.first(), cuts.last()) else {
        return Ok(None);
    };
    if resident_mib().is_none() {
        return Ok(None);
    }
    let bare = read(bundle, threads, None, None)?;
    let steady = |&cut: &usize| -> Result<Steady> {
        Ok(Steady {
            cut,
            mib: read(bundle, threads, Some(cut), None)?.after_mib,
        })
    };
    let steady: Result<Vec<Steady>> = [0].iter().chain(cuts).map(steady).collect();
    let moved = read(bundle, threads, Some(first), Some(last))?;
    Ok(Some(Memory {
        bare_mib: bare.after_mib,
        steady: steady?,
        building: Building {
            cut: last,
            peak_mib: moved.peak_mib,
            after_mib: moved.after_mib,
        },
    }))
}

fn read(bundle: &Path, threads: usize, cut: Option<usize>, then: Option<usize>) -> Result<Reading> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(["bench", "memory-of", "--bundle"]).arg(bundle);
    command.args(["--threads", &threads.to_string()]);
    for (flag, cut) in [("--cut", cut), ("--then", then)] {
        if let Some(cut) = cut {
            command.args([flag, &cut.to_string()]);
        }
    }
    let output = command
        .output()
        .context("cannot start a process to measure")?;
    if !output.status.success() {
        bail!(
            "a measured process failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).context("a measured process printed no JSON")
}

/// One case: runs the model, prints the memory.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Arc::new(Bundle::open(&args.bundle)?);
    let reading = match args.cut {
        None => run_bare(&bundle, args.threads)?,
        Some(cut) => run_client(&bundle, args.threads, cut, args.then)?,
    };
    output::json_line(&reading)
}

fn run_bare(bundle: &Bundle, threads: usize) -> Result<Reading> {
    let mut session = bare_session(bundle, threads)?;
    let input = &bundle.manifest().input;
    let data = vec![0.25f32; input.elements()];
    for _ in 0..RUNS {
        let value = TensorRef::from_array_view((input.shape.clone(), data.as_slice()))?;
        session.run(ort::inputs![value])?;
    }
    let mib = resident_mib().context("memory cannot be read")?;
    Ok(Reading {
        peak_mib: mib,
        after_mib: mib,
    })
}

fn run_client(
    bundle: &Arc<Bundle>,
    threads: usize,
    cut: usize,
    then: Option<usize>,
) -> Result<Reading> {
    let executor = DeviceExecutor::new(bundle.clone(), threads)?;
    executor.prepare(cut)?;
    run_model(bundle, &executor)?;
    let Some(then) = then else {
        let mib = resident_mib().context("memory cannot be read")?;
        return Ok(Reading {
            peak_mib: mib,
            after_mib: mib,
        });
    };
    let done = Arc::new(AtomicBool::new(false));
    let sampler = std::thread::spawn({
        let done = done.clone();
        move || sample_peak(&done)
    });
    executor.request(then);
    let mut runs = 0;
    while !executor.ready_cuts().contains(&then) {
        run_once(bundle, &executor)?;
        runs += 1;
        if runs > MAX_BUILDING_RUNS {
            bail!("the spans of cut {then} were not ready after {runs} runs");
        }
    }
    run_model(bundle, &executor)?;
    done.store(true, Ordering::Relaxed);
    let peak_mib = sampler
        .join()
        .map_err(|_| anyhow::anyhow!("the sampler failed"))?;
    let after_mib = resident_mib().context("memory cannot be read")?;
    Ok(Reading {
        peak_mib,
        after_mib,
    })
}

fn run_model(bundle: &Bundle, executor: &DeviceExecutor) -> Result<()> {
    (0..RUNS).try_for_each(|_| run_once(bundle, executor))
}

fn run_once(bundle: &Bundle, executor: &DeviceExecutor) -> Result<()> {
    let input = &bundle.manifest().input;
    let tensor = Tensor::new(
        input.shape.clone(),
        TensorData::F32(vec![0.25; input.elements()]),
    )?;
    let input = Activation::new(0, vec![tensor]);
    executor.run(input, bundle.manifest().last_cut(), &Cancel::new())?;
    Ok(())
}

fn sample_peak(done: &AtomicBool) -> f64 {
    let mut peak = 0.0f64;
    while !done.load(Ordering::Relaxed) {
        peak = peak.max(resident_mib().unwrap_or(0.0));
        std::thread::sleep(SAMPLING);
    }
    peak
}

/// `VmRSS` of this process; none on systems without `/proc`.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
