//! One decision: by what its plans are rated, which is the same for all of them.

use std::time::Instant;

use super::cost::{Entry, Estimates};
use super::glance::{Floor, Glance};
use super::moment::Moment;
use super::objective::Objective;
use super::plan::Plan;
use super::rank::Rated;

/// By what plans are rated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decision<'a> {
    pub(super) objective: &'a Objective,
    /// The cuts at which the device has its spans at hand.
    ready_cuts: &'a [usize],
    moment: Moment,
    estimates: &'a Estimates,
    /// Frames under way at most, in a stream.
    room: Option<usize>,
    /// Bytes that may still be sent today.
    left_of_day: u64,
    now: Instant,
}

impl<'a> Decision<'a> {
    /// At `now`, for a call by itself, or a frame of a stream with at most `room` frames under way.
    pub(super) fn new(
        estimates: &'a Estimates,
        objective: &'a Objective,
        room: Option<usize>,
        ready_cuts: &'a [usize],
        now: Instant,
    ) -> Self {
        let left_of_day = match objective.limits.metered_bytes_per_day {
            Some(limit) if estimates.network().metered => {
                limit.saturating_sub(estimates.metered_bytes(now))
            }
            _ => u64::MAX,
        };
        Self {
            objective,
            ready_cuts,
            moment: estimates.at(now),
            estimates,
            room,
            left_of_day,
            now,
        }
    }

    /// A plan under the objective; none if it may not be chosen today.
    pub(super) fn rate(&self, entry: &Entry) -> Option<Rated> {
        let estimates = self.estimates;
        let mut candidate = self.moment.candidate(entry, estimates, self.ready_cuts);
        if let Some(room) = self.room {
            // Frames wait behind second looks.
            candidate.stage_ms += candidate.stall_ms(room, candidate.stage_ms);
        }
        // The one limit that is never broken, since each call alone might keep it.
        let is_too_much = candidate.most_bytes() as u64 > self.left_of_day;
        if is_too_much && candidate.plan.uses_server() {
            return None;
        }
        Some(Rated::new(candidate, &self.objective.limits))
    }

    /// What a plan costs at least.
    pub(super) fn glance(&self, entry: &Entry) -> Glance {
        self.moment.glance(entry, self.estimates)
    }

    /// What the plans of a cut cost at least.
    pub(super) fn floor(&self, floor: &Floor) -> Glance {
        self.moment.floor(floor, self.estimates)
    }

    /// Whether the device has the spans of plans with an inner `cut`, or with none, at hand.
    pub(super) fn is_ready(&self, cut: Option<usize>) -> bool {
        cut.is_none_or(|cut| self.ready_cuts.contains(&cut))
    }

    /// The device, which may always be chosen.
    pub(super) fn device(&self) -> Rated {
        let device = self
            .estimates
            .candidate(Plan::Device, self.ready_cuts, self.now);
        Rated::new(device, &self.objective.limits)
    }
}
