//! The plans that a decision looks at: of several hundred, those that may be the best.
//!
//! What the plans of a cut cost at least, and then what each of them does, is seen at a glance ([`glance`](super::glance)). Where that
//! is worse than a plan that was looked at, they are passed over; what is chosen is the same.

use std::iter::Chain;
use std::ops::Range;

use super::cost::Entry;
use super::decision::Decision;
use super::glance::{Floor, Glance};
use super::mix::Load;
use super::plan::Plan;
use super::rank::{Bar, Rated};

/// All plans of a planner, and what became of them in the last decision. A decision allocates nothing.
#[derive(Debug, Clone)]
pub(super) struct Shortlist {
    /// Those without an inner cut first, then by cut.
    entries: Vec<Entry>,
    /// What was seen of each of them, where its group is open.
    seen: Vec<Seen>,
    /// The same plans by the spans that they need.
    groups: Vec<Group>,
    /// What was looked at.
    rated: Vec<Rated>,
    passes_over: bool,
}

/// What was seen of a plan.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// What it asks for at least.
    least: Load,
    /// Where it is among those that were looked at.
    rated: Option<usize>,
}

/// The plans that need the same spans.
#[derive(Debug, Clone)]
struct Group {
    /// None for those that need no spans but the whole model's.
    cut: Option<usize>,
    plans: Range<usize>,
    /// None where they have nothing in common.
    floor: Option<Floor>,
    /// What each of them asks for at least.
    least: Load,
    /// Whether they were not passed over all at once.
    is_open: bool,
}

impl Shortlist {
    pub(super) fn new(mut entries: Vec<Entry>) -> Self {
        let cut_of = |entry: &Entry| entry.plan.inner_cut();
        entries.sort_by_key(cut_of);
        let mut groups: Vec<Group> = Vec::new();
        for its in entries.chunk_by(|a, b| cut_of(a) == cut_of(b)) {
            let begin = groups.last().map_or(0, |group| group.plans.end);
            let cut = its.first().and_then(cut_of);
            groups.push(Group {
                cut,
                plans: begin..begin + its.len(),
                floor: cut.and_then(|_| Floor::of(its)),
                least: Load::default(),
                is_open: false,
            });
        }
        Self {
            seen: vec![Seen::default(); entries.len()],
            groups,
            // One more for the device, where it is not among them.
            rated: Vec::with_capacity(entries.len() + 1),
            entries,
            passes_over: true,
        }
    }

    /// The same, but that every plan is looked at.
    pub(super) fn thorough(mut self) -> Self {
        self.passes_over = false;
        self
    }

    /// What does not change about `plan`, if it is one of them.
    pub(super) fn entry(&self, plan: Plan) -> Option<&Entry> {
        self.entries.get(self.index(plan)?)
    }

    /// Looks at every plan that may be the best, of all and of those whose spans are at hand, at the device, and at those of
    /// the `last` decision.
    pub(super) fn look(
        &mut self,
        decision: &Decision<'_>,
        last: impl Iterator<Item = Plan> + Clone,
    ) {
        let mut bars = Bars::default();
        // One of them is mostly the best again.
        for plan in last.clone() {
            if let Some(rated) = self.entry(plan).and_then(|entry| decision.rate(entry)) {
                bars.raise(&rated, decision);
            }
        }
        self.rated.clear();
        for index in 0..self.groups.len() {
            self.look_at_group(index, &mut bars, decision);
        }
        for plan in last.chain([Plan::Device]) {
            if let Some(group) = self.group(plan.inner_cut()) {
                self.open(group, decision);
            }
            if let Some(index) = self.index(plan) {
                self.look_at(index, decision);
            }
        }
        if self.rated.is_empty() {
            self.rated.push(decision.device());
        }
    }

    fn look_at_group(&mut self, index: usize, bars: &mut Bars, decision: &Decision<'_>) {
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        let is_ready = decision.is_ready(group.cut);
        group.is_open = false;
        if let Some(floor) = &group.floor {
            let least = decision.floor(floor);
            group.least = least.load();
            if self.passes_over && bars.are_out_of_reach(&least, is_ready, decision) {
                return;
            }
        }
        group.is_open = true;
        for (entry, seen) in those(&group.plans, &self.entries, &mut self.seen) {
            let least = decision.glance(entry);
            seen.least = least.load();
            seen.rated = if self.passes_over && bars.are_out_of_reach(&least, is_ready, decision) {
                None
            } else {
                look_at(entry, &mut self.rated, decision)
            };
            if let Some(rated) = seen.rated.and_then(|index| self.rated.get(index)) {
                bars.raise(rated, decision);
            }
        }
    }

    /// What the plans of a group ask for is seen, if it was not before.
    fn open(&mut self, index: usize, decision: &Decision<'_>) -> Range<usize> {
        let Some(group) = self.groups.get_mut(index) else {
            return 0..0;
        };
        if !std::mem::replace(&mut group.is_open, true) {
            for (entry, seen) in those(&group.plans, &self.entries, &mut self.seen) {
                seen.least = decision.glance(entry).load();
                seen.rated = None;
            }
        }
        group.plans.clone()
    }

    /// A plan is looked at, if it was not before; where it is then, if it may be chosen.
    fn look_at(&mut self, index: usize, decision: &Decision<'_>) -> Option<usize> {
        let (entry, seen) = (self.entries.get(index)?, self.seen.get_mut(index)?);
        if seen.rated.is_none() {
            seen.rated = look_at(entry, &mut self.rated, decision);
        }
        seen.rated
    }

    /// The plans that may be followed beside one with the inner `cut`, so that one pair of spans is all that the two need; those whose
    /// spans are at hand, or all.
    pub(super) fn beside(&self, cut: Option<usize>, only_ready: bool) -> Beside {
        let uncut = self.group(None).map_or(0..0, |index| index..index + 1);
        let there = match cut {
            None => uncut.end..self.groups.len(),
            Some(_) => self.group(cut).map_or(0..0, |index| index..index + 1),
        };
        Beside {
            cut,
            groups: uncut.chain(there),
            plans: 0..0,
            only_ready,
        }
    }

    /// The next of these plans that `is_of_use` by what it asks for at least, and may be chosen; it is looked at if it was not before.
    pub(super) fn next(
        &mut self,
        beside: &mut Beside,
        decision: &Decision<'_>,
        is_of_use: impl Fn(&Load) -> bool,
    ) -> Option<&Rated> {
        loop {
            for index in &mut beside.plans {
                let seen = self.seen.get(index)?;
                if is_of_use(&seen.least)
                    && let Some(rated) = self.look_at(index, decision)
                {
                    return self.rated.get(rated);
                }
            }
            let index = beside.groups.next()?;
            let group = self.groups.get(index)?;
            let is_there = !beside.only_ready || decision.is_ready(group.cut);
            if is_there && is_of_use(&group.least) {
                beside.plans = self.open(index, decision);
            }
        }
    }

    /// What was looked at.
    pub(super) fn rated(&self) -> &[Rated] {
        &self.rated
    }

    /// What was found of `plan`, if it was looked at and may be chosen.
    pub(super) fn rated_plan(&self, plan: Plan) -> Option<Rated> {
        let Some(index) = self.index(plan) else {
            // The device where it is none of the plans, and nothing else may be chosen.
            let first = self.rated.first();
            return first.filter(|rated| rated.candidate.plan == plan).copied();
        };
        let is_open = self.groups.get(self.group(plan.inner_cut())?)?.is_open;
        let seen = self.seen.get(index).filter(|_| is_open);
        self.rated.get(seen?.rated?).copied()
    }

    fn index(&self, plan: Plan) -> Option<usize> {
        let group = self.groups.get(self.group(plan.inner_cut())?)?;
        let plans = self.entries.get(group.plans.clone())?;
        let found = plans.iter().position(|entry| entry.plan == plan)?;
        Some(group.plans.start + found)
    }

    /// The plans with the inner `cut`, or with none.
    fn group(&self, cut: Option<usize>) -> Option<usize> {
        self.groups
            .binary_search_by_key(&cut, |group| group.cut)
            .ok()
    }
}

#[cfg(test)]
impl Shortlist {
    /// Plans that were looked at already.
    pub(super) fn of_rated(rated: Vec<Rated>, entry: impl Fn(&Plan) -> Entry) -> Self {
        let entries = rated.iter().map(|rated| entry(&rated.candidate.plan));
        let mut shortlist = Self::new(entries.collect());
        shortlist.seen = (0..rated.len())
            .map(|index| Seen {
                least: Load::of(&rated[index].candidate),
                rated: Some(index),
            })
            .collect();
        for group in &mut shortlist.groups {
            group.is_open = true;
        }
        shortlist.rated = rated;
        shortlist
    }
}

/// Plans, and what was seen of them.
fn those<'a>(
    plans: &Range<usize>,
    entries: &'a [Entry],
    seen: &'a mut [Seen],
) -> impl Iterator<Item = (&'a Entry, &'a mut Seen)> + use<'a> {
    let entries = entries.get(plans.clone()).unwrap_or_default();
    let seen = seen.get_mut(plans.clone()).unwrap_or_default();
    entries.iter().zip(seen)
}

/// Rates a plan; where it is then, if it may be chosen.
fn look_at(entry: &Entry, rated: &mut Vec<Rated>, decision: &Decision<'_>) -> Option<usize> {
    rated.push(decision.rate(entry)?);
    Some(rated.len() - 1)
}

/// Plans that are gone through ([`Shortlist::beside`]).
#[derive(Debug)]
pub(super) struct Beside {
    cut: Option<usize>,
    groups: Chain<Range<usize>, Range<usize>>,
    /// Those of the group that is gone through now.
    plans: Range<usize>,
    only_ready: bool,
}

impl Beside {
    /// Whether a plan may be followed beside the other one.
    pub(super) fn has(&self, plan: Plan) -> bool {
        let cut = plan.inner_cut();
        self.cut.is_none() || cut.is_none() || cut == self.cut
    }
}

/// What a plan has to be as good as to be the best.
#[derive(Debug)]
struct Bars {
    any: Bar,
    /// Of those whose spans are at hand.
    ready: Bar,
}

impl Default for Bars {
    fn default() -> Self {
        Self {
            any: Bar::LOWEST,
            ready: Bar::LOWEST,
        }
    }
}

impl Bars {
    fn raise(&mut self, rated: &Rated, decision: &Decision<'_>) {
        self.any.raise(rated, decision.objective);
        if rated.candidate.ready {
            self.ready.raise(rated, decision.objective);
        }
    }

    fn are_out_of_reach(&self, least: &Glance, is_ready: bool, decision: &Decision<'_>) -> bool {
        let bar = if is_ready { &self.ready } else { &self.any };
        bar.is_out_of_reach(least, decision.objective)
    }
}
