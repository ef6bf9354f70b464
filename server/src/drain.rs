//! The server's life: warming up, serving, draining, gone; and how long goodbye may take.
//!
//! A phone keeps one connection for minutes. So draining tells every connection (GOAWAY) and waits
//! for the requests under way, not for the connections: idle ones may never close.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dyno_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

/// How long connections without a request may take to close by themselves: time for the last
/// answer and the GOAWAY to leave the socket.
const GOODBYE: Duration = Duration::from_millis(500);

/// Where the server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Taking requests.
    Serving,
    /// Connections from before are told to go; new ones are still taken, for load balancers that
    /// have not noticed.
    Draining,
    /// All connections are told to go, none are taken.
    Closing,
}

/// The phase, and whether models are warm; shared by the accept loop, connections and handlers.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    warm: AtomicBool,
    phase: watch::Sender<Phase>,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            warm: AtomicBool::new(false),
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    pub(crate) fn set_warm(&self) {
        self.warm.store(true, Ordering::Release);
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.warm.load(Ordering::Acquire) && *self.phase.borrow() == Phase::Serving
    }

    /// Where the server stands, in a word or two for people.
    pub(crate) fn state(&self) -> &'static str {
        if *self.phase.borrow() != Phase::Serving {
            "draining"
        } else if self.is_ready() {
            "ready"
        } else {
            "warming up"
        }
    }

    /// Resolves when a connection that is accepted now must be told to go: one that comes while
    /// the server drains is kept until the server closes.
    pub(crate) fn leave(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut phase = self.phase.subscribe();
        let last = match *phase.borrow() {
            Phase::Serving => Phase::Draining,
            Phase::Draining | Phase::Closing => Phase::Closing,
        };
        async move {
            // The sender lives as long as the server; without it, it is time to go as well.
            let _ = phase.wait_for(|now| *now >= last).await;
        }
    }
}

/// Waits until the requests under way are answered, then lets go of the connections.
///
/// Fails with [`ErrorKind::DeadlineExceeded`] if `timeout` passes first; the rest is dropped.
pub(crate) async fn finish(
    mut connections: JoinSet<()>,
    requests: &TaskTracker,
    timeout: Duration,
) -> Result<()> {
    requests.close();
    let quiet = async {
        loop {
            requests.wait().await;
            tokio::time::sleep(GOODBYE).await;
            if requests.is_empty() {
                break;
            }
        }
    };
    let finished = tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => true,
        () = quiet => true,
        () = tokio::time::sleep(timeout) => false,
    };
    if finished {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::DeadlineExceeded,
        format!(
            "{} requests were still under way {} s after the server was told to stop, and were \
             dropped",
            requests.len(),
            timeout.as_secs_f64()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_told_to_go_at_the_next_phase_but_one_that_comes_late_at_the_last() {
        let life = Lifecycle::new();
        let early = life.leave();
        life.enter(Phase::Draining);
        early.await;
        let late = tokio::spawn(life.leave());
        tokio::task::yield_now().await;
        assert!(!late.is_finished());
        life.enter(Phase::Closing);
        late.await.unwrap();
    }

    #[test]
    fn ready_means_warm_and_serving() {
        let life = Lifecycle::new();
        assert!(!life.is_ready());
        life.set_warm();
        assert!(life.is_ready());
        life.enter(Phase::Draining);
        assert!(!life.is_ready());
    }
}
