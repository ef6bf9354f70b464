//! Why a plan was chosen: the table that the planner chose from, in its order, with a reason a row.

use std::time::Instant;

use super::candidate::Candidate;
use super::network::Network;
use super::objective::{Goal, Metric, Objective};
use super::planner::Planner;

/// A decision, with everything that it followed from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// What was optimised and kept.
    pub objective: Objective,
    /// The network that the estimates are of.
    pub network: Network,
    /// Estimated round trip, in milliseconds.
    pub rtt_ms: f64,
    /// Estimated uplink, in bits per second.
    pub rate_bps: f64,
    /// How many times as long as the profile's machine the device takes.
    pub device_factor: f64,
    /// How many times as long the server takes.
    pub server_factor: f64,
    /// The plan that a call would follow now.
    pub chosen: Candidate,
    /// Why, in a sentence.
    pub reason: String,
    /// Every candidate, the best first.
    pub rows: Vec<ExplainedRow>,
}

/// A candidate, and what became of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ExplainedRow {
    /// The plan and its estimates.
    pub candidate: Candidate,
    /// How far it breaks the limits: the sum of what it takes too much of each, as shares of them, and the
    /// share of calls that are late.
    pub excess: f64,
    /// Why it was chosen or not.
    pub verdict: String,
}

impl Planner {
    /// The decision that would be made at `now`, with its reasons. Changes nothing.
    pub fn explain(&self, ready_cuts: &[usize], now: Instant) -> Explanation {
        let choice = self.clone().choose(ready_cuts, now);
        let chosen = choice.runnable;
        let ranking = self.ranking(ready_cuts, now);
        let excess_of_chosen = ranking
            .iter()
            .find(|(candidate, _)| candidate.plan == chosen.plan)
            .map_or(0.0, |(_, excess)| *excess);
        let objective = self.objective();
        let rows = ranking
            .iter()
            .map(|&(candidate, excess)| ExplainedRow {
                candidate,
                excess,
                verdict: verdict(objective, &chosen, excess_of_chosen, &candidate, excess),
            })
            .collect();
        let estimates = self.estimates();
        Explanation {
            objective: objective.clone(),
            network: estimates.network(),
            rtt_ms: estimates.link.rtt_ms(now),
            rate_bps: estimates.link.rate_bps(now),
            device_factor: estimates.device.factor(now),
            server_factor: estimates.server.factor(now),
            chosen,
            reason: self.reason(&chosen, &choice.best, excess_of_chosen),
            rows,
        }
    }

    fn reason(&self, chosen: &Candidate, best: &Candidate, excess: f64) -> String {
        let objective = self.objective();
        if chosen.plan != best.plan {
            return format!(
                "'{}' would be better, and its spans are being built",
                best.plan
            );
        }
        let what = match &objective.goal {
            Goal::InOrder(metrics) => {
                let names: Vec<_> = metrics.iter().map(|m| m.as_str()).collect();
                format!("best in {}", names.join(", then "))
            }
            Goal::Weighted(_) => format!("least weighted sum ({objective})"),
        };
        if excess > 0.0 {
            let broken = broken_limits(objective, chosen);
            return format!("no plan keeps the limits; this one breaks them least: {broken}");
        }
        if self.current() == Some(chosen.plan) {
            return format!("{what} within the limits, or too close to it to leave");
        }
        format!("{what} within the limits")
    }
}

fn verdict(
    objective: &Objective,
    chosen: &Candidate,
    excess_of_chosen: f64,
    candidate: &Candidate,
    excess: f64,
) -> String {
    if candidate.plan == chosen.plan {
        return "chosen".to_owned();
    }
    if excess > excess_of_chosen && excess > 0.0 {
        return broken_limits(objective, candidate);
    }
    if !candidate.ready {
        return "spans not built".to_owned();
    }
    let metrics: Vec<Metric> = match &objective.goal {
        Goal::InOrder(metrics) => metrics.clone(),
        Goal::Weighted(weights) => weights.iter().map(|(metric, _)| *metric).collect(),
    };
    let worse = metrics
        .into_iter()
        .chain([Metric::Latency])
        .find(|&metric| candidate.cost(metric) > chosen.cost(metric));
    worse.map_or_else(
        || "about as good".to_owned(),
        |metric| {
            let more = candidate.cost(metric) - chosen.cost(metric);
            match metric {
                Metric::Latency => format!("{more:.1} ms slower"),
                Metric::Throughput => format!("slowest stage {more:.1} ms longer"),
                Metric::ServerTime => format!("{more:.1} ms more of the server"),
                Metric::Bytes => format!("{more:.0} bytes more"),
                Metric::Energy => format!("{more:.1} mJ more"),
            }
        },
    )
}

/// The limits that a candidate breaks, and by how much.
fn broken_limits(objective: &Objective, c: &Candidate) -> String {
    let limits = &objective.limits;
    let mut broken = Vec::new();
    let mut check = |name: &str, value: f64, limit: Option<f64>, unit: &str| {
        if let Some(limit) = limit.filter(|&limit| value > limit) {
            broken.push(format!("{name} {value:.1} > {limit:.1} {unit}"));
        }
    };
    check("p95", c.p95_ms, limits.latency_ms, "ms");
    let stage_limit = limits.throughput_fps.map(|fps| 1e3 / fps);
    check("stage", c.stage_ms, stage_limit, "ms");
    let drop_pp = c.accuracy_drop_pp.unwrap_or(0.0);
    check("accuracy drop", drop_pp, limits.accuracy_drop_pp, "pp");
    check("server", c.server_ms, limits.server_ms, "ms");
    check("bytes", c.bytes as f64, limits.bytes, "");
    check("energy", c.energy_mj, limits.energy_mj, "mJ");
    broken.join(", ")
}
