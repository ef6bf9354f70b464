//! Work that goes on after a call has its answer: bounded, and gone with the client.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

/// Tasks of one kind, at most so many at once. Dropping it aborts them.
///
/// They must not keep the client alive: what they learn, they tell through a weak reference.
#[derive(Debug)]
pub(super) struct Background {
    max: usize,
    tasks: Mutex<JoinSet<()>>,
}

impl Background {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            tasks: Mutex::default(),
        }
    }

    /// Starts `task`, or drops it if there are enough. Must be called within a tokio runtime.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        let has_room = tasks.len() < self.max;
        if has_room {
            tasks.spawn(task);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn tasks_are_bounded_and_end_with_their_owner() {
        let background = Background::new(2);
        let alive = Arc::new(());
        let started = Arc::new(AtomicUsize::new(0));
        let task = || {
            let (alive, started) = (alive.clone(), started.clone());
            async move {
                started.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
                drop(alive);
            }
        };
        assert!(background.spawn(task()) && background.spawn(task()));
        assert!(!background.spawn(task()), "a third");
        while started.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        drop(background);
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_task_that_ended_makes_room() {
        let background = Background::new(1);
        for _ in 0..3 {
            while !background.spawn(std::future::ready(())) {
                tokio::task::yield_now().await;
            }
        }
    }
}
