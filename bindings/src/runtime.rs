//! The one async runtime of the process: exported calls hand their work to it.
//!
//! Futures that cross the boundary are polled on the app's threads, so nothing is computed there:
//! they spawn, wait, and abort what they spawned if they are dropped. That is how a cancelled
//! coroutine stops ONNX Runtime and resets the request's stream.

use std::future::Future;
use std::time::Duration;

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

use crate::error::{DynoError, ErrorKind, Result};
use crate::jni_door;

/// Threads that drive requests and short computations.
const WORKERS: usize = 2;
/// Most threads that compute or wait for a span; calls beyond that wait for one.
const MAX_BLOCKING_THREADS: usize = 16;
/// How long a thread that has nothing to compute is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

static RUNTIME: OnceCell<Runtime> = OnceCell::new();

/// The runtime, started at the first call.
pub(crate) fn runtime() -> Result<&'static Runtime> {
    RUNTIME.get_or_try_init(|| {
        Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name("dyno")
            // A thread that calls back into the JVM would otherwise be attached and detached for
            // every call.
            .on_thread_start(jni_door::attach_current_thread)
            .enable_all()
            .build()
            .map_err(|error| {
                let reason = format!("cannot start the threads of the SDK: {error}");
                DynoError::new(ErrorKind::Runtime, reason)
            })
    })
}

/// Runs `work` on the runtime; dropping the returned future aborts it.
pub(crate) async fn run<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let task = AbortOnDropHandle::new(runtime()?.spawn(work));
    task.await.unwrap_or_else(|error| {
        let reason = format!("the inference ended without a result: {error}");
        Err(DynoError::new(ErrorKind::Internal, reason))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_dropped_call_aborts_its_work() {
        struct SaysWhenDropped(mpsc::Sender<()>);
        impl Drop for SaysWhenDropped {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (sender, dropped) = mpsc::channel();
        let work = SaysWhenDropped(sender);
        let mut call = Box::pin(run(async move {
            let _work = work;
            std::future::pending::<Result<()>>().await
        }));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        drop(call);
        dropped.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn a_panic_is_an_error_of_its_own_call() {
        let runtime = runtime().unwrap();
        let panicked = runtime.block_on(run(async { panic!("on purpose") as Result<()> }));
        assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(runtime.block_on(run(async { Ok(7) })), Ok(7));
    }
}
