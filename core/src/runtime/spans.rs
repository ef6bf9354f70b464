//! The spans of one bundle: built when first asked for, kept up to a capacity.
//!
//! The weights are held once: every session maps them from the bundle's file.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::span::Span;
use super::{Activation, Cancel, SpanRun};
use crate::bundle::Bundle;
use crate::{Error, ErrorKind, Result};

/// Weight of the newest time in a span's moving average.
const TIME_SMOOTHING: f64 = 0.2;

/// How a store builds and keeps its spans.
#[derive(Debug, Clone)]
pub struct SpanOptions {
    /// Threads that run one inference together; at least 1.
    pub threads: usize,
    /// Most spans kept, at least 1; the least recently used one goes first.
    pub capacity: usize,
}

/// A bounded store of sessions. Shared by threads; every call may block.
#[derive(Debug)]
pub struct SpanStore {
    bundle: Arc<Bundle>,
    options: SpanOptions,
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// A place for one span, there before the span is built so that it is built once.
#[derive(Debug)]
struct Slot {
    from: usize,
    to: usize,
    building: Mutex<()>,
    span: OnceLock<Span>,
    times: Mutex<SpanTimes>,
}

/// Measured times of a span.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SpanTimes {
    /// Runs so far.
    pub runs: u64,
    /// The last one, in milliseconds.
    pub last_ms: f64,
    /// Exponential moving average, in milliseconds.
    pub mean_ms: f64,
}

impl SpanStore {
    /// A store with no spans yet. Loads ONNX Runtime if this process has not.
    pub fn new(bundle: Arc<Bundle>, options: SpanOptions) -> Result<Self> {
        super::load(None)?;
        Ok(Self {
            bundle,
            options,
            slots: Mutex::default(),
        })
    }

    /// The bundle whose spans these are.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// Whether the span between two cuts is at hand.
    pub fn contains(&self, from: usize, to: usize) -> bool {
        self.slots()
            .iter()
            .any(|slot| slot.is(from, to) && slot.span.get().is_some())
    }

    /// Builds the span between two cuts unless it is at hand. Blocking; concurrent calls for one
    /// span build it once.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if there are no such cuts in this order.
    pub fn build(&self, from: usize, to: usize) -> Result<()> {
        self.span(from, to).map(|_| ())
    }

    /// Runs the span from the activation's cut to cut `to`, building it first if it is missing.
    /// Blocking: call it off the async threads.
    pub fn run(&self, input: Activation, to: usize, cancel: &Cancel) -> Result<SpanRun> {
        cancel.check()?;
        let slot = self.span(input.cut, to)?;
        let span = slot
            .span
            .get()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "no span"))?;
        let run = span.run(input, cancel)?;
        slot.record(run.elapsed);
        Ok(run)
    }

    /// Drops every span that `keep(from, to)` refuses. Runs under way finish first.
    pub fn retain(&self, keep: impl Fn(usize, usize) -> bool) {
        self.slots().retain(|slot| keep(slot.from, slot.to));
    }

    /// Times of the spans at hand: (from, to, times).
    pub fn times(&self) -> Vec<(usize, usize, SpanTimes)> {
        let times = |slot: &Arc<Slot>| (slot.from, slot.to, *lock(&slot.times));
        self.slots()
            .iter()
            .filter(|slot| slot.span.get().is_some())
            .map(times)
            .collect()
    }

    fn span(&self, from: usize, to: usize) -> Result<Arc<Slot>> {
        let slot = self.slot(from, to);
        let building = lock(&slot.building);
        if slot.span.get().is_none() {
            match self.bundle.span_model(from, to).and_then(|model| {
                Span::build(&model, to, self.options.threads, self.bundle.folder())
            }) {
                Ok(span) => {
                    let _ = slot.span.set(span);
                    self.evict();
                }
                Err(error) => {
                    self.slots().retain(|other| !Arc::ptr_eq(other, &slot));
                    return Err(error.context(format!("span from cut {from} to cut {to}")));
                }
            }
        }
        drop(building);
        Ok(slot)
    }

    /// Drops the spans that were used least recently, as many as are too many.
    fn evict(&self) {
        let mut slots = self.slots();
        let built = |slots: &[Arc<Slot>]| slots.iter().filter(|s| s.span.get().is_some()).count();
        while built(&slots) > self.options.capacity.max(1) {
            let Some(oldest) = slots.iter().position(|s| s.span.get().is_some()) else {
                return;
            };
            slots.remove(oldest);
        }
    }

    /// The span's slot, moved to the end of the line.
    fn slot(&self, from: usize, to: usize) -> Arc<Slot> {
        let mut slots = self.slots();
        let slot = match slots.iter().position(|slot| slot.is(from, to)) {
            Some(index) => slots.remove(index),
            None => Arc::new(Slot {
                from,
                to,
                building: Mutex::default(),
                span: OnceLock::new(),
                times: Mutex::default(),
            }),
        };
        slots.push(slot.clone());
        slot
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        lock(&self.slots)
    }
}

impl Slot {
    fn is(&self, from: usize, to: usize) -> bool {
        self.from == from && self.to == to
    }

    fn record(&self, elapsed: Duration) {
        let mut times = lock(&self.times);
        let ms = elapsed.as_secs_f64() * 1e3;
        times.mean_ms = if times.runs == 0 {
            ms
        } else {
            times.mean_ms + TIME_SMOOTHING * (ms - times.mean_ms)
        };
        times.last_ms = ms;
        times.runs += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
