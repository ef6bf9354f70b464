//! Stopping work that nobody waits for any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ort::session::{NoSelectedOutputs, RunOptions};

use crate::{Error, ErrorKind, Result};

/// A flag shared by whoever waits for an inference and whoever computes it.
///
/// Setting it terminates the ONNX Runtime call under way (between two of its kernels) and keeps
/// later spans from starting.
///
/// ```
/// use dyno_core::runtime::Cancel;
///
/// let cancel = Cancel::new();
/// let guard = cancel.clone().on_drop();
/// assert!(cancel.check().is_ok());
/// drop(guard);
/// assert!(cancel.check().is_err());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<State>);

#[derive(Default)]
struct State {
    cancelled: AtomicBool,
    deadline: Option<Instant>,
    running: Mutex<Option<Arc<RunOptions<NoSelectedOutputs>>>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("cancelled", &self.cancelled)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that is not set, for work that nobody waits for after `deadline`. It does not set
    /// itself then: whoever waits does.
    pub fn until(deadline: Instant) -> Self {
        Self(Arc::new(State {
            deadline: Some(deadline),
            ..State::default()
        }))
    }

    /// When nobody waits any more, if that is known: for those who have others work for them.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Sets the flag and terminates the run under way, if there is one.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        let running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(options) = running
            && let Err(error) = options.terminate()
        {
            log::warn!("cannot terminate a cancelled run: {error}");
        }
    }

    /// Whether the flag is set.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Fails with [`ErrorKind::Cancelled`] if the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                "the inference was cancelled",
            ));
        }
        Ok(())
    }

    /// A guard that sets the flag when it is dropped: what a future holds across its awaits.
    pub fn on_drop(self) -> CancelOnDrop {
        CancelOnDrop(self)
    }

    /// Makes `options` the run that [`Cancel::cancel`] terminates, for as long as `work` runs.
    pub(crate) fn during<T>(
        &self,
        options: &Arc<RunOptions<NoSelectedOutputs>>,
        work: impl FnOnce(&RunOptions<NoSelectedOutputs>) -> Result<T>,
    ) -> Result<T> {
        *self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(options.clone());
        // Checked after registering: a cancel before this line is seen here, one after it
        // finds the options.
        let result = self.check().and_then(|()| work(options));
        *self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        match result {
            Err(_) if self.is_cancelled() => Err(Error::new(
                ErrorKind::Cancelled,
                "the inference was cancelled",
            )),
            result => result,
        }
    }
}

/// Sets its [`Cancel`] when dropped.
#[derive(Debug)]
pub struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
