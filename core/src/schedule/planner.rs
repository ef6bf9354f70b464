//! Choosing a plan: limits first, then the objective, without flapping between two that are close.

use std::time::Instant;

use super::candidate::Candidate;
use super::cost::{Entry, Estimates};
use super::decision::Decision;
use super::link::Link;
use super::mix::{Mix, alone_ms};
use super::objective::{Goal, Metric, Objective};
use super::overlap::Overlap;
use super::partners::Search;
use super::patience::Patience;
use super::plan::Plan;
use super::rank::{Rated, best_of, weighted};
use super::shortlist::Shortlist;
use super::space::SpacePlan;

/// The current plan is kept until another is better by this share in a metric of the objective, ...
const HYSTERESIS: f64 = 0.01;
/// ... or by this, if its spans would have to be built first.
const HYSTERESIS_OF_BUILDING: f64 = 0.03;
/// How much worse than the best the current plan may break limits and be kept: for latency another one in twenty may be
/// late. Estimates of the 95th percentile move by a hundredth from noise alone, and the first call over a connection that was left
/// is late for certain.
const LIMIT_HYSTERESIS: f64 = 0.05;

/// Chooses among the plans of one bundle.
///
/// The same estimates in the same order give the same choices. A decision allocates nothing.
#[derive(Debug, Clone)]
pub struct Planner {
    objective: Objective,
    shortlist: Shortlist,
    estimates: Estimates,
    current: Option<Plan>,
    /// The two plans that the last stream's frames followed by turns.
    current_mix: Option<(Plan, Plan)>,
    /// The best two then of all, whether or not their spans are at hand: where to begin looking.
    best_mix: Option<(Plan, Plan)>,
}

/// What a planner chose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The best plan there is, whether or not its spans are at hand.
    pub best: Candidate,
    /// The best plan whose spans are at hand; the same as `best` if none is.
    pub runnable: Candidate,
    /// Whether `runnable` is expected to keep every limit; if not, it breaks them least.
    pub within_limits: bool,
}

impl Choice {
    /// The cut whose spans are to be built for what is best, while something else runs.
    pub fn cut_to_build(&self) -> Option<usize> {
        let cut = self.best.plan.inner_cut();
        cut.filter(|_| !self.best.ready && self.best.plan != self.runnable.plan)
    }
}

impl Planner {
    /// A planner for `plans`; with none of them it always chooses the device.
    pub fn new(plans: &[SpacePlan], mut estimates: Estimates, objective: Objective) -> Self {
        for row in plans {
            if let Some(bytes) = row.bytes {
                estimates.sizes.expect(&row.plan, bytes);
            }
            if let Some(look) = &row.second_look {
                estimates.sizes.expect(&look.plan, look.bytes);
            }
        }
        let mut entries: Vec<Entry> = plans.iter().map(|row| estimates.entry(row)).collect();
        if entries.is_empty() {
            entries.push(estimates.entry(&SpacePlan::unmeasured(Plan::Device)));
        }
        Self {
            objective,
            shortlist: Shortlist::new(entries),
            estimates,
            current: None,
            current_mix: None,
            best_mix: None,
        }
    }

    /// What is optimised and kept.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// What one plan is expected to cost at `now`, with the second look that it has among the planner's plans.
    pub fn candidate(&self, plan: Plan, ready_cuts: &[usize], now: Instant) -> Candidate {
        match self.shortlist.entry(plan) {
            Some(entry) => {
                let moment = self.estimates.at(now);
                moment.candidate(entry, &self.estimates, ready_cuts)
            }
            None => self.estimates.candidate(plan, ready_cuts, now),
        }
    }

    /// The plan for an inference that starts at `now`.
    pub fn choose(&mut self, ready_cuts: &[usize], now: Instant) -> Choice {
        self.choose_for(None, ready_cuts, now)
    }

    /// The same for a frame of a stream with at most `room` frames under way, or for a call by itself.
    fn choose_for(&mut self, room: Option<usize>, ready_cuts: &[usize], now: Instant) -> Choice {
        self.estimates.begins(now);
        let best = self.best(room, ready_cuts, now);
        let runnable = match best {
            Some(best) if best.candidate.ready => Some(best),
            _ => best_of(self.shortlist.rated(), &self.objective, |c| c.ready).or(best),
        };
        let (Some(best), Some(runnable)) = (best, runnable) else {
            // Never: a planner has a plan, if only the device.
            let device = self.candidate(Plan::Device, ready_cuts, now);
            return Choice {
                best: device,
                runnable: device,
                within_limits: false,
            };
        };
        let choice = Choice {
            best: best.candidate,
            runnable: runnable.candidate,
            within_limits: runnable.excess <= 0.0,
        };
        if self.current.replace(choice.best.plan) != Some(choice.best.plan) {
            log::debug!("the plan is now {}", choice.best);
        }
        choice
    }

    /// The plan for a frame that starts at `now` in a stream with at most `room` frames under way, and what
    /// becomes of those after it. Where frames a second are the objective two plans that `may` be followed may be better
    /// than one.
    pub fn choose_in_stream(
        &mut self,
        ready_cuts: &[usize],
        room: usize,
        may: impl Fn(&Plan) -> bool,
        now: Instant,
    ) -> (Choice, Overlap) {
        let mut choice = self.choose_for(Some(room), ready_cuts, now);
        let device = self.shortlist.rated_plan(Plan::Device);
        if !self.objective.is_for_speed() || !choice.within_limits {
            self.current_mix = None;
            self.best_mix = None;
            let device = device.map(|rated| rated.candidate);
            let overlap = Overlap::of(&self.objective, &choice.runnable, device.as_ref());
            return (choice, overlap);
        }
        let decision = Decision::new(
            &self.estimates,
            &self.objective,
            Some(room),
            ready_cuts,
            now,
        );
        let all = Search {
            best: &choice.best,
            may: &may,
            room,
            last: self.best_mix,
            is_mixed: self.current_mix.is_some(),
            only_ready: false,
        };
        let any = all.best_two(&mut self.shortlist, &decision);
        self.best_mix = any.map(|mix| (mix.heavy.plan, mix.light.plan));
        let mix = match any {
            Some(mix) if mix.is_ready() => any,
            _ => {
                let ready = Search {
                    best: &choice.runnable,
                    only_ready: true,
                    ..all
                };
                ready.best_two(&mut self.shortlist, &decision)
            }
        };
        let mix = mix.map(|mix| self.keep_or_replace_mix(&mix, room, &may));
        let frame_ms = mix.map_or(alone_ms(&choice.runnable, room), |mix| mix.frame_ms);
        choice.best = worth_building(any.as_ref(), &choice, frame_ms, room);
        self.current_mix = mix.map(|mix| (mix.heavy.plan, mix.light.plan));
        let device = device.filter(|rated| rated.excess <= 0.0);
        let device = device.map(|rated| rated.candidate);
        let overlap = match mix {
            Some(mix) => {
                choice.runnable = mix.heavy;
                Overlap::of_mix(&mix, device.as_ref())
            }
            None => Overlap::of(&self.objective, &choice.runnable, device.as_ref()),
        };
        (choice, overlap)
    }

    /// The two plans of the frames before, unless the best two are clearly better.
    fn keep_or_replace_mix(&self, best: &Mix, room: usize, may: impl Fn(&Plan) -> bool) -> Mix {
        let current = self.current_mix.and_then(|(heavy, light)| {
            let is_kept = |rated: &Rated| rated.excess <= 0.0 && may(&rated.candidate.plan);
            let candidate = |plan| self.shortlist.rated_plan(plan).filter(is_kept);
            let (heavy, light) = (candidate(heavy)?.candidate, candidate(light)?.candidate);
            Some(Mix::new(&heavy, &light, room)).filter(Mix::is_ready)
        });
        let is_close = |mix: &Mix| mix.frame_ms <= best.frame_ms * (1.0 + HYSTERESIS);
        current.filter(is_close).unwrap_or(*best)
    }

    /// How long a request of `bytes` for `plan`, sent at `now`, is waited for in a call that took
    /// `spent_ms` so far.
    ///
    /// Where throughput is optimised the device has other frames to work on, and resumes only when it
    /// has waited for as long as that takes: at most twice what the better of the two would have been.
    pub fn patience(&self, plan: &Plan, bytes: usize, spent_ms: f64, now: Instant) -> Patience {
        self.patience_behind(0.0, plan, bytes, spent_ms, now)
    }

    /// The same for a request that waits for `wait_ms` behind others of this client.
    pub fn patience_behind(
        &self,
        wait_ms: f64,
        plan: &Plan,
        bytes: usize,
        spent_ms: f64,
        now: Instant,
    ) -> Patience {
        let limit_ms = self.objective.limits.latency_ms;
        let left_ms = limit_ms.map(|limit_ms| limit_ms - spent_ms);
        let mut patience = self.estimates.patience(wait_ms, plan, bytes, left_ms, now);
        if self.objective.first_metric() == Metric::Throughput && left_ms.is_none() {
            let resume_ms = self.estimates.resume_ms(plan, now);
            patience.resume_after_ms += resume_ms;
            patience.give_up_after_ms += resume_ms;
        }
        patience
    }

    /// The plan that would be chosen for a call at `now`, where none begins. Changes nothing.
    pub fn would_choose(&mut self, ready_cuts: &[usize], now: Instant) -> Plan {
        let best = self.best(None, ready_cuts, now);
        best.map_or(Plan::Device, |best| best.candidate.plan)
    }

    /// By which share the best plan at `now` would be better than `chosen` if the link were `link`, 0 to 1; none if it would
    /// be the same, or would not use the server. Changes nothing.
    pub(super) fn gain_over(
        &mut self,
        link: Link,
        chosen: &Candidate,
        ready_cuts: &[usize],
        now: Instant,
    ) -> Option<f64> {
        let as_it_is = std::mem::replace(&mut self.estimates.link, link);
        let best = self.best(None, ready_cuts, now);
        self.estimates.link = as_it_is;
        let best = best?;
        let plan = best.candidate.plan;
        let chosen = Rated::new(*chosen, &self.objective.limits);
        let is_other = plan.uses_server() && plan != chosen.candidate.plan;
        is_other.then(|| best.gain_over(&chosen, &self.objective))
    }

    /// The best plan, or the current one if it is close.
    fn best(&mut self, room: Option<usize>, ready_cuts: &[usize], now: Instant) -> Option<Rated> {
        let decision = Decision::new(&self.estimates, &self.objective, room, ready_cuts, now);
        // They are the same where all spans are at hand.
        let best_mix = self.best_mix.filter(|_| self.best_mix != self.current_mix);
        let two = [self.current_mix, best_mix].into_iter().flatten();
        let last = two.flat_map(|(heavy, light)| [heavy, light]);
        let last = last.chain(self.current);
        self.shortlist.look(&decision, last);
        let rated = self.shortlist.rated();
        let best = best_of(rated, &self.objective, |_| true);
        keep_or_replace(rated, &self.objective, self.current, best)
    }

    /// Every candidate, the best under the objective first, with its excess over the limits.
    pub(super) fn ranking(&self, ready_cuts: &[usize], now: Instant) -> Vec<(Candidate, f64)> {
        let decision = Decision::new(&self.estimates, &self.objective, None, ready_cuts, now);
        let mut shortlist = self.shortlist.clone().thorough();
        shortlist.look(&decision, std::iter::empty());
        let mut rest = shortlist.rated().to_vec();
        let mut ranking = Vec::with_capacity(rest.len());
        while let Some(best) = best_of(&rest, &self.objective, |_| true) {
            rest.retain(|rated| rated.candidate.plan != best.candidate.plan);
            ranking.push((best.candidate, best.excess));
        }
        ranking
    }

    /// The plan that was chosen last.
    pub fn current(&self) -> Option<Plan> {
        self.current
    }

    /// What is known of costs.
    pub fn estimates(&self) -> &Estimates {
        &self.estimates
    }

    /// The estimates, to be corrected by what was observed.
    pub fn estimates_mut(&mut self) -> &mut Estimates {
        &mut self.estimates
    }
}

/// The plan whose spans a stream is to have built, where what is at hand takes `frame_ms` for a frame, and the best two
/// of all plans are `any`; what is best of what is at hand if there is none.
fn worth_building(any: Option<&Mix>, choice: &Choice, frame_ms: f64, room: usize) -> Candidate {
    let is_better = |other_ms: f64| other_ms * (1.0 + HYSTERESIS_OF_BUILDING) < frame_ms;
    let mixed = any.filter(|mix| is_better(mix.frame_ms));
    let alone = !choice.best.ready && is_better(alone_ms(&choice.best, room));
    match (mixed.and_then(Mix::unready), alone) {
        (Some(unready), _) => unready,
        (None, true) => choice.best,
        (None, false) => choice.runnable,
    }
}

/// The current plan, unless the best is clearly better.
fn keep_or_replace(
    rated: &[Rated],
    objective: &Objective,
    current: Option<Plan>,
    best: Option<Rated>,
) -> Option<Rated> {
    let best = best?;
    let current = rated
        .iter()
        .find(|rated| Some(rated.candidate.plan) == current);
    let Some(current) = current else {
        return Some(best);
    };
    let share = if best.candidate.ready {
        HYSTERESIS
    } else {
        HYSTERESIS_OF_BUILDING
    };
    let is_less = |one: f64, other: f64| one * (1.0 + share) < other;
    let is_close = current.excess <= best.excess + LIMIT_HYSTERESIS
        && match &objective.goal {
            Goal::InOrder(metrics) => {
                let cost = |rated: &Rated, m: &Metric| rated.candidate.cost(*m);
                let costs = metrics.iter().map(|m| (cost(current, m), cost(&best, m)));
                // The first metric in which they differ decides: the current plan may be the better one but for limits.
                let mut costs = costs.filter(|&(a, b)| is_less(a, b) || is_less(b, a));
                costs.next().is_none_or(|(a, b)| is_less(a, b))
            }
            Goal::Weighted(weights) => !is_less(
                weighted(&best.candidate, weights),
                weighted(&current.candidate, weights),
            ),
        };
    Some(if is_close { *current } else { best })
}

#[cfg(test)]
mod tests;
