//! Traces for an OpenTelemetry collector: a span a request, and spans for its stages.
//!
//! A request that has ended puts what is known of it into a bounded queue and is done; everything else
//! (spans, protobuf, HTTP) is a task's. So no request waits for a collector, whatever that does
//! (`docs/adr/0026`).

mod client;
mod exporter;
mod settings;
mod span;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dyno_core::Result;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use span::{Context, Ended};

use crate::config::Config;
use crate::correlation::TraceParent;
use crate::metrics::{Lost, Metrics};
use client::Client;
use exporter::Exporter;
use settings::Settings;

/// Requests that wait to be exported; what ends while these are waiting has no trace.
const QUEUE: usize = 2048;
/// Time to export what is left when the server stops.
const FLUSH: Duration = Duration::from_secs(5);

/// Decides which requests are traced, and takes them when they have ended.
#[derive(Debug)]
pub(crate) struct Tracer {
    /// Of the requests that no trace brings along, as many are traced.
    ratio: f64,
    random: SystemRandom,
    ended: mpsc::Sender<Ended>,
    metrics: Arc<Metrics>,
    /// Until it is started.
    exporter: Mutex<Option<Exporter>>,
}

impl Tracer {
    /// None where nothing says that there is a collector.
    ///
    /// Fails with [`dyno_core::ErrorKind::InvalidArgument`] if what says so makes no sense.
    pub(crate) fn of(config: &Config, metrics: Arc<Metrics>) -> Result<Option<Self>> {
        let environment = |name: &str| std::env::var(name).ok();
        let Some(settings) = Settings::of(config, &environment)? else {
            return Ok(None);
        };
        let ratio = settings.ratio;
        let client = Client::new(&settings)?;
        let (ended, queue) = mpsc::channel(QUEUE);
        let exporter = Exporter::new(queue, client, settings.resource, Arc::clone(&metrics));
        Ok(Some(Self {
            ratio,
            random: SystemRandom::new(),
            ended,
            metrics,
            exporter: Mutex::new(Some(exporter)),
        }))
    }

    /// A request's place in its trace; none if it is not to be traced. Whoever sent it has decided, if it
    /// is part of a trace; else chance does.
    pub(crate) fn begin(&self, parent: Option<TraceParent>, is_probe: bool) -> Option<Context> {
        if let Some(parent) = parent {
            if !parent.sampled {
                return None;
            }
            let span = u64::from_be_bytes(self.draw()?);
            return (span != 0).then_some(Context {
                trace: parent.trace,
                span,
                parent: Some(parent.span),
            });
        }
        // A balancer asks every second or two, and nobody wants to see it.
        if is_probe || self.ratio <= 0.0 {
            return None;
        }
        // One call to the kernel, and not two.
        let drawn = self.draw::<24>()?;
        let (trace, span) = drawn.split_first_chunk()?;
        let trace = u128::from_be_bytes(*trace);
        let span = u64::from_be_bytes(*span.first_chunk()?);
        let is_traced = trace != 0 && span != 0 && is_within(trace, self.ratio);
        is_traced.then_some(Context {
            trace,
            span,
            parent: None,
        })
    }

    /// A traced request has ended.
    pub(crate) fn end(&self, ended: Ended) {
        if let Err(refused) = self.ended.try_send(ended) {
            let (why, ended) = match refused {
                mpsc::error::TrySendError::Full(ended) => (Lost::QueueFull, ended),
                mpsc::error::TrySendError::Closed(ended) => (Lost::Stopping, ended),
            };
            self.metrics.spans.lost(why, ended.spans());
        }
    }

    /// Begins to export; at the first call only. Call it in a tokio runtime.
    pub(crate) fn start(&self) -> Option<Exporting> {
        let mut exporter = self.exporter.lock().unwrap_or_else(PoisonError::into_inner);
        let stop = CancellationToken::new();
        let task = tokio::spawn(exporter.take()?.run(stop.clone()));
        Some(Exporting {
            stop,
            task: AbortOnDropHandle::new(task),
        })
    }

    fn draw<const N: usize>(&self) -> Option<[u8; N]> {
        let mut drawn = [0; N];
        self.random.fill(&mut drawn).ok()?;
        Some(drawn)
    }
}

/// Whether a trace is among these of all, by the last 63 bits of its id, as other tracers decide
/// (`TraceIdRatioBased`).
fn is_within(trace: u128, ratio: f64) -> bool {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 2⁶³, and not negative"
    )]
    let bound = (ratio * 2f64.powi(63)) as u128;
    (trace & u128::from(u64::MAX)) >> 1 < bound
}

/// The exporting task; dropping it ends that at once.
#[derive(Debug)]
pub(crate) struct Exporting {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Exporting {
    /// Exports what is left, within [`FLUSH`].
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        if tokio::time::timeout(FLUSH, self.task).await.is_err() {
            tracing::warn!(
                "the last traces were not exported: the collector did not take them in {} s",
                FLUSH.as_secs()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(ratio: f64) -> Tracer {
        let mut config = Config::new("bundles");
        config.otlp_endpoint = Some("http://127.0.0.1:1".into());
        config.otlp_sample = ratio;
        let metrics = Arc::new(Metrics::new(Vec::new()));
        Tracer::of(&config, metrics).unwrap().unwrap()
    }

    #[test]
    fn a_parent_decides_and_else_chance() {
        let parent = TraceParent {
            trace: 7,
            span: 8,
            sampled: true,
        };
        let (none, all) = (tracer(0.0), tracer(1.0));
        let child = none.begin(Some(parent), false).unwrap();
        assert_eq!((child.trace, child.parent), (7, Some(8)));
        assert!(none.begin(Some(parent), true).is_some());
        let unsampled = TraceParent {
            sampled: false,
            ..parent
        };
        assert!(all.begin(Some(unsampled), false).is_none());
        assert!(none.begin(None, false).is_none());
        assert!(all.begin(None, true).is_none(), "probes are no traffic");
        let (one, other) = (all.begin(None, false), all.begin(None, false));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.trace != other.trace && one.span != other.span);
        assert_eq!(one.parent, None);
    }

    #[test]
    fn a_ratio_is_of_the_trace_ids() {
        let half = 1 << 63;
        for (trace, ratio, within) in [
            (0, 0.5, true),
            (half - 1, 0.5, true),
            (half, 0.5, false),
            (u128::from(u64::MAX), 1.0, true),
            (1 << 64, 0.1, true),
            (0, 0.0, false),
        ] {
            assert_eq!(is_within(trace, ratio), within, "{trace:x} {ratio}");
        }
    }
}
