//! What a client has done so far, for a screen or a log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dyno_core::client::{self, Client};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::error::Result;
use crate::network::NetworkKind;
use crate::plan::Plan;
use crate::runtime::runtime;

/// Answers that the percentiles are taken of.
const RECENT: usize = 64;
/// Shortest time from one report to a listener to the next: what people can follow, and few enough
/// calls across the boundary.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// What a client has done so far, and what it believes of the network.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct DynoStats {
    /// Answers.
    pub inferences: u64,
    /// Inferences that failed or were cancelled.
    pub failures: u64,
    /// Answers that came all from the device.
    pub on_device: u64,
    /// Answers whose head ran here and whose tail on the server.
    pub split: u64,
    /// Answers that came all from the server.
    pub on_server: u64,
    /// Answers that did not come about as planned.
    pub fallbacks: u64,
    /// Bytes that the answered inferences have sent.
    pub bytes_up: u64,
    /// Median time of the last 64 answers, in milliseconds; none before the first.
    pub latency_p50_ms: Option<f64>,
    /// What 95 of 100 of them took at most.
    pub latency_p95_ms: Option<f64>,
    /// The plan that a call would follow now.
    pub plan: Plan,
    /// The plan in words.
    pub plan_name: String,
    /// The network that the app reported last.
    pub network: NetworkKind,
    /// Whether bytes cost money there.
    pub metered: bool,
    /// Estimated round trip, in milliseconds.
    pub rtt_ms: f64,
    /// Estimated uplink, in bits per second.
    pub rate_bps: f64,
}

/// Hears of a client's statistics.
#[uniffi::export(foreign)]
pub trait StatsListener: Send + Sync {
    /// Called after inferences, at most ten times a second, on a thread of the SDK; what happens
    /// faster is told together.
    fn on_stats(&self, stats: DynoStats);
}

/// Counts, and tells who listens.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    counts: Mutex<Counts>,
    changed: Arc<Notify>,
    reporter: Mutex<Option<AbortOnDropHandle<()>>>,
}

#[derive(Debug, Default)]
struct Counts {
    inferences: u64,
    failures: u64,
    on_device: u64,
    split: u64,
    on_server: u64,
    fallbacks: u64,
    bytes_up: u64,
    recent_ms: Vec<f64>,
}

impl Counter {
    /// An inference begins. Unless it is answered it has failed, whether it ended or was dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Counting {
        Counting {
            counter: self.clone(),
            is_answered: false,
        }
    }

    /// Everything so far.
    pub(crate) fn now(&self, client: &Client) -> DynoStats {
        let explanation = client.explain();
        let counts = lock(&self.counts);
        let mut recent = counts.recent_ms.clone();
        recent.sort_unstable_by(f64::total_cmp);
        let percentile = |of_100: usize| recent.get(recent.len() * of_100 / 100).copied();
        DynoStats {
            inferences: counts.inferences,
            failures: counts.failures,
            on_device: counts.on_device,
            split: counts.split,
            on_server: counts.on_server,
            fallbacks: counts.fallbacks,
            bytes_up: counts.bytes_up,
            latency_p50_ms: percentile(50),
            latency_p95_ms: percentile(95),
            plan: explanation.chosen.plan.into(),
            plan_name: explanation.chosen.plan.to_string(),
            network: explanation.network.kind.into(),
            metered: explanation.network.metered,
            rtt_ms: explanation.rtt_ms,
            rate_bps: explanation.rate_bps,
        }
    }

    /// Tells `listener` from now on, instead of who was told before.
    pub(crate) fn listen(
        self: &Arc<Self>,
        client: Client,
        listener: Option<Arc<dyn StatsListener>>,
    ) -> Result<()> {
        let task = match listener {
            None => None,
            Some(listener) => {
                let report = report(Arc::downgrade(self), self.changed.clone(), client, listener);
                Some(AbortOnDropHandle::new(runtime()?.spawn(report)))
            }
        };
        *lock(&self.reporter) = task;
        Ok(())
    }

    /// Tells nobody any more.
    pub(crate) fn silence(&self) {
        *lock(&self.reporter) = None;
    }
}

/// An inference that is counted when this goes.
#[derive(Debug)]
pub(crate) struct Counting {
    counter: Arc<Counter>,
    is_answered: bool,
}

impl Counting {
    /// There is an answer.
    pub(crate) fn answered(mut self, inference: &client::Inference) {
        self.is_answered = true;
        lock(&self.counter.counts).answered(inference);
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if !self.is_answered {
            lock(&self.counter.counts).failures += 1;
        }
        self.counter.changed.notify_one();
    }
}

/// Tells `listener` once now and after each change, on a thread that it may hold up.
async fn report(
    counter: std::sync::Weak<Counter>,
    changed: Arc<Notify>,
    client: Client,
    listener: Arc<dyn StatsListener>,
) {
    while let Some(counter) = counter.upgrade() {
        let stats = counter.now(&client);
        drop(counter);
        let listener = listener.clone();
        if tokio::task::spawn_blocking(move || listener.on_stats(stats))
            .await
            .is_err()
        {
            log::warn!("a listener of statistics failed and hears no more");
            return;
        }
        tokio::time::sleep(REPORT_EVERY).await;
        changed.notified().await;
    }
}

impl Counts {
    fn answered(&mut self, inference: &client::Inference) {
        // Before it is counted, so that the ring starts at its first place.
        let place = usize::try_from(self.inferences).unwrap_or(0) % RECENT;
        match self.recent_ms.get_mut(place) {
            Some(oldest) => *oldest = inference.times.total_ms,
            None => self.recent_ms.push(inference.times.total_ms),
        }
        self.inferences += 1;
        self.fallbacks += u64::from(inference.fallback.is_some());
        self.bytes_up += inference.bytes_up as u64;
        match inference.ran_on {
            client::RanOn::Split => self.split += 1,
            client::RanOn::Server => self.on_server += 1,
            _ => self.on_device += 1,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
