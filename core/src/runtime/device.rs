//! The executor of a phone: the spans on both sides of one cut, and another pair built beside
//! them when the plan moves.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

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
    wishes: SyncSender<usize>,
    builder: Option<JoinHandle<()>>,
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
            closed: false,
        });
        let shared = Arc::new(Shared {
            store,
            last_cut,
            state,
        });
        // One wish waits at most: a newer one is picked up from the state when it is taken.
        let (wishes, inbox) = sync_channel(1);
        let wished = shared.clone();
        let builder = std::thread::Builder::new()
            .name("dyno-spans".to_owned())
            .spawn(move || build_wishes(&inbox, &wished))
            .map_err(|e| Error::with_source(ErrorKind::Runtime, "cannot start a thread", e))?;
        Ok(Self {
            shared,
            wishes,
            builder: Some(builder),
        })
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
        if state.wanted == cut {
            return;
        }
        state.wanted = cut;
        drop(state);
        match self.wishes.try_send(cut) {
            // Full: the wish that waits will find the newer one in the state.
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => log::error!("the span builder has ended"),
        }
    }

    fn prepare(&self, cut: usize) -> Result<()> {
        let cut = self.shared.partition(cut);
        self.shared.state().wanted = cut;
        self.shared.build(cut)
    }

    fn run(&self, input: Activation, to: usize, cancel: &Cancel) -> Result<SpanRun> {
        if input.cut == 0 {
            self.shared.drop_stale();
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
    /// one begins the old spans can go.
    fn drop_stale(&self) {
        let mut state = self.state();
        if !std::mem::take(&mut state.stale) {
            return;
        }
        let mut keep = self.pair(state.ready);
        if state.wanted != state.ready {
            keep.extend(self.pair(state.wanted));
        }
        drop(state);
        self.store.retain(|from, to| keep.contains(&(from, to)));
    }
}

impl Drop for DeviceExecutor {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        // Wakes the builder if it sleeps; one wish waits already if it does not.
        let _ = self.wishes.try_send(0);
        if let Some(builder) = self.builder.take() {
            // An error is a panic there, which has been reported.
            let _ = builder.join();
        }
    }
}

fn build_wishes(inbox: &Receiver<usize>, shared: &Shared) {
    while inbox.recv().is_ok() {
        let state = shared.state();
        let (cut, closed) = (state.wanted, state.closed);
        drop(state);
        if closed {
            return;
        }
        if let Err(error) = shared.build(cut) {
            log::error!("cannot build the spans at cut {cut}: {error}");
            let mut state = shared.state();
            state.wanted = state.ready;
        }
    }
}
