//! A [`TailEngine`] whose tails another server runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use dyno_core::bundle::{Bundle, Manifest, TailPattern};
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::{Error, ErrorKind, Result};
use futures_util::future::try_join_all;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::client::Remote;
use super::tail::Tail;
use crate::engine::TailEngine;

/// How often the other server is asked which tails it has.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// How often a worker that waits for an answer looks whether anybody still wants it.
const CANCEL_INTERVAL: Duration = Duration::from_millis(5);
/// For how long a tail that was there is waited for before it is taken to have gone for good.
const GONE_FOR: Duration = Duration::from_mins(1);

/// Has the tails of one model run by another inference server, over gRPC.
///
/// Ready for as long as that server says that it has a tail of this model; a request that comes in at
/// a cut whose tail it lacks is refused.
#[derive(Debug)]
pub struct RemoteEngine {
    shared: Arc<Shared>,
    runtime: Handle,
}

#[derive(Debug)]
struct Shared {
    /// Kept for its folder too: downloads are of the version that was opened.
    bundle: Bundle,
    /// Name of the tail behind each cut.
    names: Vec<String>,
    remote: Arc<Remote>,
    /// By cut.
    tails: Mutex<Vec<Place>>,
    /// Whether the other server did not answer when it was last asked.
    silent: AtomicBool,
}

/// Where a tail belongs.
#[derive(Debug)]
struct Place {
    standing: Standing,
    /// When it was there last, if ever.
    stood: Option<Instant>,
}

impl Place {
    const EMPTY: Self = Self {
        standing: Standing::Missing,
        stood: None,
    };

    fn tail(&self) -> Option<&Arc<Tail>> {
        self.standing.tail()
    }

    /// Whether it was there a moment ago: it is being loaded again, or a question got lost. Phones would remember for good
    /// that there is none.
    fn is_gone(&self) -> bool {
        self.tail().is_none() && self.stood.is_some_and(|stood| stood.elapsed() < GONE_FOR)
    }
}

/// How a tail stands, when it was last asked for.
#[derive(Debug)]
enum Standing {
    Missing,
    /// Of no use, and why.
    LeftOut(String),
    There(Arc<Tail>),
}

impl Standing {
    fn tail(&self) -> Option<&Arc<Tail>> {
        match self {
            Self::There(tail) => Some(tail),
            Self::Missing | Self::LeftOut(_) => None,
        }
    }
}

impl RemoteEngine {
    /// An engine for `model`, whose tails have the names of `pattern` there. Call it in a tokio
    /// runtime, which it keeps asking in for as long as it lives.
    pub(crate) fn new(
        model: &str,
        bundle: Bundle,
        remote: Arc<Remote>,
        pattern: &TailPattern,
    ) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|error| {
            Error::with_source(
                ErrorKind::Internal,
                "a remote engine needs a runtime",
                error,
            )
        })?;
        let manifest = bundle.manifest();
        let names: Vec<_> = (0..manifest.last_cut())
            .map(|cut| pattern.of(model, &manifest.hash, cut))
            .collect();
        let shared = Arc::new(Shared {
            tails: Mutex::new(names.iter().map(|_| Place::EMPTY).collect()),
            silent: AtomicBool::new(false),
            bundle,
            names,
            remote,
        });
        runtime.spawn(keep_checking(Arc::downgrade(&shared)));
        Ok(Self { shared, runtime })
    }
}

impl TailEngine for RemoteEngine {
    fn manifest(&self) -> &Manifest {
        self.shared.bundle.manifest()
    }

    /// One call for each activation, all at once: whether they become a batch is for the other server
    /// to say.
    fn run(&self, inputs: &Stack, _to: usize, cancel: &Cancel) -> Result<TailRun> {
        let started = std::time::Instant::now();
        let deadline = cancel.deadline().map(Into::into);
        let calls = (0..inputs.len())
            .filter_map(|index| inputs.get(index))
            .map(|input| self.shared.call(inputs.cut(), input, deadline));
        let outputs = self.runtime.block_on(async {
            tokio::select! {
                outputs = try_join_all(calls) => outputs,
                () = cancelled(cancel) => Err(Error::new(
                    ErrorKind::Cancelled,
                    "the inference was cancelled",
                )),
            }
        })?;
        Ok(TailRun {
            outputs,
            elapsed: started.elapsed(),
        })
    }

    /// Looks for the tails. A server that is not there yet is no failure: this one is not ready
    /// until it is.
    fn warm_up(&self, _cancel: &Cancel) -> Result<()> {
        self.runtime.block_on(self.shared.check());
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.shared
            .tails()
            .iter()
            .any(|standing| standing.tail().is_some())
    }
}

impl Shared {
    /// `input` has the elements of each tensor of the cut.
    async fn call(
        &self,
        cut: usize,
        input: Vec<&[f32]>,
        deadline: Option<Instant>,
    ) -> Result<Activation> {
        let tail = self.tail(cut)?;
        let request = tail.request(&input)?;
        let answer = self
            .remote
            .infer(request, tail.answer_bytes(), deadline)
            .await?;
        let outputs = tail.outputs(&answer, &input)?;
        Ok(Activation::new(self.bundle.manifest().last_cut(), outputs))
    }

    fn tail(&self, cut: usize) -> Result<Arc<Tail>> {
        let tails = self.tails();
        if let Some(tail) = tails.get(cut).and_then(Place::tail) {
            return Ok(Arc::clone(tail));
        }
        let there: Vec<_> = (0..tails.len())
            .filter(|&cut| tails[cut].tail().is_some())
            .map(|cut| cut.to_string())
            .collect();
        if there.is_empty() || tails.get(cut).is_some_and(Place::is_gone) {
            return Err(Error::new(
                ErrorKind::Overloaded,
                "the server behind this one is not ready: finish on the device, or try again later",
            ));
        }
        Err(Error::new(
            ErrorKind::UnsupportedActivation,
            format!(
                "there is no tail behind cut {cut} here: there are those behind cuts {}",
                there.join(", ")
            ),
        ))
    }

    /// Asks which tails there are, and takes those that fit. What has not changed since it was last asked
    /// is not logged again.
    async fn check(&self) {
        let ready = self.ask_whether_ready().await;
        for (cut, name) in self.names.iter().enumerate() {
            let found = if ready {
                self.find(cut, name).await
            } else {
                Ok(None)
            };
            let now = match found {
                Ok(Some(tail)) => Standing::There(tail),
                Ok(None) => Standing::Missing,
                Err(error) => Standing::LeftOut(error.to_string()),
            };
            let mut tails = self.tails();
            let Some(before) = tails.get_mut(cut) else {
                continue;
            };
            let server = self.remote.address();
            if before.tail().is_some() != now.tail().is_some() {
                let there = now.tail().is_some();
                tracing::info!(server, tail = name, there, "tail engine");
            }
            if let Standing::LeftOut(why) = &now
                && !matches!(&before.standing, Standing::LeftOut(known) if known == why)
            {
                tracing::warn!(server, tail = name, error = why, "a tail is left out");
            }
            if now.tail().is_some() {
                before.stood = Some(Instant::now());
            }
            before.standing = now;
        }
    }

    async fn ask_whether_ready(&self) -> bool {
        let answer = self.remote.is_ready().await;
        let was_silent = self.silent.swap(answer.is_err(), Ordering::Relaxed);
        answer.unwrap_or_else(|error| {
            // Once, whatever the reasons: they differ from one attempt to the next.
            if !was_silent {
                let server = self.remote.address();
                tracing::warn!(server, %error, "the tail engine does not answer");
            }
            false
        })
    }

    async fn find(&self, cut: usize, name: &str) -> Result<Option<Arc<Tail>>> {
        if !self.remote.has(name).await? {
            return Ok(None);
        }
        if let Some(known) = self.tails().get(cut).and_then(Place::tail) {
            return Ok(Some(Arc::clone(known)));
        }
        let (Some(described), Some(row)) = (
            self.remote.describe(name).await?,
            self.bundle.manifest().cuts.get(cut),
        ) else {
            return Ok(None);
        };
        Tail::fit(name, &described, row, self.bundle.manifest()).map(|tail| Some(Arc::new(tail)))
    }

    fn tails(&self) -> std::sync::MutexGuard<'_, Vec<Place>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks for as long as there is an engine.
async fn keep_checking(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.check().await;
    }
}

async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(CANCEL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tail_that_is_gone_may_come_back_for_a_while() {
        assert!(!Place::EMPTY.is_gone(), "there never was one");
        let place = Place {
            stood: Some(Instant::now()),
            ..Place::EMPTY
        };
        assert!(place.is_gone());
        tokio::time::advance(GONE_FOR).await;
        assert!(!place.is_gone(), "for good");
    }
}
