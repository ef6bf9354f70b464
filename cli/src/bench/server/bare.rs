//! What the server is measured against: a bare loop over the same tails, in a process of its own on
//! the same cores, with a thread for each core and nothing between it and ONNX Runtime.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
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
use super::turns::{Runner, by_turns};
use super::versus::Versus;
use crate::output;

/// Runs of every tail before the clock starts.
const WARM_UP_RUNS: usize = 2;

/// What the process says when it is ready, and what it is told then to begin.
const READY: &str = "ready";
const GO: &[u8] = b"go\n";

/// Arguments of the hidden `dyno bench bare-tails`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    #[arg(long)]
    bundle: PathBuf,
    /// Cuts whose tails are run, by turns.
    #[arg(long, value_delimiter = ',', required = true)]
    cuts: Vec<usize>,
    /// Activations in one run.
    #[arg(long)]
    batch: usize,
    /// Threads, each with sessions of its own.
    #[arg(long)]
    threads: usize,
}

/// What such a process prints at its end.
#[derive(Debug, Serialize, Deserialize)]
struct Reading {
    tails: f64,
}

/// What the loop is to do.
#[derive(Debug, Clone)]
pub(super) struct BareLoop<'a> {
    pub(super) bundle: &'a Path,
    pub(super) cuts: &'a [usize],
    /// Those of the server; all of the machine's if none are named.
    pub(super) cores: Option<&'a Cores>,
    pub(super) time: Duration,
}

impl BareLoop<'_> {
    /// How many times the tails a second of `than` activations in a run there are with `batch`, by turns.
    fn ratio(&self, batch: usize, than: usize) -> Result<f64> {
        let (mut ours, mut theirs) = (self.start(batch)?, self.start(than)?);
        let runners = (ours.runner()?, theirs.runner()?);
        for (running, runner) in [(&mut ours, &runners.0), (&mut theirs, &runners.1)] {
            runner.stop()?;
            running.begin()?;
        }
        let wait = || {
            std::thread::sleep(self.time);
            Ok(())
        };
        let ((), ran) = by_turns(&runners.0, &runners.1, wait)?;
        runners.1.stop()?;
        let ours = ours.finish(ran.ours)?;
        runners.1.go_on()?;
        Ok(ours / theirs.finish(ran.theirs)?)
    }

    /// A loop that is ready to begin, in a process of its own.
    fn start(&self, batch: usize) -> Result<Running> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let threads = match self.cores {
            Some(cores) => cores.count(),
            None => std::thread::available_parallelism()?.get(),
        };
        let cuts: Vec<String> = self.cuts.iter().map(ToString::to_string).collect();
        let mut command = Command::new(program);
        command
            .args(["bench", "bare-tails", "--bundle"])
            .arg(self.bundle)
            .args(["--cuts", &cuts.join(","), "--batch", &batch.to_string()])
            .args(["--threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = cores::on(self.cores, || {
            command.spawn().context("cannot start the bare loop")
        })?;
        let says = child.stdout.take().map(BufReader::new);
        let mut running = Running { child, says };
        if running.line()?.trim() != READY {
            bail!("the bare loop did not become ready: its error is above");
        }
        Ok(running)
    }
}

/// A process that runs the loop. It ends with this.
struct Running {
    child: Child,
    says: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn begin(&mut self) -> Result<()> {
        let stdin = self.child.stdin.as_mut();
        let told = stdin.context("the bare loop hears nothing")?.write_all(GO);
        told.context("the bare loop has ended")
    }

    fn runner(&self) -> Result<Runner> {
        Runner::new(self.child.id())
    }

    /// Ends it; the tails a second that it ran since it began, of which it had `ran` so far.
    fn finish(mut self, ran: Duration) -> Result<f64> {
        let start = Instant::now();
        drop(self.child.stdin.take());
        let line = self.line()?;
        let reading: Reading =
            serde_json::from_str(&line).context("the bare loop printed no JSON")?;
        Ok(reading.tails / (ran + start.elapsed()).as_secs_f64())
    }

    /// Its next line, which is empty if it has ended.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let says = self.says.as_mut().context("the bare loop says nothing")?;
        says.read_line(&mut line)
            .context("the bare loop cannot be heard")?;
        Ok(line)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The loop at each batch size, and the server beside it at the best one.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    /// Each size but the first, beside the best of those before it.
    tried: Vec<Trial>,
    best_batch: usize,
    /// The server (`ours`) and the loop at its best (`theirs`), in turns.
    #[serde(flatten)]
    versus: Versus,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Trial {
    batch: usize,
    than: usize,
    /// Of the tails a second.
    ratio: f64,
}

impl Compared {
    /// Tries the loop's batch sizes, then runs the best of them and the server by turns of a tenth of a second,
    /// in `rounds` that last as long as `load`, which loads the server and says how many good answers a second there were;
    /// `done` is called after each measurement.
    pub(super) fn measure(
        bare: &BareLoop<'_>,
        sizes: &[usize],
        rounds: usize,
        server: &Runner,
        done: &dyn Fn(),
        load: impl Fn() -> Result<f64> + Sync,
    ) -> Result<Self> {
        let (&first, rest) = sizes
            .split_first()
            .context("there is no batch size to try")?;
        let (mut tried, mut best_batch) = (Vec::new(), first);
        for &batch in rest {
            let (than, ratio) = (best_batch, bare.ratio(batch, best_batch)?);
            done();
            tried.push(Trial { batch, than, ratio });
            if ratio > 1.0 {
                best_batch = batch;
            }
        }
        let round = || {
            let rates = round(bare.start(best_batch)?, server, &load);
            done();
            rates
        };
        Ok(Self {
            versus: Versus::of((0..rounds).map(|_| round()))?,
            tried,
            best_batch,
        })
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let tried = self.tried.iter();
        let mut lines: Vec<String> = tried
            .map(|trial| {
                format!(
                    "bare loop: {:.3} times the tails a second with {} in a run instead of {}",
                    trial.ratio, trial.batch, trial.than
                )
            })
            .collect();
        let (ours, theirs) = self.versus.medians();
        lines.push(format!(
            "server {ours:.1} requests a second, bare loop {theirs:.1} with {} in a run (medians of {} rounds, \
             by turns of a tenth of a second); median ratio {:.3}",
            self.best_batch,
            self.versus.rounds.len(),
            self.versus.ratio
        ));
        lines
    }
}

/// What the server and the loop did, each a second of its own turns.
fn round(
    mut running: Running,
    server: &Runner,
    load: &(impl Fn() -> Result<f64> + Sync),
) -> Result<(f64, f64)> {
    let bare = running.runner()?;
    bare.stop()?;
    running.begin()?;
    let (answers_per_s, ran) = by_turns(server, &bare, load)?;
    let tails_per_s = running.finish(ran.theirs)?;
    if answers_per_s <= 0.0 {
        bail!("the server gave no good answer while it was compared: has it ended?");
    }
    let share = ran.ours.as_secs_f64() / (ran.ours + ran.theirs).as_secs_f64();
    Ok((answers_per_s / share, tails_per_s))
}

/// The process: runs the tails from when it is told to until its input ends, and prints how many it ran.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    environment()?;
    let tails = || -> Result<Vec<Tail>> {
        let cuts = args.cuts.iter();
        cuts.map(|&cut| Tail::new(&bundle, cut, args.batch))
            .collect()
    };
    let threads = (0..args.threads.max(1)).map(|_| tails());
    let threads = threads.collect::<Result<Vec<_>>>()?;
    output::line(READY)?;
    let mut input = std::io::stdin().lock();
    input.read_exact(&mut [0; GO.len()])?;
    let stop = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let start = |mut tails: Vec<Tail>| {
            let stop = &stop;
            scope.spawn(move || rounds(&mut tails, stop))
        };
        let threads: Vec<_> = threads.into_iter().map(start).collect();
        // Nothing more is said: this is its end.
        let ended = input.read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
        ended?;
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread failed"))?)
            .collect::<Result<Vec<f64>>>()
    })?;
    output::json_line(&Reading {
        tails: rounds.iter().sum::<f64>() * (args.cuts.len() * args.batch) as f64,
    })
}

/// Runs of every tail by turns, until it is to stop. Of the last round the share of its time counts: which tails came often would
/// decide if these were counted.
fn rounds(tails: &mut [Tail], stop: &AtomicBool) -> Result<f64> {
    let time = |tails: &[Tail]| tails.iter().map(|tail| tail.fastest).sum::<Duration>();
    let mut whole = 0.0;
    loop {
        for next in 0..tails.len() {
            if stop.load(Ordering::Relaxed) {
                let part = time(&tails[..next]).as_secs_f64() / time(tails).as_secs_f64();
                return Ok(whole + part);
            }
            tails[next].run()?;
        }
        whole += 1.0;
    }
}

/// A session of one tail, and what it is given.
struct Tail {
    session: Session,
    inputs: Vec<(String, Tensor<f32>)>,
    /// Of its runs.
    fastest: Duration,
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
        let mut tail = Self {
            session,
            inputs,
            fastest: Duration::MAX,
        };
        for _ in 0..WARM_UP_RUNS {
            tail.run()?;
        }
        Ok(tail)
    }

    fn run(&mut self) -> Result<()> {
        let start = Instant::now();
        let inputs: Vec<(&str, SessionInputValue<'_>)> = self
            .inputs
            .iter()
            .map(|(name, value)| (name.as_str(), SessionInputValue::from(value)))
            .collect();
        std::hint::black_box(self.session.run(inputs)?);
        self.fastest = self.fastest.min(start.elapsed());
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
