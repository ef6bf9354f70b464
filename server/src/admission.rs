//! Who gets in: bounded in number, because memory must not be the queue, and in time, because an
//! answer that waited long is worth nothing to a phone that could have finished by itself.
//!
//! A request takes a place before its body is read and keeps it until it is answered or, if its
//! client goes away, until the workers have let go of it. Whether those who are there already would
//! keep it waiting too long is asked twice: before its body is read, so that a refusal costs
//! neither side the upload, and once it is there, because others came meanwhile.

use std::sync::Arc;
use std::time::Duration;

use dyno_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::batch::{Done, Line, Request, Workers};
use crate::metrics::Metrics;
use crate::timing::Load;

/// Times of its own cost that a request may be made to wait, unless the operator sets a time.
const WAIT_IN_COSTS: u32 = 6;
/// What a request is taken to cost whose model has not answered any: a version that has just been put in
/// place is not refused for what it has not shown.
const UNKNOWN_COST: Duration = Duration::from_millis(10);
/// But at least this: a burst of tiny requests is soon over.
const MIN_WAIT: Duration = Duration::from_millis(5);
/// Longest time that a client is asked to stay away.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Places for requests, and the workers that they wait for.
#[derive(Debug)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    workers: Workers,
    capacity: usize,
    max_wait: Option<Duration>,
}

/// One request's place.
#[derive(Debug)]
pub(crate) struct Place(OwnedSemaphorePermit);

impl Admission {
    pub(crate) fn new(
        capacity: usize,
        workers: usize,
        max_wait: Option<Duration>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            places: Arc::new(Semaphore::new(capacity)),
            workers: Workers::start(workers, metrics),
            capacity,
            max_wait,
        }
    }

    /// A place, now or never: fails with [`ErrorKind::Overloaded`] if all are taken.
    pub(crate) fn admit(&self) -> Result<Place> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map(Place)
            .map_err(|_| {
                self.refusal(format!(
                    "all {} places for requests are taken: finish on the device, or try again later",
                    self.capacity
                ))
            })
    }

    /// Fails with [`ErrorKind::Overloaded`] if a request of this line would wait too long, or past its
    /// own deadline.
    ///
    /// Where nothing waits, nobody is refused for what the model is taken to cost: if that is wrong,
    /// only a run can set it right.
    pub(crate) fn check_wait(&self, line: &Line, left: Duration) -> Result<()> {
        let wait = self.workers.wait();
        if wait.is_zero() {
            return Ok(());
        }
        let known = line.cost();
        let cost = known.unwrap_or(UNKNOWN_COST);
        let longest = self
            .max_wait
            .unwrap_or_else(|| MIN_WAIT.max(cost * WAIT_IN_COSTS));
        if wait <= longest && wait + known.unwrap_or_default() <= left {
            return Ok(());
        }
        Err(self.refusal(format!(
            "{} ms of work are waiting: finish on the device, or try again later",
            wait.as_millis()
        )))
    }

    /// Decodes and runs a request that has been received.
    pub(crate) async fn run(&self, request: Request) -> Result<Done> {
        self.workers.run(request).await
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            in_flight: self
                .capacity
                .saturating_sub(self.places.available_permits()),
            capacity: self.capacity,
        }
    }

    /// Requests that wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.workers.queued()
    }

    /// With the time after which what waits now will be done.
    fn refusal(&self, text: String) -> Error {
        let wait = self.workers.wait().min(MAX_RETRY_AFTER);
        Error::new(ErrorKind::Overloaded, text).with_retry_after(Some(wait))
    }
}

impl Place {
    /// Gives the place to the next request.
    pub(crate) fn leave(self) {
        drop(self.0);
    }
}
