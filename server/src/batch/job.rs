//! One request's way through the workers: from its body to its answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dyno_core::runtime::{Activation, Cancel};
use dyno_core::{Result, Tensor};
use tokio::sync::oneshot;

use super::line::Line;
use crate::admission::Place;
use crate::engine::BodyKind;
use crate::timing::Moments;

/// What is left of a request once it has been run.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) cut: usize,
    pub(crate) outputs: Vec<Tensor>,
    pub(crate) times: Times,
    /// Held until the answer is made.
    pub(crate) place: Place,
}

/// Where its time went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    pub(crate) unpack: Duration,
    /// Waiting for a worker, for others to join, and for sessions.
    pub(crate) queue: Duration,
    /// Of the runs that it was part of.
    pub(crate) infer: Duration,
    /// Its share of those runs: what it cost the server.
    pub(crate) share: Duration,
    /// Activations in its last run.
    pub(crate) batch: usize,
    pub(crate) moments: Moments,
}

/// A request with the workers.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) line: Arc<Line>,
    pub(crate) stage: Stage,
    /// The cut where it entered.
    pub(crate) cut: usize,
    pub(crate) entered: Instant,
    pub(crate) deadline: Instant,
    /// When it began to wait for what comes next.
    pub(crate) waiting: Instant,
    pub(crate) times: Times,
    pub(crate) client: Client,
    pub(crate) place: Place,
    pub(crate) reply: oneshot::Sender<Result<Done>>,
}

/// How far a job has come.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Its body waits, decoded only when it is run: packed it is a tenth as large, and decoded it is still in
    /// the caches then.
    Body(Vec<u8>, BodyKind),
    /// What an earlier run left waits for the next one.
    Ready(Activation),
    /// A worker has what it had.
    Taken,
}

impl Job {
    /// The cut that it waits at.
    pub(crate) fn at(&self) -> usize {
        match &self.stage {
            Stage::Ready(activation) => activation.cut,
            Stage::Body(..) | Stage::Taken => self.cut,
        }
    }

    /// Whether nobody waits for it any more.
    pub(crate) fn is_lost(&self, now: Instant) -> bool {
        self.reply.is_closed() || self.client.cancel.is_cancelled() || self.deadline <= now
    }

    pub(crate) fn fail(self, error: dyno_core::Error) {
        self.place.leave();
        // Whoever is gone needs no answer.
        let _ = self.reply.send(Err(error));
    }

    pub(crate) fn finish(self, outputs: Vec<Tensor>) {
        let _ = self.reply.send(Ok(Done {
            cut: self.cut,
            outputs,
            times: self.times,
            place: self.place,
        }));
    }
}

/// Whoever waits for a job, as its workers see it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    pub(crate) cancel: Cancel,
    party: Arc<Mutex<Option<Arc<Party>>>>,
}

/// The clients of one run: it is terminated when the last of them has gone.
#[derive(Debug)]
pub(crate) struct Party {
    /// Its clients, and until it begins the worker that gathers them: one that comes and goes meanwhile does
    /// not end the run of those that are still to come.
    waiting: AtomicUsize,
    pub(crate) cancel: Cancel,
}

impl Party {
    /// Of jobs with these deadlines.
    pub(crate) fn until(deadlines: impl Iterator<Item = Instant>) -> Self {
        Self {
            waiting: AtomicUsize::new(1),
            cancel: deadlines.max().map_or_else(Cancel::new, Cancel::until),
        }
    }

    /// All have come that will come.
    pub(crate) fn begin(&self) {
        self.one_goes();
    }

    fn one_goes(&self) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.cancel.cancel();
        }
    }
}

impl Client {
    /// Takes part in a run; false if it has gone already.
    pub(crate) fn join(&self, party: &Arc<Party>) -> bool {
        let mut place = self.party();
        if self.cancel.is_cancelled() {
            return false;
        }
        party.waiting.fetch_add(1, Ordering::SeqCst);
        *place = Some(Arc::clone(party));
        true
    }

    /// The run is over.
    pub(crate) fn part(&self) {
        self.party().take();
    }

    /// Goes, and ends the run it is part of if nobody else waits for it.
    pub(crate) fn leave(&self) {
        let mut party = self.party();
        self.cancel.cancel();
        if let Some(party) = party.take() {
            party.one_goes();
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.party, &other.party)
    }

    fn party(&self) -> MutexGuard<'_, Option<Arc<Party>>> {
        self.party.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody_yet() -> Arc<Party> {
        Arc::new(Party::until(std::iter::empty()))
    }

    #[test]
    fn a_run_ends_with_the_last_of_its_clients() {
        let party = nobody_yet();
        let (one, other, late) = (Client::default(), Client::default(), Client::default());
        late.leave();
        assert!(one.join(&party) && other.join(&party));
        assert!(!late.join(&party), "has gone before");
        party.begin();
        one.leave();
        assert!(!party.cancel.is_cancelled());
        other.leave();
        assert!(party.cancel.is_cancelled());
    }

    #[test]
    fn who_goes_while_others_are_still_decoded_ends_nothing() {
        let party = nobody_yet();
        let (one, other) = (Client::default(), Client::default());
        assert!(one.join(&party));
        one.leave();
        assert!(other.join(&party));
        party.begin();
        assert!(!party.cancel.is_cancelled());

        let party = nobody_yet();
        let one = Client::default();
        assert!(one.join(&party));
        one.leave();
        party.begin();
        assert!(party.cancel.is_cancelled(), "nobody is left");
    }

    #[test]
    fn leaving_after_the_run_touches_no_other() {
        let party = nobody_yet();
        let client = Client::default();
        assert!(client.join(&party));
        client.part();
        client.leave();
        assert!(!party.cancel.is_cancelled());
    }
}
