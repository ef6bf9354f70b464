//! Who is next, and together with whom: the order of the work, without threads or clocks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{Client, Job, Stage};
use super::line::Line;

/// Most time that a job waits at a junction for others to come, of its own deadline.
const JOIN_SHARE: u32 = 8;
/// And in any case.
const MAX_JOIN_WAIT: Duration = Duration::from_millis(20);

/// The jobs that wait, in the order in which they entered. Bounded by the places there are.
#[derive(Debug, Default)]
pub(crate) struct Queue(VecDeque<Job>);

/// What a worker is to do: run these, all at one cut of one line, to cut `to`.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) jobs: Vec<Job>,
    pub(crate) to: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes out the job of a client.
    pub(crate) fn take_of(&mut self, client: &Client) -> Option<Job> {
        let index = self.0.iter().position(|job| job.client.is(client))?;
        self.0.remove(index)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a job in its place: behind those that entered before it.
    pub(crate) fn push(&mut self, job: Job) {
        let place = self.0.partition_point(|other| other.entered <= job.entered);
        self.0.insert(place, job);
    }

    /// Takes out those whose client has gone or whose deadline has passed.
    pub(crate) fn take_lost(&mut self, now: Instant) -> Vec<Job> {
        let mut lost = Vec::new();
        let mut index = 0;
        while index < self.0.len() {
            if self.0[index].is_lost(now) {
                lost.extend(self.0.remove(index));
            } else {
                index += 1;
            }
        }
        lost
    }

    /// The next batch: around the job that entered first, or around one upstream that can still join it.
    ///
    /// There is always one while there are jobs: no worker idles to wait for others.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Batch> {
        let first = self.0.front()?;
        let line = Arc::clone(&first.line);
        let start = first.at();
        let last = line.engine.manifest().last_cut();
        let junction = line.engine.junction();
        let cut = match junction {
            Some(junction) if start == junction && !first.is_due(now) => {
                let full = self.waiting(&line, |at| at == start) >= line.engine.batch_limit(start);
                let upstream = self.cuts(&line).filter(|&at| at < junction).min();
                upstream.filter(|_| !full).unwrap_or(start)
            }
            _ => start,
        };
        let to = match junction {
            // A stop is worth its cost if there is somebody to meet.
            Some(junction) if cut < junction => {
                let company = self.waiting(&line, |at| at <= junction && at != cut);
                if company > 0 { junction } else { last }
            }
            _ => last,
        };
        let jobs = self.take(&line, cut, line.engine.batch_limit(cut));
        Some(Batch { jobs, to })
    }

    fn cuts<'q>(&'q self, line: &'q Arc<Line>) -> impl Iterator<Item = usize> + 'q {
        self.0
            .iter()
            .filter(|job| Arc::ptr_eq(&job.line, line))
            .map(Job::at)
    }

    fn waiting(&self, line: &Arc<Line>, at: impl Fn(usize) -> bool) -> usize {
        self.cuts(line).filter(|&cut| at(cut)).count()
    }

    /// The first jobs of a line that wait at a cut.
    fn take(&mut self, line: &Arc<Line>, cut: usize, most: usize) -> Vec<Job> {
        let mut taken = Vec::new();
        let mut index = 0;
        while index < self.0.len() && taken.len() < most.max(1) {
            let job = &self.0[index];
            if Arc::ptr_eq(&job.line, line) && job.at() == cut {
                taken.extend(self.0.remove(index));
            } else {
                index += 1;
            }
        }
        taken
    }
}

impl Job {
    /// Whether it has waited for company as long as it may.
    fn is_due(&self, now: Instant) -> bool {
        let all = self.deadline.saturating_duration_since(self.entered);
        let patience = MAX_JOIN_WAIT.min(all / JOIN_SHARE);
        now.saturating_duration_since(self.waiting) >= patience
    }

    /// What it has, for a worker to work on.
    pub(crate) fn take_stage(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Taken)
    }
}
