//! Who gets in and who computes: both bounded, both decided without a queue that grows.
//!
//! A request takes a place before its body is read (otherwise memory would be the queue) and keeps
//! it until it is answered or, if its client goes away, until the worker has let go of it.

use std::sync::Arc;

use dyno_core::runtime::Cancel;
use dyno_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::timing::Load;

/// Places for requests, and workers that compute.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    capacity: usize,
}

/// One request's place.
#[derive(Debug)]
pub(crate) struct Place(OwnedSemaphorePermit);

impl Admission {
    pub(crate) fn new(capacity: usize, workers: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(capacity)),
            workers: Arc::new(Semaphore::new(workers)),
            capacity,
        }
    }

    /// A place, now or never: fails with [`ErrorKind::Overloaded`] if all are taken.
    pub(crate) fn admit(&self) -> Result<Place> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map(Place)
            .map_err(|_| {
                Error::new(
                    ErrorKind::Overloaded,
                    format!(
                        "all {} places for requests are taken: finish on the device, or try again \
                         later",
                        self.capacity
                    ),
                )
            })
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            in_flight: self
                .capacity
                .saturating_sub(self.places.available_permits()),
            capacity: self.capacity,
        }
    }

    /// Runs `job` on a worker thread, at most until `deadline`, and hands the place back with the
    /// result and the time spent waiting for a worker.
    ///
    /// Dropping the future, or reaching the deadline, sets the job's [`Cancel`]; a job whose turn
    /// had not come is not run at all. Fails with [`ErrorKind::DeadlineExceeded`] then, with
    /// [`ErrorKind::Internal`] if the job panics, and as the job fails.
    pub(crate) async fn run<T, J>(
        &self,
        place: Place,
        deadline: Instant,
        job: J,
    ) -> Result<Computed<T>>
    where
        T: Send + 'static,
        J: FnOnce(&Cancel) -> Result<T> + Send + 'static,
    {
        let arrived = Instant::now();
        let worker = timeout_at(deadline, Arc::clone(&self.workers).acquire_owned())
            .await
            .map_err(|_| late("while the request waited for a worker"))?
            .map_err(|_| Error::new(ErrorKind::Internal, "the workers are gone"))?;
        let queue = arrived.elapsed();

        let cancel = Cancel::new();
        let guard = cancel.clone().on_drop();
        let job = tokio::task::spawn_blocking(move || {
            let result = cancel.check().and_then(|()| job(&cancel));
            drop(worker);
            (place, result)
        });
        let joined = timeout_at(deadline, job)
            .await
            .map_err(|_| late("while the tail ran"))?;
        drop(guard);
        let (place, result) = joined
            .map_err(|error| Error::with_source(ErrorKind::Internal, "a worker panicked", error))?;
        Ok(Computed {
            value: result?,
            queue,
            place,
        })
    }
}

/// What a job left.
#[derive(Debug)]
pub(crate) struct Computed<T> {
    pub(crate) value: T,
    /// Time spent waiting for a worker.
    pub(crate) queue: std::time::Duration,
    /// Held by the request until its answer is made.
    pub(crate) place: Place,
}

fn late(place: &str) -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        format!("the deadline passed {place}"),
    )
}

impl Place {
    /// Gives the place to the next request.
    pub(crate) fn leave(self) {
        drop(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn a_full_house_refuses_at_once_and_a_place_left_is_free_again() {
        let admission = Admission::new(1, 1);
        let place = admission.admit().unwrap();
        assert_eq!(admission.load().in_flight, 1);
        assert_eq!(admission.admit().unwrap_err().kind(), ErrorKind::Overloaded);
        place.leave();
        assert!(admission.admit().is_ok());
    }

    #[tokio::test]
    async fn a_panic_in_a_job_costs_that_job_only() {
        let admission = Admission::new(1, 1);
        for _ in 0..2 {
            let place = admission.admit().unwrap();
            let failed = admission
                .run(place, soon(), |_| -> Result<()> { panic!("a defect") })
                .await;
            assert_eq!(failed.unwrap_err().kind(), ErrorKind::Internal);
        }
        assert_eq!(admission.load().in_flight, 0);
    }

    #[tokio::test]
    async fn a_job_whose_turn_comes_too_late_is_not_run() {
        let admission = Admission::new(2, 1);
        let busy = Arc::clone(&admission.workers)
            .acquire_owned()
            .await
            .unwrap();
        let (ran, has_run) = mpsc::channel();
        let place = admission.admit().unwrap();
        let late = admission
            .run(place, Instant::now(), move |_| {
                ran.send(()).unwrap();
                Ok(())
            })
            .await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        drop(busy);
        assert!(has_run.recv().is_err(), "the job was dropped unrun");
        assert_eq!(admission.load().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_cancels_the_job_under_way() {
        let admission = Admission::new(1, 1);
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (seen, has_seen) = mpsc::channel();
        let place = admission.admit().unwrap();
        let running = tokio::spawn(async move {
            let job = move |cancel: &Cancel| {
                started.send(()).unwrap();
                while !cancel.is_cancelled() {
                    std::thread::yield_now();
                }
                seen.send(()).unwrap();
                cancel.check()
            };
            admission.run(place, soon(), job).await.map(|_| ())
        });
        has_started.await.unwrap();
        tokio::time::advance(Duration::from_mins(2)).await;
        let late = running.await.unwrap().unwrap_err();
        assert_eq!(late.kind(), ErrorKind::DeadlineExceeded);
        assert!(has_seen.recv().is_ok());
    }
}
