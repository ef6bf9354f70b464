//! The executor of a phone: the spans on both sides of one cut, and another pair built beside
//! them when the plan moves.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::trim::give_back_free_memory;
use super::{Activation, Cancel, Executor, SpanOptions, SpanRun, SpanStore};
use crate::bundle::Bundle;
use crate::{Error, ErrorKind, Result};

/// Most spans at once: a pair in use and a pair being built.
const MAX_SPANS: usize = 4;

/// Runs one bundle's spans on this device.
///
/// Holds the model's weights about once in the steady state, whatever the cut: one pair of spans
/// covers it. While another pair is being built in the background the old one answers.
///
/// Dropping it waits for a span that is being built: ONNX Runtime crashes if the process ends
/// meanwhile.
#[derive(Debug)]
pub struct DeviceExecutor {
    shared: Arc<Shared>,
    nudges: SyncSender<()>,
    keeper: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    store: SpanStore,
    last_cut: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The cut whose two spans are at hand; 0 stands for the whole model in one span.
    ready: usize,
    /// The cut that was asked for last.
    wanted: usize,
    /// Whether spans of an earlier cut are still held.
    stale: bool,
    /// Whether they may be dropped.
    dropping: bool,
    /// Whether nothing is to be built any more.
    closed: bool,
}

impl DeviceExecutor {
    /// Loads ONNX Runtime if needed; builds nothing yet. `threads` run one inference together.
    pub fn new(bundle: Arc<Bundle>, threads: usize) -> Result<Self> {
        let last_cut = bundle.manifest().last_cut();
        let store = SpanStore::new(
            bundle,
            SpanOptions {
                threads,
                capacity: MAX_SPANS,
            },
        )?;
        let state = Mutex::new(State {
            ready: 0,
            wanted: 0,
            stale: false,
            dropping: false,
            closed: false,
        });
        let shared = Arc::new(Shared {
            store,
            last_cut,
            state,
        });
        // One nudge waits at most: whatever is asked meanwhile stands in the state.
        let (nudges, inbox) = sync_channel(1);
        let kept = shared.clone();
        let keeper = std::thread::Builder::new()
            .name("dyno-spans".to_owned())
            .spawn(move || keep_house(&inbox, &kept))
            .map_err(|e| Error::with_source(ErrorKind::Runtime, "cannot start a thread", e))?;
        Ok(Self {
            shared,
            nudges,
            keeper: Some(keeper),
        })
    }

    fn nudge(&self) {
        match self.nudges.try_send(()) {
            // Full: the nudge that waits will find everything in the state.
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => log::error!("the span builder has ended"),
        }
    }

    /// The spans and their measured times.
    pub fn spans(&self) -> &SpanStore {
        &self.shared.store
    }
}

impl Executor for DeviceExecutor {
    fn ready_cuts(&self) -> Vec<usize> {
        let ready = self.shared.state().ready;
        let mut cuts = vec![0, ready, self.shared.last_cut];
        cuts.dedup();
        cuts
    }

    fn request(&self, cut: usize) {
        let cut = self.shared.partition(cut);
        let mut state = self.shared.state();
        if state.wanted == cut && state.ready == cut {
            return;
        }
        // Not only if it is a new wish: a build that was overtaken may have moved `ready` away.
        state.wanted = cut;
        drop(state);
        self.nudge();
    }

    fn prepare(&self, cut: usize) -> Result<()> {
        let cut = self.shared.partition(cut);
        self.shared.state().wanted = cut;
        self.shared.build(cut)
    }

    fn run(&self, input: Activation, to: usize, cancel: &Cancel) -> Result<SpanRun> {
        if input.cut == 0 && self.shared.may_drop_stale() {
            self.nudge();
        }
        let Shared { store, .. } = &*self.shared;
        let ready = self.shared.state().ready;
        let chains = input.cut < ready && ready < to && !store.contains(input.cut, to);
        if !chains {
            return store.run(input, to, cancel);
        }
        let head = store.run(input, ready, cancel)?;
        let mut tail = store.run(head.output, to, cancel)?;
        tail.elapsed += head.elapsed;
        Ok(tail)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts at either end need the whole model as one span.
    fn partition(&self, cut: usize) -> usize {
        if cut >= self.last_cut { 0 } else { cut }
    }

    fn build(&self, cut: usize) -> Result<()> {
        for (from, to) in self.pair(cut) {
            self.store.build(from, to)?;
        }
        let mut state = self.state();
        state.stale |= state.ready != cut;
        state.ready = cut;
        Ok(())
    }

    fn pair(&self, cut: usize) -> Vec<(usize, usize)> {
        match cut {
            0 => vec![(0, self.last_cut)],
            cut => vec![(0, cut), (cut, self.last_cut)],
        }
    }

    /// An inference that began before the cut moved may still need its old tail; when the next
    /// one begins the old spans can go. Returns whether there are any.
    fn may_drop_stale(&self) -> bool {
        let mut state = self.state();
        let any = std::mem::take(&mut state.stale);
        state.dropping |= any;
        any
    }

    /// Drops the spans of earlier cuts, if that was asked for.
    fn drop_stale(&self) {
        let mut state = self.state();
        if !std::mem::take(&mut state.dropping) {
            return;
        }
        let mut keep = self.pair(state.ready);
        keep.extend(self.pair(state.wanted));
        drop(state);
        self.store.retain(|from, to| keep.contains(&(from, to)));
        give_back_free_memory();
    }
}

impl Drop for DeviceExecutor {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.nudge();
        if let Some(keeper) = self.keeper.take() {
            // An error is a panic there, which has been reported.
            let _ = keeper.join();
        }
    }
}

/// Does what the state asks for, off the threads of the inferences: building and dropping a
/// session both take longer than running it.
fn keep_house(nudges: &Receiver<()>, shared: &Shared) {
    while nudges.recv().is_ok() {
        shared.drop_stale();
        let (cut, ready, closed) = {
            let state = shared.state();
            (state.wanted, state.ready, state.closed)
        };
        if closed {
            return;
        }
        if cut == ready {
            continue;
        }
        if let Err(error) = shared.build(cut) {
            log::error!("cannot build the spans at cut {cut}: {error}");
            let mut state = shared.state();
            if state.wanted == cut {
                state.wanted = state.ready;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::tests::bundle;
    use super::*;

    /// Only a failing test waits this long.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_cut_that_another_overtook_can_be_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let executor = DeviceExecutor::new(bundle(&folder), 1).unwrap();
        executor.prepare(3).unwrap();
        // What the background does that began with cut 2 before and ends now.
        executor.shared.build(2).unwrap();
        assert!(!executor.ready_cuts().contains(&3));

        executor.request(3);
        let asked = Instant::now();
        while !executor.ready_cuts().contains(&3) {
            assert!(asked.elapsed() < PATIENCE, "cut 3 is never ready again");
            std::thread::yield_now();
        }
    }
}
