//! `dyno bench server`: what a server does under load.
//!
//! The loop is open: requests are sent when they are due, not when the last answer came, and
//! latency counts from when they were due, so that a server that stalls cannot hide it by slowing
//! its clients down (coordinated omission). Only capacity is measured in a closed loop.

pub(super) mod bare;
mod bodies;
mod chart;
mod connection;
mod cores;
mod load;
mod mix;
mod pacer;
mod plot;
mod process;
mod report;
mod schedule;
mod soak;
mod tally;
mod target;
mod turns;
mod versus;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dyno_core::bundle::Bundle;

use self::bare::{BareLoop, Compared};
use self::bodies::{Bodies, BodyArgs, Destination};
use self::connection::{Answer, Connections, Outcome, exchange};
use self::cores::Cores;
use self::load::{Generators, Load};
use self::mix::{Job, Manner, Shares};
use self::process::Process;
use self::report::{LoadAbout, Report, Step};
use self::schedule::Arrivals;
use self::soak::{Held, Soak};
use self::target::{Target, TargetArgs};
use self::turns::Runner;
use self::versus::Versus;
use super::machine::Machine;
use crate::token::TokenArgs;
use crate::{output, progress};

/// Requests under way in the closed loop where the server does not say how many it admits.
const USUAL_IN_FLIGHT: usize = 16;
/// Longest step, and longest warm-up, in seconds.
const MAX_SECONDS: f64 = 86_400.0;
/// Longest soak, in minutes.
const MAX_MINUTES: f64 = 60.0 * 24.0;
const SECONDS_PER_MINUTE: f64 = 60.0;
/// The flag of a server that runs every request by itself.
const UNBATCHED: &str = "--max-batch=1";
/// Most arrivals a second.
const MAX_RATE: f64 = 1e6;
/// Most threads and connections of the generator.
const MAX_THREADS: usize = 256;
const MAX_CONNECTIONS: usize = 65_536;
/// Most rounds of a comparison.
const MAX_ROUNDS: usize = 1_000;

/// Arguments of `dyno bench server`.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder: the server's, if one is started, and what heads are run with.
    #[arg(long, short)]
    bundle: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    bodies: BodyArgs,
    /// Arrivals a second, a step for each.
    #[arg(long, value_delimiter = ',', value_name = "RATES")]
    rate: Vec<f64>,
    /// Measure the capacity: requests under way one after the other, as many as the server admits.
    #[arg(long)]
    saturate: bool,
    /// Arrivals as percentages of the capacity, a step for each; measures the capacity first.
    #[arg(long, value_delimiter = ',', value_name = "PERCENTAGES")]
    percent_of_capacity: Vec<f64>,
    /// Minutes at a part of the capacity, while the memory of the server's process is watched.
    #[arg(long, value_name = "MINUTES")]
    soak_minutes: Option<f64>,
    /// That part of the capacity, as a percentage.
    #[arg(long, default_value_t = 70.0, value_name = "PERCENTAGE")]
    soak_percent: f64,
    /// Draw memory, file descriptors and threads over the soak, as SVG.
    #[arg(long, value_name = "FILE.svg", requires = "soak_minutes")]
    soak_plot: Option<PathBuf>,
    /// Compare the capacity with that of a server that does not batch (both are started).
    #[arg(long, conflicts_with = "server")]
    compare_batching: bool,
    /// Compare the capacity with a bare ONNX Runtime loop over the same tails on the same cores, by turns of a tenth of
    /// a second (the server is started; Linux).
    #[arg(long, conflicts_with = "server")]
    bare: bool,
    /// Batch sizes of that loop; it counts at its best.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,2,4,8,16",
        value_name = "SIZES"
    )]
    bare_batches: Vec<usize>,
    /// Rounds of a comparison, its two sides by turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests under way while the capacity is measured.
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// Seconds of each step.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds of each step before anything is counted.
    #[arg(long, default_value_t = 1.0)]
    warm_up_seconds: f64,
    /// How arrivals follow each other.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    arrivals: Arrivals,
    /// Seed of arrivals and of what is sent.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Connections of the generator.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_name = "THREADS")]
    load_threads: usize,
    /// Cores of the generator, such as 1 or 4-7.
    #[arg(long, value_name = "CORES")]
    load_cores: Option<Cores>,
    /// Deadline of every request (dyno-deadline-ms); later answers do not count as good.
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u32>,
    #[command(flatten)]
    shares: Shares,
    /// Clients that give up do so within this time, by chance.
    #[arg(long, default_value_t = 20, value_name = "MS")]
    cancel_within_ms: u32,
    #[command(flatten)]
    token: TokenArgs,
    /// Draw latency and good answers against the load, as SVG.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Loads the server and prints what it did.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.check()?;
    let bundle = Arc::new(Bundle::open(&args.bundle)?);
    let bar = progress::bar(0, "packing bodies and starting the server");
    let target = args.target.open(&args.bundle)?;
    let token = args.token.token()?;
    let to = Destination {
        url: &target.url,
        model: &target.model,
        token: token.as_ref(),
        deadline_ms: args.deadline_ms,
    };
    let bodies = Arc::new(args.bodies.make(&bundle, &to)?);
    bar.finish_and_clear();
    let first = first(&target, &bodies)?;
    let mut run = Run {
        args,
        generators: args.generators(&target),
        bodies: &bodies,
        in_flight: args.in_flight.or(first.capacity).unwrap_or(USUAL_IN_FLIGHT),
        steps: Vec::new(),
    };
    let capacity_rps = run.all()?;
    let soak = match (args.soak_minutes, capacity_rps) {
        (Some(minutes), Some(capacity)) => Some(run.soak(minutes, capacity, target.pid)?),
        _ => None,
    };
    let batching = if args.compare_batching {
        Some(run.compare_batching()?)
    } else {
        None
    };
    let bare = match target.pid {
        Some(server) if args.bare => Some(run.compare_bare(&bodies.summary.cuts, server)?),
        _ => None,
    };
    let report = Report {
        machine: Machine::here(),
        model: bundle.manifest().model.clone(),
        bundle: bundle.manifest().hash.to_string(),
        server: args.target.about(&target),
        load: args.load_about(),
        bodies: bodies.summary.clone(),
        steps: run.steps,
        capacity_rps,
        soak,
        batching,
        bare,
    };
    draw(args, &report)?;
    if args.json {
        output::json(&report)
    } else {
        report::print(&report)
    }
}

/// The pictures that were asked for.
fn draw(args: &Args, report: &Report) -> Result<()> {
    let write = |path: &Path, picture: String| {
        std::fs::write(path, picture)
            .with_context(|| format!("cannot write the picture to {}", path.display()))
    };
    if let Some(path) = &args.plot {
        let picture = plot::of(&report.model, &report.steps, report.capacity_rps);
        write(path, picture)?;
    }
    let held = report.soak.as_ref().and_then(|soak| soak.process.as_ref());
    if let (Some(path), Some(held)) = (&args.soak_plot, held) {
        write(path, held.picture(&report.model))?;
    }
    Ok(())
}

/// One request, before the load: whether the server takes what is sent.
fn first(target: &Target, bodies: &Bodies) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let job = Job {
        manner: Manner::Ordinary,
        body: 0,
        luck: 0.0,
    };
    let request = bodies.good.first().context("there is nothing to send")?;
    let outcome = runtime.block_on(async {
        let connections = Connections::open(target.address, 1).await?;
        anyhow::Ok(exchange(connections.next(job.manner), request, job, Duration::ZERO).await)
    })?;
    match outcome {
        Outcome::Answered(answer) if answer.status == 200 => Ok(answer),
        Outcome::Answered(answer) => bail!(
            "the server answered {} to the first request: is it another bundle, or a token that it \
             does not know?",
            answer.status
        ),
        _ => bail!(
            "the server at {} did not answer the first request",
            target.url
        ),
    }
}

/// The steps as they are done.
struct Run<'a> {
    args: &'a Args,
    generators: Generators,
    bodies: &'a Arc<Bodies>,
    /// Of the closed loop.
    in_flight: usize,
    steps: Vec<Step>,
}

impl Run<'_> {
    /// All steps that were asked for; the capacity if it was measured.
    fn all(&mut self) -> Result<Option<f64>> {
        let args = self.args;
        let measures = args.saturate
            || !args.percent_of_capacity.is_empty()
            || args.soak_minutes.is_some()
            || args.rate.is_empty();
        let steps = args.rate.len() + args.percent_of_capacity.len() + 2 * usize::from(measures);
        let bar = progress::bar(steps as u64, "loading the server");
        let mut capacity = None;
        if measures {
            self.step("alone".to_owned(), Load::InFlight(1), None)?;
            bar.inc(1);
            let load = Load::InFlight(self.in_flight);
            capacity = Some(self.step("saturated".to_owned(), load, None)?);
            bar.inc(1);
        }
        for &rate in &args.rate {
            self.step(format!("{rate}/s"), Load::Rate(rate), None)?;
            bar.inc(1);
        }
        for &percent in &args.percent_of_capacity {
            let rate = capacity.unwrap_or_default() * percent / 100.0;
            if rate <= 0.0 {
                bail!("the server gave no good answer while its capacity was measured");
            }
            self.step(format!("{percent} %"), Load::Rate(rate), Some(percent))?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(capacity)
    }

    /// Good answers a second.
    fn step(&mut self, name: String, load: Load, percent: Option<f64>) -> Result<f64> {
        let time = Duration::from_secs_f64(self.args.seconds);
        let mut step = self.measure(&self.generators, name, load, time)?;
        step.percent_of_capacity = percent;
        let good = step.goodput_rps;
        self.steps.push(step);
        Ok(good)
    }

    fn measure(
        &self,
        generators: &Generators,
        name: String,
        load: Load,
        time: Duration,
    ) -> Result<Step> {
        // The closed loop measures what the server can do, and not for misbehaving clients.
        let shares = match load {
            Load::Rate(_) => self.args.shares,
            Load::InFlight(_) => Shares::default(),
        };
        let number = self.steps.len() as u64;
        let tally = generators.run(self.bodies, load, shares, time, number)?;
        Ok(Step::new(name, load, time, &tally))
    }

    /// A long step at a part of the capacity.
    fn soak(&self, minutes: f64, capacity_rps: f64, pid: Option<u32>) -> Result<Soak> {
        let time = Duration::from_secs_f64(minutes * SECONDS_PER_MINUTE);
        let rate = capacity_rps * self.args.soak_percent / 100.0;
        let name = format!("{minutes} min at {} %", self.args.soak_percent);
        let bar = progress::bar(0, "soaking");
        let work = || self.measure(&self.generators, name, Load::Rate(rate), time);
        let (step, samples) = match pid.map(Process::new).transpose()? {
            Some(process) => process.during(soak::interval(time), work)?,
            None => (work()?, Vec::new()),
        };
        bar.finish_and_clear();
        Ok(Soak {
            step,
            process: Held::new(samples),
        })
    }

    /// The capacity of the server over what a bare loop does at its best batch size.
    fn compare_bare(&self, cuts: &[usize], server: u32) -> Result<Compared> {
        let args = self.args;
        let bare = BareLoop {
            bundle: &args.bundle,
            cuts,
            cores: args.target.server_cores.as_ref(),
            time: Duration::from_secs_f64(args.seconds),
        };
        let sizes = args.bare_batches.len() - 1 + args.rounds;
        let bar = progress::bar(sizes as u64, "comparing with a bare loop");
        let compared = Compared::measure(
            &bare,
            &args.bare_batches,
            args.rounds,
            &Runner::new(server)?,
            &|| bar.inc(1),
            || {
                let time = turns::whole_turns(Duration::from_secs_f64(args.seconds));
                self.capacity(&self.generators, time)
            },
        );
        bar.finish_and_clear();
        compared
    }

    /// Good answers a second, in a closed loop that no other step is named after.
    fn capacity(&self, generators: &Generators, time: Duration) -> Result<f64> {
        let load = Load::InFlight(self.in_flight);
        let step = self.measure(generators, String::new(), load, time)?;
        Ok(step.goodput_rps)
    }

    /// The capacity of the server as it is, over that of one that runs every request by itself.
    fn compare_batching(&self) -> Result<Versus> {
        let args = self.args;
        let bar = progress::bar(2 * args.rounds as u64, "comparing");
        let single = args
            .target
            .open_with(&args.bundle, &[UNBATCHED.to_owned()])?;
        let ours = self.generators.clone();
        let theirs = args.generators(&single);
        let capacity = |generators: &Generators| {
            bar.inc(1);
            self.capacity(generators, Duration::from_secs_f64(args.seconds))
        };
        let versus = Versus::measure(args.rounds, || capacity(&ours), || capacity(&theirs));
        bar.finish_and_clear();
        versus
    }
}

impl Args {
    fn check(&self) -> Result<()> {
        let positive = |value: f64, most: f64| value > 0.0 && value <= most;
        if !positive(self.seconds, MAX_SECONDS) {
            bail!(
                "--seconds must be above 0 and at most {MAX_SECONDS}, got {}",
                self.seconds
            );
        }
        if !(0.0..=MAX_SECONDS).contains(&self.warm_up_seconds) {
            bail!("--warm-up-seconds must be from 0 to {MAX_SECONDS}");
        }
        let rates = self.rate.iter().chain(&self.percent_of_capacity);
        if let Some(rate) = rates.into_iter().find(|rate| !positive(**rate, MAX_RATE)) {
            bail!("rates and percentages must be above 0 and at most {MAX_RATE}, got {rate}");
        }
        if !(1..=MAX_THREADS).contains(&self.load_threads)
            || !(1..=MAX_CONNECTIONS).contains(&self.connections)
            || self.in_flight == Some(0)
            || self.bare_batches.is_empty()
            || self.bare_batches.contains(&0)
            || !(1..=MAX_ROUNDS).contains(&self.rounds)
        {
            bail!(
                "--load-threads must be from 1 to {MAX_THREADS}, --connections from 1 to \
                 {MAX_CONNECTIONS}, --rounds from 1 to {MAX_ROUNDS}, and --in-flight and --bare-batches at least 1"
            );
        }
        if let Some(minutes) = self.soak_minutes
            && !(positive(minutes, MAX_MINUTES) && positive(self.soak_percent, MAX_RATE))
        {
            bail!(
                "--soak-minutes must be above 0 and at most {MAX_MINUTES}, --soak-percent above 0"
            );
        }
        if self.shares.ordinary() < 0.0 {
            bail!("--cancel, --bad, --slow-readers and --slow-drip are more than 100 % together");
        }
        Ok(())
    }

    fn generators(&self, target: &Target) -> Generators {
        Generators {
            to: target.address,
            threads: self.load_threads,
            cores: self.load_cores.clone(),
            connections: self.connections,
            arrivals: self.arrivals,
            seed: self.seed,
            warm_up: Duration::from_secs_f64(self.warm_up_seconds),
            cancel_within: Duration::from_millis(self.cancel_within_ms.into()),
            deadline: self.deadline_ms.map(|ms| Duration::from_millis(ms.into())),
        }
    }

    fn load_about(&self) -> LoadAbout {
        LoadAbout {
            threads: self.load_threads,
            cores: self.load_cores.clone(),
            connections: self.connections,
            arrivals: self.arrivals,
            seed: self.seed,
            warm_up_s: self.warm_up_seconds,
            deadline_ms: self.deadline_ms,
            shares: self.shares,
        }
    }
}
