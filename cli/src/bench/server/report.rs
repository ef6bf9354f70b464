//! What a run says: a step's numbers for programs, and a table of them for people.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::super::machine::Machine;
use super::bare::Compared;
use super::bodies::Summary;
use super::cores::Cores;
use super::load::Load;
use super::mix::{Manner, Shares};
use super::schedule::Arrivals;
use super::soak::Soak;
use super::tally::{Percentiles, Tally};
use super::target::About;
use super::versus::Versus;
use crate::output;

/// A generator that sends 99 of 100 requests within this time of when they were due keeps its schedule.
const KEPT_LAG_MS: f64 = 5.0;

/// The JSON of `dyno bench server`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) model: String,
    pub(super) bundle: String,
    pub(super) server: About,
    pub(super) load: LoadAbout,
    pub(super) bodies: Summary,
    /// In the order in which they were run.
    pub(super) steps: Vec<Step>,
    /// Good answers a second in the closed loop, if it was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) capacity_rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) soak: Option<Soak>,
    /// Capacity, and that of a server that does not batch (`theirs`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batching: Option<Versus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bare: Option<Compared>,
}

/// How the requests were sent.
#[derive(Debug, Serialize)]
pub(super) struct LoadAbout {
    pub(super) threads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cores: Option<Cores>,
    pub(super) connections: usize,
    pub(super) arrivals: Arrivals,
    pub(super) seed: u64,
    pub(super) warm_up_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deadline_ms: Option<u32>,
    pub(super) shares: Shares,
}

/// One load, for one time.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    pub(super) name: String,
    /// Of an open loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) percent_of_capacity: Option<f64>,
    /// Of a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_flight: Option<usize>,
    pub(super) time_s: f64,
    /// Requests that were due, misbehaving ones included.
    pub(super) offered: u64,
    pub(super) offered_rps: f64,
    /// Not sent: too many were under way.
    pub(super) unsent: u64,
    /// Ordinary requests that were due.
    pub(super) ordinary: u64,
    /// Their answers by status.
    pub(super) answers: BTreeMap<u16, u64>,
    /// Those without an answer, by reason.
    pub(super) failures: BTreeMap<&'static str, u64>,
    /// 200 to ordinary requests, within their deadline.
    pub(super) goodput_rps: f64,
    /// From due to the end of the answer, of ordinary requests answered 200.
    pub(super) accepted_ms: Percentiles,
    /// The same of those answered 429 or 503.
    pub(super) refused_ms: Percentiles,
    /// What the server says of its time.
    pub(super) server_ms: ServerTimes,
    /// Unpacking and running.
    pub(super) service_ms: Percentiles,
    pub(super) misbehaved: Vec<Misbehaved>,
    /// From due to sent.
    pub(super) lag_ms: Percentiles,
    /// Whether the generator sent what it was to send, when it was to.
    pub(super) kept_schedule: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct ServerTimes {
    receive: Percentiles,
    unpack: Percentiles,
    queue: Percentiles,
    infer: Percentiles,
}

/// What came of requests that were not ordinary.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Misbehaved {
    manner: Manner,
    due: u64,
    /// Given up before they were answered.
    cancelled: u64,
    answers: BTreeMap<u16, u64>,
    failures: BTreeMap<&'static str, u64>,
}

impl Step {
    pub(super) fn new(name: String, load: Load, time: Duration, tally: &Tally) -> Self {
        let time_s = time.as_secs_f64();
        let of = |manner| tally.answers.get(&manner).cloned().unwrap_or_default();
        let failed = |manner| tally.failures.get(&manner).cloned().unwrap_or_default();
        let misbehaved = tally
            .due
            .iter()
            .filter(|(manner, _)| **manner != Manner::Ordinary);
        let lag_ms = tally.lag.percentiles();
        Self {
            name,
            rate_rps: match load {
                Load::Rate(rate) => Some(rate),
                Load::InFlight(_) => None,
            },
            percent_of_capacity: None,
            in_flight: match load {
                Load::Rate(_) => None,
                Load::InFlight(count) => Some(count),
            },
            time_s,
            offered: tally.all_due(),
            offered_rps: tally.all_due() as f64 / time_s,
            unsent: tally.unsent,
            ordinary: tally.due.get(&Manner::Ordinary).copied().unwrap_or(0),
            answers: of(Manner::Ordinary),
            failures: failed(Manner::Ordinary),
            goodput_rps: tally.good as f64 / time_s,
            accepted_ms: tally.accepted.percentiles(),
            refused_ms: tally.refused.percentiles(),
            server_ms: ServerTimes {
                receive: tally.receive.percentiles(),
                unpack: tally.unpack.percentiles(),
                queue: tally.queue.percentiles(),
                infer: tally.infer.percentiles(),
            },
            service_ms: tally.service.percentiles(),
            misbehaved: misbehaved
                .map(|(&manner, &due)| Misbehaved {
                    manner,
                    due,
                    cancelled: match manner {
                        Manner::Cancels => tally.cancelled,
                        _ => 0,
                    },
                    answers: of(manner),
                    failures: failed(manner),
                })
                .collect(),
            kept_schedule: lag_ms.p99 <= KEPT_LAG_MS && tally.unsent == 0,
            lag_ms,
        }
    }

    /// Ordinary requests answered with one of these.
    fn answered(&self, statuses: &[u16]) -> u64 {
        statuses
            .iter()
            .filter_map(|status| self.answers.get(status))
            .sum()
    }

    /// Ordinary requests that got neither 200 nor an honest refusal.
    fn wrong(&self) -> u64 {
        let failed: u64 = self.failures.values().sum();
        let answered: u64 = self.answers.values().sum();
        failed + answered - self.answered(&[200, 429, 503])
    }
}

/// Prints the table.
pub(super) fn print(report: &Report) -> Result<()> {
    let bodies = &report.bodies;
    output::line(format_args!(
        "{} on {}, {} cut(s), {:.0} bytes a request on the mean\n",
        report.model,
        report.machine.cpu,
        bodies.cuts.len(),
        bodies.bytes_mean
    ))?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "load",
        "offered/s",
        "good/s",
        "200",
        "429/503",
        "other",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "refused p50",
        "p99",
        "queue p50",
        "service p50",
        "lag p99",
    ]);
    let ms = |ms: f64| format!("{ms:.2} ms");
    let soaked = report.soak.as_ref().map(|soak| &soak.step);
    let steps = || report.steps.iter().chain(soaked);
    for step in steps() {
        let (accepted, refused) = (step.accepted_ms, step.refused_ms);
        let or_none = |value: f64| match refused.count {
            0 => "-".to_owned(),
            _ => ms(value),
        };
        table.add_row([
            step.name.clone(),
            format!("{:.1}", step.offered_rps),
            format!("{:.1}", step.goodput_rps),
            step.answered(&[200]).to_string(),
            step.answered(&[429, 503]).to_string(),
            step.wrong().to_string(),
            ms(accepted.p50),
            ms(accepted.p90),
            ms(accepted.p99),
            ms(accepted.p999),
            or_none(refused.p50),
            or_none(refused.p99),
            ms(step.server_ms.queue.p50),
            ms(step.service_ms.p50),
            ms(step.lag_ms.p99),
        ]);
    }
    output::line(table)?;
    for step in steps() {
        for manner in &step.misbehaved {
            output::line(format_args!("{}: {}", step.name, manner.in_words()))?;
        }
        if !step.kept_schedule {
            output::line(format_args!(
                "{}: the generator did not keep its schedule ({} not sent, 99 of 100 within {:.1} \
                 ms of when they were due): give it more --load-threads or cores of its own",
                step.name, step.unsent, step.lag_ms.p99
            ))?;
        }
    }
    if let Some(held) = report.soak.as_ref().and_then(|soak| soak.process.as_ref()) {
        held.lines().into_iter().try_for_each(output::line)?;
    }
    if let Some(batching) = &report.batching {
        let (ours, theirs) = batching.medians();
        output::line(format_args!(
            "batching: {ours:.1} requests a second, {theirs:.1} without it (medians of {} rounds by \
             turns); median ratio {:.3}",
            batching.rounds.len(),
            batching.ratio
        ))?;
    }
    if let Some(bare) = &report.bare {
        bare.lines().into_iter().try_for_each(output::line)?;
    }
    Ok(())
}

impl Misbehaved {
    fn in_words(&self) -> String {
        let name = match self.manner {
            Manner::Ordinary => "ordinary",
            Manner::Cancels => "requests given up",
            Manner::Bad => "bad bodies",
            Manner::SlowReader => "slow readers",
            Manner::SlowDrip => "slow bodies",
        };
        let mut parts = Vec::new();
        if self.cancelled > 0 {
            parts.push(format!("{} given up in time", self.cancelled));
        }
        let answers = self.answers.iter();
        parts.extend(answers.map(|(status, count)| format!("{count} answered {status}")));
        let failures = self.failures.iter();
        parts.extend(failures.map(|(reason, count)| format!("{count} {reason}")));
        format!("{} {name}: {}", self.due, parts.join(", "))
    }
}
