//! The client's transport, watched: what the server said of its times is more than an answer tells.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dyno_core::Result;
use dyno_core::client::{HttpTransport, Probed, ServerTiming, TailAnswer, TailRequest, Transport};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Keeps the times of the last answer.
#[derive(Debug)]
pub(super) struct Observed {
    transport: HttpTransport,
    last: Mutex<Option<ServerTiming>>,
}

impl Observed {
    pub(super) fn new(transport: HttpTransport) -> Self {
        Self {
            transport,
            last: Mutex::new(None),
        }
    }

    /// The times of the last answer, unless they were taken before.
    pub(super) fn take(&self) -> Option<ServerTiming> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.take()
    }
}

impl Transport for Observed {
    fn infer(&self, request: TailRequest) -> BoxFuture<'_, Result<TailAnswer>> {
        async move {
            let answer = self.transport.infer(request).await?;
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(answer.timing);
            Ok(answer)
        }
        .boxed()
    }

    fn warm_up(&self) -> BoxFuture<'_, Result<Option<Duration>>> {
        self.transport.warm_up()
    }

    fn probe(&self, bytes: usize) -> BoxFuture<'_, Result<Option<Probed>>> {
        self.transport.probe(bytes)
    }

    fn network_changed(&self) {
        self.transport.network_changed();
    }
}
