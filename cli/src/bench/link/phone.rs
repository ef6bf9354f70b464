//! The phone's async runtime: all its threads are in the namespace of the thread that starts it.

use std::time::Duration;

use anyhow::{Context, Result};

use super::interrupt::Interrupt;

/// How long work that was given up is waited for: a process must not end in the middle of a span.
const LAST_WORK: Duration = Duration::from_secs(3);

/// Does `work` to its end, or until the program is asked to end, in the calling thread's namespace.
pub(super) fn run<T>(interrupt: &Interrupt, work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the phone's async runtime")?;
    let result = runtime.block_on(interrupt.or(work));
    runtime.shutdown_timeout(LAST_WORK);
    result
}
