//! When a server that could not be reached is tried again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Rest after the first failure.
const FIRST: Duration = Duration::from_millis(100);
/// Longest rest.
const LONGEST: Duration = Duration::from_secs(5);

/// Rests that double with every failure in a row, so that a server that is down is not knocked on by
/// every request, and none of them waits for it.
#[derive(Debug, Default)]
pub(super) struct Backoff(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rest: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// Whether it is time to try.
    pub(super) fn is_over(&self) -> bool {
        self.lock()
            .until
            .is_none_or(|until| Instant::now() >= until)
    }

    pub(super) fn reached(&self) {
        *self.lock() = State::default();
    }

    pub(super) fn failed(&self) {
        let mut state = self.lock();
        // Requests that were under way together fail together: that is one failure.
        if state.until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        state.rest = (state.rest * 2).clamp(FIRST, LONGEST);
        state.until = Some(Instant::now() + state.rest);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rests_double_to_a_limit_and_end_with_an_answer() {
        let backoff = Backoff::default();
        let mut rests = Vec::new();
        for _ in 0..9 {
            assert!(backoff.is_over());
            backoff.failed();
            backoff.failed();
            let started = Instant::now();
            while !backoff.is_over() {
                tokio::time::advance(Duration::from_millis(50)).await;
            }
            rests.push(started.elapsed().as_millis());
        }
        assert_eq!(rests, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        backoff.failed();
        backoff.reached();
        assert!(backoff.is_over());
        backoff.failed();
        tokio::time::advance(FIRST).await;
        assert!(backoff.is_over());
    }
}
