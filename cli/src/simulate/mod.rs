//! `dyno simulate`: the planner and its rivals on a link of a given rate, in virtual time.
//!
//! The planner and the estimators are those of the client; spans, codecs, the server and TCP are
//! models ([`world`], [`uplink`]), fed by the bundle's profile and calibration. The same arguments give
//! the same numbers. `docs/simulation.md` says what each rival is and what is left out.

mod call;
mod device;
mod policies;
pub(crate) mod report;
mod runs;
mod setup;
mod stream;
mod uplink;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dyno_core::bundle::Bundle;
use dyno_core::schedule::{Metric, Objective, Plan};
use serde::{Deserialize, Serialize};

use self::call::Outcome;
use self::policies::FixedOfSpace;
use self::report::{Policies, Summary};
use self::runs::Run;
use self::setup::Setup;
use self::world::World;
use crate::objective::ObjectiveArgs;
use crate::output;
use crate::trace::Trace;

/// Seconds of a run on a link of one rate.
const CONSTANT_RATE_S: f64 = 60.0;

/// Arguments of `dyno simulate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    #[arg(long, short)]
    bundle: PathBuf,
    /// CSV file with the uplink's rate over time (columns t_ms and kbit_s); repeats when it ends.
    #[arg(long, value_name = "FILE.csv", required_unless_present = "rate_mbit")]
    trace: Option<PathBuf>,
    /// The same rate for all time, in Mbit/s, instead of a trace.
    #[arg(long, value_name = "MBIT_S", conflicts_with = "trace")]
    rate_mbit: Option<f64>,
    /// Round trip without any queue.
    #[arg(long, value_name = "MS", default_value_t = 40.0)]
    rtt_ms: f64,
    /// How many times as long as the profile's machine the device takes.
    #[arg(long, value_name = "X", default_value_t = 16.0)]
    device_slowdown: f64,
    /// How many times as fast as the profile's machine the server is.
    #[arg(long, value_name = "Y", default_value_t = 1.0)]
    server_speedup: f64,
    /// What to optimise; latency unless told, since that is what the rivals optimise.
    #[command(flatten)]
    objective: ObjectiveArgs,
    /// Between an answer and the next call; frames of a stream (throughput) follow at once.
    #[arg(long, value_name = "MS", default_value_t = 100.0)]
    pause_ms: f64,
    /// Calls begin for so long; once through the trace unless told, a minute at one rate.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Write every call of DynO, one JSON line each, to this file.
    #[arg(long, value_name = "FILE.jsonl")]
    calls_out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs every policy, and prints how it did.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    let objective = args
        .objective
        .objective(&Objective::minimal(Metric::Latency))?;
    let scenario = args.scenario()?;
    let Simulated {
        policies, calls, ..
    } = simulate(&bundle, &objective, &scenario);
    if let Some(path) = &args.calls_out {
        write_calls(path, &calls)?;
    }
    if args.json {
        return output::json(&policies);
    }
    output::line(policies.table())
}

/// Where a simulation takes place.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) trace: Trace,
    pub(crate) rtt_ms: f64,
    pub(crate) device_slowdown: f64,
    pub(crate) server_speedup: f64,
    pub(crate) pause_ms: f64,
    pub(crate) duration_ms: f64,
}

impl Args {
    fn scenario(&self) -> Result<Scenario> {
        let (trace, whole_ms) = match (&self.trace, self.rate_mbit) {
            (Some(path), _) => {
                let trace = Trace::read(path)?;
                let whole_ms = trace.duration_ms();
                (trace, whole_ms)
            }
            (None, Some(mbit)) if mbit.is_finite() && mbit >= 0.0 => {
                (Trace::constant(mbit * 1e6), CONSTANT_RATE_S * 1e3)
            }
            (None, rate) => bail!("--rate-mbit must be at least 0, got {rate:?}"),
        };
        for (name, value) in [
            ("--rtt-ms", self.rtt_ms),
            ("--device-slowdown", self.device_slowdown),
            ("--server-speedup", self.server_speedup),
            ("--seconds", self.seconds.unwrap_or(1.0)),
        ] {
            if !value.is_finite() || value <= 0.0 {
                bail!("{name} must be above 0, got {value}");
            }
        }
        if !self.pause_ms.is_finite() || self.pause_ms < 0.0 {
            bail!("--pause-ms must be at least 0, got {}", self.pause_ms);
        }
        Ok(Scenario {
            trace,
            rtt_ms: self.rtt_ms,
            device_slowdown: self.device_slowdown,
            server_speedup: self.server_speedup,
            pause_ms: self.pause_ms,
            duration_ms: self.seconds.map_or(whole_ms, |s| s * 1e3),
        })
    }
}

/// What came of a scenario.
pub(crate) struct Simulated {
    /// Every policy.
    pub(crate) policies: Policies,
    /// `DynO`'s calls.
    pub(crate) calls: Vec<Outcome>,
    /// The plan of `static_best`.
    pub(crate) best_fixed: Option<Plan>,
}

/// Every policy in one scenario.
pub(crate) fn simulate(bundle: &Bundle, objective: &Objective, scenario: &Scenario) -> Simulated {
    let mut world = World::new(
        bundle,
        scenario.trace.clone(),
        scenario.rtt_ms,
        scenario.device_slowdown,
        scenario.server_speedup,
    );
    let setup = Setup::new(bundle, objective, &mut world);
    let run = Run {
        duration_ms: scenario.duration_ms,
        pause_ms: scenario.pause_ms,
        objective: objective.clone(),
    };
    let mut policies = Policies::default();
    let calls = run.calls(&world, &mut setup.dyno(&world));
    let mut dyno = run.summary(&world, &calls);
    if dyno.limit_violations > 0 {
        let (mut again, mut oracle) = (setup.dyno(&world), setup.oracle());
        dyno.avoidable_violations = Some(run.avoidable(&world, &mut again, &mut oracle));
    }
    policies.policies.insert("dyno", dyno);
    let oracle = run.calls(&world, &mut setup.oracle());
    policies
        .policies
        .insert("oracle", run.summary(&world, &oracle));
    for (name, mut policy) in setup.rivals() {
        let outcomes = run.calls(&world, policy.as_mut());
        policies
            .policies
            .insert(name, run.summary(&world, &outcomes));
    }
    let best = static_best(&setup, &world, &run);
    let best_fixed = best.map(|(plan, summary)| {
        policies.policies.insert("static_best", summary);
        plan
    });
    Simulated {
        policies,
        calls,
        best_fixed,
    }
}

/// One line of `--calls-out`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CallLine {
    pub(crate) start_ms: f64,
    pub(crate) latency_ms: f64,
    pub(crate) plan: String,
    pub(crate) bytes: usize,
    pub(crate) server_ms: f64,
    /// Whether the device finished it.
    pub(crate) resumed: bool,
}

impl CallLine {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        Self {
            start_ms: outcome.start_ms,
            latency_ms: outcome.latency_ms(),
            plan: outcome.plan.to_string(),
            bytes: outcome.bytes,
            server_ms: outcome.server_ms(),
            resumed: outcome.resumed.is_some(),
        }
    }
}

fn write_calls(path: &Path, calls: &[Outcome]) -> Result<()> {
    let mut text = String::new();
    for outcome in calls {
        text += &serde_json::to_string(&CallLine::of(outcome)).context("cannot write JSON")?;
        text.push('\n');
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The best of all fixed plans, in hindsight.
fn static_best(setup: &Setup, world: &World, run: &Run) -> Option<(Plan, Summary)> {
    let summaries = setup.space.iter().map(|row| {
        let outcomes = run.calls(world, &mut FixedOfSpace(row.plan));
        (row.plan, run.summary(world, &outcomes))
    });
    let cost = |s: &Summary| match run.objective.first_metric() {
        Metric::Throughput => -s.throughput_fps,
        Metric::ServerTime => s.server_ms_mean,
        Metric::Bytes => s.bytes_mean,
        _ => s.latency_ms.mean,
    };
    // Shares: a plan that is slow gets to make, and to spoil, fewer calls.
    let violations = |s: &Summary| s.limit_violations as f64 / s.calls.max(1) as f64;
    let key = |s: &Summary| (1.0 - s.answered, violations(s), cost(s));
    summaries.min_by(|a, b| {
        let (a, b) = (key(&a.1), key(&b.1));
        a.0.total_cmp(&b.0)
            .then(a.1.total_cmp(&b.1))
            .then(a.2.total_cmp(&b.2))
    })
}
