//! Who computes on the device: within a stream one call at a time, the oldest frame's first.
//!
//! Two spans at once share the cores: both are late, and the times of neither say what it costs.
//! Calls outside of streams take no turns; an app that starts two of them wants both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::local;
use crate::Result;

/// A call's access to the device. One that shares the device with nobody always has it.
#[derive(Debug, Default)]
pub(super) struct Access {
    place: Option<Place>,
    turn: Option<Turn>,
}

/// Which frame of which stream a call is for.
#[derive(Debug)]
struct Place {
    turns: Arc<Turns>,
    seq: u64,
}

impl Access {
    /// Access in turns, for the frame `seq`, whose `turn` it is.
    pub(super) fn in_turn(turns: Arc<Turns>, seq: u64, turn: Turn) -> Self {
        Self {
            place: Some(Place { turns, seq }),
            turn: Some(turn),
        }
    }

    /// Runs blocking `work` off the thread, in the call's turn, and keeps the turn.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run_expecting(f64::INFINITY, work).await
    }

    /// The same for work that is expected to take so long, and may run on this thread.
    pub(super) async fn run_expecting<T: Send + 'static>(
        &mut self,
        expected_ms: f64,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = match (self.turn.take(), &self.place) {
            (None, Some(Place { turns, seq })) => Some(turns.turn(*seq).await),
            (turn, _) => turn,
        };
        // With the work, which may outlive this future: until it ends the device is not free.
        let work = move || Ok((work(), turn));
        let (result, turn) = local::short_or_off_thread(expected_ms, work).await?;
        self.turn = turn;
        result
    }

    /// The device is free for others.
    pub(super) fn leave(&mut self) {
        self.turn = None;
    }
}

/// The turns of one stream.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    is_taken: bool,
    /// By the number of the frame: what was begun is finished first.
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
}

/// The device, as long as it is held.
#[derive(Debug)]
pub(super) struct Turn(Arc<Turns>);

impl Turns {
    /// Waits until nobody computes and no older frame waits. May be dropped and asked for again.
    pub(super) async fn turn(self: &Arc<Self>, seq: u64) -> Turn {
        let next = {
            let mut queue = self.queue();
            if !queue.is_taken {
                queue.is_taken = true;
                return Turn(self.clone());
            }
            let (sender, next) = oneshot::channel();
            queue.waiting.retain(|_, waiting| !waiting.is_closed());
            queue.waiting.insert(seq, sender);
            next
        };
        match next.await {
            Ok(turn) => turn,
            // Another waits for the same frame; there is none.
            Err(_) => std::future::pending().await,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.0.queue();
            let next = queue.waiting.pop_first();
            queue.is_taken = next.is_some();
            next
        };
        if let Some((_, next)) = next {
            // Where nobody waits any more it comes back, and its drop goes on from here.
            drop(next.send(Turn(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_oldest_frame_is_next() {
        let turns = Arc::new(Turns::default());
        let first = turns.turn(3).await;
        let mut newer = Box::pin(turns.turn(5));
        let mut older = Box::pin(turns.turn(4));
        assert!(newer.as_mut().now_or_never().is_none());
        assert!(older.as_mut().now_or_never().is_none());
        drop(first);
        assert!(newer.as_mut().now_or_never().is_none());
        let second = older.await;
        drop(second);
        newer.await;
    }

    #[tokio::test]
    async fn whoever_stops_waiting_is_passed_over() {
        let turns = Arc::new(Turns::default());
        let first = turns.turn(0).await;
        for seq in 1..100 {
            assert!(turns.turn(seq).now_or_never().is_none());
        }
        assert_eq!(turns.queue().waiting.len(), 1);
        let mut given = Box::pin(turns.turn(100));
        assert!(given.as_mut().now_or_never().is_none());
        drop(first);
        // It has its turn and never learns of it.
        drop(given);
        turns.turn(101).now_or_never().unwrap();
    }
}
