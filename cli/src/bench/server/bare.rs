//! What the server is measured against: a bare loop over the same tails, in a process of its own on
//! the same cores, with a thread for each core and nothing between it and ONNX Runtime.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use dyno_core::TensorSpec;
use dyno_core::bundle::{Bundle, TailBatch};
use dyno_core::runtime::environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;
use serde::{Deserialize, Serialize};

use super::cores::{self, Cores};
use super::schedule::Random;
use super::versus::Versus;
use crate::output;

/// Runs of every tail before the clock starts.
const WARM_UP_RUNS: usize = 2;

/// Arguments of the hidden `dyno bench bare-tails`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    #[arg(long)]
    bundle: PathBuf,
    /// Cuts whose tails are run, by turns.
    #[arg(long, value_delimiter = ',')]
    cuts: Vec<usize>,
    /// Activations in one run.
    #[arg(long)]
    batch: usize,
    /// Threads, each with sessions of its own.
    #[arg(long)]
    threads: usize,
    /// Seconds of the measurement.
    #[arg(long)]
    seconds: f64,
}

/// What such a process prints.
#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    tails_per_s: f64,
}

/// What the loop is to do.
#[derive(Debug, Clone)]
pub(super) struct BareLoop<'a> {
    pub(super) bundle: &'a Path,
    pub(super) cuts: &'a [usize],
    /// Those of the server; all of the machine's if none are named.
    pub(super) cores: Option<&'a Cores>,
    pub(super) seconds: f64,
}

impl BareLoop<'_> {
    /// Tails a second with so many activations in a run, in a process of its own.
    pub(super) fn tails_per_s(&self, batch: usize) -> Result<f64> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let threads = match self.cores {
            Some(cores) => cores.count(),
            None => std::thread::available_parallelism()?.get(),
        };
        let cuts: Vec<String> = self.cuts.iter().map(ToString::to_string).collect();
        let mut command = Command::new(program);
        command
            .args(["bench", "bare-tails", "--bundle"])
            .arg(self.bundle);
        command.args(["--cuts", &cuts.join(","), "--batch", &batch.to_string()]);
        command.args(["--threads", &threads.to_string()]);
        command.args(["--seconds", &self.seconds.to_string()]);
        let output = cores::on(self.cores, || {
            command.output().context("cannot start the bare loop")
        })?;
        if !output.status.success() {
            bail!(
                "the bare loop failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let reading: Reading =
            serde_json::from_slice(&output.stdout).context("the bare loop printed no JSON")?;
        Ok(reading.tails_per_s)
    }
}

/// The loop at each batch size, and the server beside it at the best one.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    batches: Vec<Batch>,
    best_batch: usize,
    /// The server (`ours`) and the loop at its best (`theirs`), by turns.
    #[serde(flatten)]
    versus: Versus,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Batch {
    batch: usize,
    tails_per_s: f64,
}

impl Compared {
    /// Tries the loop's batch sizes, then measures `rounds` of the server (`ours`, requests a second) and the
    /// best of them by turns; `done` is called after each measurement.
    pub(super) fn measure(
        bare: &BareLoop<'_>,
        sizes: &[usize],
        rounds: usize,
        done: &dyn Fn(),
        ours: impl Fn() -> Result<f64>,
    ) -> Result<Self> {
        let measured = |batch| {
            let tails_per_s = bare.tails_per_s(batch);
            done();
            tails_per_s
        };
        let mut batches = Vec::new();
        for &batch in sizes {
            batches.push(Batch {
                batch,
                tails_per_s: measured(batch)?,
            });
        }
        let best = batches
            .iter()
            .max_by(|a, b| a.tails_per_s.total_cmp(&b.tails_per_s));
        let best_batch = best.context("there is no batch size to try")?.batch;
        let ours = || {
            let rate = ours();
            done();
            rate
        };
        Ok(Self {
            versus: Versus::measure(rounds, ours, || measured(best_batch))?,
            batches,
            best_batch,
        })
    }

    /// For people.
    pub(super) fn lines(&self) -> [String; 2] {
        let sizes: Vec<String> = self
            .batches
            .iter()
            .map(|b| format!("{:.1} at {}", b.tails_per_s, b.batch))
            .collect();
        let (ours, theirs) = self.versus.medians();
        [
            format!(
                "bare loop, tails a second by batch size: {}",
                sizes.join(", ")
            ),
            format!(
                "server {ours:.1} requests a second, bare loop {theirs:.1} at batch size {} (medians of \
                 {} rounds by turns); median ratio {:.3}",
                self.best_batch,
                self.versus.rounds.len(),
                self.versus.ratio
            ),
        ]
    }
}

/// The process: runs the tails and prints how many it ran a second.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    environment()?;
    let time = Duration::try_from_secs_f64(args.seconds)?;
    let rates = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads.max(1))
            .map(|_| {
                let bundle = &bundle;
                scope.spawn(move || {
                    let mut tails = args
                        .cuts
                        .iter()
                        .map(|&cut| Tail::new(bundle, cut, args.batch))
                        .collect::<Result<Vec<Tail>>>()?;
                    rate(&mut tails, time)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread failed"))?)
            .collect::<Result<Vec<f64>>>()
    })?;
    output::json_line(&Reading {
        tails_per_s: rates.iter().sum::<f64>() * args.batch as f64,
    })
}

/// Runs a second, of every tail by turns: whole rounds only, or which tails came often would decide.
fn rate(tails: &mut [Tail], time: Duration) -> Result<f64> {
    for tail in tails.iter_mut() {
        for _ in 0..WARM_UP_RUNS {
            tail.run()?;
        }
    }
    let (start, mut runs) = (Instant::now(), 0usize);
    while start.elapsed() < time {
        for tail in tails.iter_mut() {
            tail.run()?;
        }
        runs += tails.len();
    }
    Ok(runs as f64 / start.elapsed().as_secs_f64())
}

/// A session of one tail, and what it is given.
struct Tail {
    session: Session,
    inputs: Vec<(String, Tensor<f32>)>,
}

impl Tail {
    fn new(bundle: &Bundle, cut: usize, batch: usize) -> Result<Self> {
        let together = if batch > 1 {
            TailBatch::Any
        } else {
            TailBatch::One
        };
        let tail = bundle.tail_model(cut, together)?;
        let environment = environment()?;
        let builder = || -> ort::Result<Session> {
            Session::builder(environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(1)?
                .with_inter_threads(1)?
                .with_intra_op_spinning(false)?
                .commit_from_memory(&tail.onnx)
        };
        let session = builder()?;
        let inputs = tail
            .inputs
            .iter()
            .map(|spec| Ok((spec.name.clone(), sample(spec, batch)?)))
            .collect::<Result<_>>()?;
        Ok(Self { session, inputs })
    }

    fn run(&mut self) -> Result<()> {
        let inputs: Vec<(&str, SessionInputValue<'_>)> = self
            .inputs
            .iter()
            .map(|(name, value)| (name.as_str(), SessionInputValue::from(value)))
            .collect();
        std::hint::black_box(self.session.run(inputs)?);
        Ok(())
    }
}

/// As many activations as make a batch: half of the elements are 0, as behind a ReLU.
fn sample(spec: &TensorSpec, batch: usize) -> Result<Tensor<f32>> {
    let mut random = Random::new(1);
    let mut shape = spec.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first *= batch;
    }
    let elements: usize = shape.iter().product();
    let values: Vec<f64> = (0..elements)
        .map(|_| (random.share() - 0.5).max(0.0))
        .collect();
    #[allow(clippy::cast_possible_truncation, reason = "any f32 will do")]
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    Ok(Tensor::from_array((shape, values))?)
}
