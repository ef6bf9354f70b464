//! The order of candidates under an objective: limits first, then what is optimised.

use super::candidate::Candidate;
use super::glance::Glance;
use super::objective::{Goal, Limits, MAX_GOALS, Metric, Objective};
use super::spread::{LATE, Spread};

/// A plan within this share of the best in one metric is its equal, and the next metric decides.
pub(super) const EQUAL: f64 = 0.01;
/// Two ways of adding up the same differ by less than this share.
const ROUNDING: f64 = 1e-9;

impl Objective {
    /// The best of some candidates; if none keeps the limits, the one that breaks them least.
    pub fn best_of<'a>(&self, candidates: &'a [Candidate]) -> Option<&'a Candidate> {
        let rate = |candidate: &Candidate| Rated::new(*candidate, &self.limits);
        let rated: Vec<Rated> = candidates.iter().map(rate).collect();
        let best = best_of(&rated, self, |_| true)?.candidate;
        candidates.iter().find(|candidate| **candidate == best)
    }

    /// Whether a candidate keeps every limit but that of a day.
    pub fn keeps_limits(&self, candidate: &Candidate) -> bool {
        excess(candidate, &self.limits) <= 0.0
    }
}

/// A candidate under the objective.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rated {
    pub(super) candidate: Candidate,
    /// How far it breaks the limits: the sum of what it takes too much of each, as shares.
    pub(super) excess: f64,
}

impl Rated {
    pub(super) fn new(candidate: Candidate, limits: &Limits) -> Self {
        Self {
            candidate,
            excess: excess(&candidate, limits),
        }
    }

    /// By which share it is better than `other`, 0 to 1: by how much less it breaks the limits, or else in the first metric in
    /// which it is not its equal.
    pub(super) fn gain_over(&self, other: &Self, objective: &Objective) -> f64 {
        let kept = other.excess - self.excess;
        if kept > 0.0 {
            return kept.min(1.0);
        }
        let saved = |of_other: f64, of_self: f64| {
            let share = 1.0 - of_self / of_other;
            // Of nothing nothing can be saved.
            if share.is_finite() {
                share.max(0.0)
            } else {
                0.0
            }
        };
        let (one, other) = (&self.candidate, &other.candidate);
        match &objective.goal {
            Goal::InOrder(metrics) => {
                let mut all = metrics.iter().map(|&m| saved(other.cost(m), one.cost(m)));
                all.find(|&share| share > EQUAL).unwrap_or(0.0)
            }
            Goal::Weighted(weights) => saved(weighted(other, weights), weighted(one, weights)),
        }
    }
}

/// What is expected of a plan, or what it costs at least.
pub(super) trait Costs {
    /// The metric's value, less being better: milliseconds of the slowest stage for throughput.
    fn cost(&self, metric: Metric) -> f64;

    /// Loss of accuracy, 0 where it is not known.
    fn accuracy_drop_pp(&self) -> f64;
}

impl Costs for Candidate {
    fn cost(&self, metric: Metric) -> f64 {
        Self::cost(self, metric)
    }

    fn accuracy_drop_pp(&self) -> f64 {
        self.accuracy_drop_pp.unwrap_or(0.0)
    }
}

/// What a plan has to be as good as to be chosen, by what was looked at so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bar {
    excess: f64,
    /// In what is optimised first, of those that keep the limits.
    cost: f64,
}

impl Bar {
    /// What anything is as good as.
    pub(super) const LOWEST: Self = Self {
        excess: f64::INFINITY,
        cost: f64::INFINITY,
    };

    /// Something as good as `rated` may be chosen.
    pub(super) fn raise(&mut self, rated: &Rated, objective: &Objective) {
        self.excess = self.excess.min(rated.excess);
        if rated.excess <= 0.0 {
            self.cost = self.cost.min(first_cost(&rated.candidate, objective));
        }
    }

    /// Whether [`best_of`] leaves out what costs no less than `least`.
    pub(super) fn is_out_of_reach(&self, least: &Glance, objective: &Objective) -> bool {
        let most = self.cost * (1.0 + EQUAL) * (1.0 + ROUNDING);
        if self.excess <= 0.0 && first_cost(least, objective) > most {
            return true;
        }
        excess_at_least(least, &objective.limits) > self.excess * (1.0 + EQUAL) + ROUNDING
    }
}

/// What a candidate takes more than the limits allow, as shares of them; 0 if it keeps them. For latency, whose
/// limit is for 95 of 100 calls, the share of calls that break it beyond the five that may comes first: a plan that keeps it
/// in every second call is better than one that never does, however late the others are.
fn excess(candidate: &Candidate, limits: &Limits) -> f64 {
    let late = match limits.latency_ms {
        Some(limit_ms) if candidate.p95_ms > limit_ms => late_share(candidate, limit_ms) - LATE,
        _ => 0.0,
    };
    late + excess_of_means(candidate, limits)
}

/// What a plan that costs no less than `least` takes more than the limits allow, at least.
fn excess_at_least(least: &Glance, limits: &Limits) -> f64 {
    // Half of the calls are longer than the mean.
    let is_late = limits
        .latency_ms
        .is_some_and(|limit_ms| least.total_ms > limit_ms);
    let late = if is_late { 0.5 - LATE } else { 0.0 };
    late + excess_of_means(least, limits)
}

fn excess_of_means(costs: &impl Costs, limits: &Limits) -> f64 {
    let over = |value: f64, limit: Option<f64>| match limit {
        Some(limit) if value > limit => {
            if limit > 0.0 {
                value / limit - 1.0
            } else {
                1.0 + value
            }
        }
        _ => 0.0,
    };
    let of = |metric: Metric, limit: Option<f64>| over(costs.cost(metric), limit);
    of(Metric::Latency, limits.latency_ms)
        + of(
            Metric::Throughput,
            limits.throughput_fps.map(|fps| 1e3 / fps),
        )
        + over(costs.accuracy_drop_pp(), limits.accuracy_drop_pp)
        + of(Metric::ServerTime, limits.server_ms)
        + of(Metric::Bytes, limits.bytes)
        + of(Metric::Energy, limits.energy_mj)
}

/// Share of calls that take longer than `limit_ms`, which 95 of 100 do not keep.
fn late_share(candidate: &Candidate, limit_ms: f64) -> f64 {
    let spread = Spread {
        mean_ms: candidate.total_ms,
        p95_ms: candidate.p95_ms,
    };
    spread.share_above(limit_ms)
}

/// The best of the candidates that `may` be chosen. Each row is looked at once for the limits, for each metric, and for
/// what is left: what is rated is larger than the nearest cache.
pub(super) fn best_of(
    rated: &[Rated],
    objective: &Objective,
    may: impl Fn(&Candidate) -> bool,
) -> Option<Rated> {
    let allowed = || rated.iter().filter(|rated| may(&rated.candidate));
    let excess = equal_to_least(allowed().map(|rated| rated.excess));
    let least_bad = || allowed().filter(|rated| rated.excess <= excess);
    match &objective.goal {
        Goal::InOrder(metrics) => {
            let mut costs = [f64::INFINITY; MAX_GOALS];
            // Those that equal the best in the first `decided` metrics.
            let open = |costs: [f64; MAX_GOALS], decided: usize| {
                let all = metrics.iter().zip(costs).take(decided);
                least_bad().filter(move |rated| {
                    let mut all = all.clone();
                    all.all(|(&metric, cost)| rated.candidate.cost(metric) <= cost)
                })
            };
            for (i, &metric) in metrics.iter().enumerate().take(MAX_GOALS) {
                costs[i] = equal_to_least(open(costs, i).map(|rated| rated.candidate.cost(metric)));
            }
            // Equal in what was asked for: the faster one.
            first_least(open(costs, metrics.len()), |rated| rated.candidate.total_ms)
        }
        Goal::Weighted(weights) => {
            first_least(least_bad(), |rated| weighted(&rated.candidate, weights))
        }
    }
}

/// What equals the least of some costs at most.
fn equal_to_least(costs: impl Iterator<Item = f64>) -> f64 {
    costs.fold(f64::INFINITY, f64::min) * (1.0 + EQUAL)
}

/// The first of the least.
fn first_least<'a>(
    rated: impl Iterator<Item = &'a Rated>,
    cost: impl Fn(&Rated) -> f64,
) -> Option<Rated> {
    rated.min_by(|a, b| cost(a).total_cmp(&cost(b))).copied()
}

/// In what is optimised first, or in all that is weighted.
fn first_cost(costs: &impl Costs, objective: &Objective) -> f64 {
    match &objective.goal {
        Goal::InOrder(metrics) => metrics.first().map_or(0.0, |&metric| costs.cost(metric)),
        Goal::Weighted(weights) => weighted(costs, weights),
    }
}

pub(super) fn weighted(costs: &impl Costs, weights: &[(Metric, f64)]) -> f64 {
    let parts = weights.iter().map(|(m, weight)| costs.cost(*m) * weight);
    parts.sum()
}
