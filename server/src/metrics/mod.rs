//! Numbers about the server, for Prometheus and whoever speaks `OpenMetrics`; `docs/server.md` lists them.
//!
//! Labels are words of this crate or names of models that are served, never what a client wrote: how many
//! series there are is decided here and not by strangers.

mod history;
mod labels;
mod models;
mod port;
mod process;
mod reloads;
#[cfg(feature = "otlp")]
mod spans;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dyno_core::ErrorKind;
use http::StatusCode;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

#[cfg(feature = "otlp")]
pub(crate) use labels::Lost;
pub(crate) use labels::{AuthFailure, Refusal, Shed};
pub(crate) use port::MetricsPort;

use crate::reload::Reload;
use crate::routes::App;
use crate::timing::Timing;
use history::History;
use labels::{Goaway, ModelLabel, Request, RouteAndModel, Word};
use models::Models;
use process::Process;
use reloads::Reloads;

/// Upper bounds of the times: 0.5 ms to 16 s, each twice the one before.
const SECONDS: Buckets = Buckets {
    start: 0.0005,
    count: 16,
};
/// Upper bounds of sizes: 256 bytes to 32 MiB, each twice the one before.
const BYTES: Buckets = Buckets {
    start: 256.0,
    count: 18,
};
/// Upper bounds of batches: 1 to 64, each twice the one before.
const BATCH: Buckets = Buckets {
    start: 1.0,
    count: 7,
};

/// Every number, and the registry that writes them out. Recording takes a few locks that nobody holds for long.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Histograms<RouteAndModel>,
    receive_seconds: Histograms<ModelLabel>,
    unpack_seconds: Histograms<ModelLabel>,
    queue_seconds: Histograms<ModelLabel>,
    infer_seconds: Histograms<ModelLabel>,
    body_bytes: Histograms<ModelLabel>,
    unpacked_bytes: Histograms<ModelLabel>,
    cancelled: Family<ModelLabel, Counter>,
    inferences: Family<ModelLabel, Counter>,
    executions: Family<ModelLabel, Counter>,
    batch_size: Histograms<ModelLabel>,
    shed: Family<Word<Shed>, Counter>,
    in_flight: Gauge,
    in_flight_limit: Gauge,
    queue_depth: Gauge,
    ready: Gauge,
    connections: Gauge,
    goaways: Family<Word<Goaway>, Counter>,
    refused: Family<Word<Refusal>, Counter>,
    auth_failures: Family<Word<AuthFailure>, Counter>,
    #[cfg(feature = "otlp")]
    pub(crate) spans: spans::Spans,
    models: Models,
    history: History,
    /// When the numbers began.
    started: Instant,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended<'a> {
    /// The route's pattern; none for paths that are none.
    pub(crate) route: Option<&'a str>,
    /// Only of models that are served.
    pub(crate) model: Option<&'a str>,
    /// None if the client went away first.
    pub(crate) status: Option<StatusCode>,
    /// None of requests that went well.
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) total: Duration,
    pub(crate) timing: Option<Timing>,
    /// Of the body, as its headers promised.
    pub(crate) bytes: Option<usize>,
    /// Of the tensors in it.
    pub(crate) unpacked: Option<usize>,
}

impl Metrics {
    /// All at zero, for a server that reads these files again.
    pub(crate) fn new(reloads: Vec<Arc<dyn Reload>>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let mut ours = Names(registry.sub_registry_with_prefix("dyno"));
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        ours.add("build", "The server's version", build);
        let models = Models::default();
        ours.0.register_collector(Box::new(models.clone()));
        ours.0.register_collector(Box::new(Reloads(reloads)));
        let metrics = Self {
            models,
            history: History::new(),
            started: Instant::now(),
            requests: ours.make("requests", "Requests, by how they ended"),
            request_seconds: ours.seconds("request", "From a request's headers to its answer"),
            receive_seconds: ours.seconds(
                "body_receive",
                "From a request's headers to the last byte of its body",
            ),
            unpack_seconds: ours.seconds("unpack", "Decoding an activation or a photo"),
            queue_seconds: ours
                .seconds("queue", "Waiting for a worker and for the tail to be free"),
            infer_seconds: ours.seconds("infer", "Running the tail"),
            body_bytes: ours.bytes("body", "Bodies of requests that were admitted"),
            unpacked_bytes: ours.bytes("unpacked", "Tensors that came out of those bodies"),
            cancelled: ours.make(
                "client_cancelled",
                "Requests whose client went away before its answer",
            ),
            inferences: ours.make("inferences", "Activations that tails were run on"),
            executions: ours.make(
                "executions",
                "Runs of tails: inferences / executions is the mean batch",
            ),
            batch_size: ours.histograms("batch_size", "Activations of one run", None, BATCH),
            shed: ours.make("shed", "Requests refused for want of room"),
            in_flight: ours.make("in_flight", "Requests admitted and not yet answered"),
            in_flight_limit: ours.make("in_flight_limit", "Requests admitted at once, at most"),
            queue_depth: ours.make(
                "queue_depth",
                "Requests that wait for a worker: scale on this",
            ),
            ready: ours.make(
                "ready",
                "1 while requests are welcome, as /v2/health/ready says",
            ),
            connections: ours.make("h2_connections", "HTTP/2 connections open"),
            goaways: ours.make("h2_goaway", "Connections told to go, by HTTP/2's reason"),
            refused: ours.make("connections_refused", "Connections closed before a request"),
            auth_failures: ours.make("auth_failures", "Requests that were not let in"),
            #[cfg(feature = "otlp")]
            spans: spans::Spans::new(&mut ours),
            registry,
        };
        metrics.start_at_zero();
        metrics
    }

    /// What has not happened yet is there too: of a series that is absent nobody can tell the first step.
    fn start_at_zero(&self) {
        for &reason in Shed::ALL {
            let _ = self.shed.get_or_create(&[("reason", reason)]);
        }
        for &reason in Refusal::ALL {
            let _ = self.refused.get_or_create(&[("reason", reason)]);
        }
        for &reason in AuthFailure::ALL {
            let _ = self.auth_failures.get_or_create(&[("reason", reason)]);
        }
        for reason in Goaway::all() {
            let _ = self.goaways.get_or_create(&[("reason", reason)]);
        }
    }

    /// The same for a model that may not have been asked for anything.
    fn know(&self, model: &str) {
        let model = ModelLabel::of(Some(model));
        for histograms in [
            &self.receive_seconds,
            &self.unpack_seconds,
            &self.queue_seconds,
            &self.infer_seconds,
            &self.body_bytes,
            &self.unpacked_bytes,
            &self.batch_size,
        ] {
            let _ = histograms.get_or_create(&model);
        }
        for counters in [&self.cancelled, &self.inferences, &self.executions] {
            let _ = counters.get_or_create(&model);
        }
    }

    /// A request has ended, whichever way.
    pub(crate) fn request(&self, ended: &Ended<'_>) {
        let model = ModelLabel::of(ended.model);
        let route = RouteAndModel::of(ended.route, ended.model);
        self.requests
            .get_or_create(&Request::of(route.clone(), ended.status, ended.kind))
            .inc();
        self.request_seconds
            .observe(&route, ended.total.as_secs_f64());
        self.history.request();
        if ended.status.is_none() {
            self.cancelled.get_or_create(&model).inc();
        }
        if ended.model.is_none() {
            return;
        }
        if let Some(timing) = ended.timing {
            self.history.latency(ended.total);
            for (seconds, time) in [
                (&self.receive_seconds, timing.receive),
                (&self.unpack_seconds, timing.unpack),
                (&self.queue_seconds, timing.queue),
                (&self.infer_seconds, timing.infer),
            ] {
                seconds.observe(&model, time.as_secs_f64());
            }
        }
        for (sizes, bytes) in [
            (&self.body_bytes, ended.bytes),
            (&self.unpacked_bytes, ended.unpacked),
        ] {
            if let Some(bytes) = bytes {
                sizes.observe(&model, bytes as f64);
            }
        }
    }

    /// A tail has run, on `size` activations at once.
    pub(crate) fn batch(&self, model: &str, size: usize) {
        self.history.batch(size);
        let label = ModelLabel::of(Some(model));
        self.executions.get_or_create(&label).inc();
        self.inferences.get_or_create(&label).inc_by(size as u64);
        self.batch_size.observe(&label, size as f64);
    }

    /// A request was refused for want of room.
    pub(crate) fn shed(&self, reason: Shed) {
        self.history.shed();
        self.shed.get_or_create(&[("reason", reason)]).inc();
    }

    /// An HTTP/2 connection is open for as long as the result is held.
    pub(crate) fn connection(&self) -> Counted {
        Counted::new(&self.connections)
    }

    /// A connection was closed before it could ask for anything.
    pub(crate) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// A connection was told to go.
    pub(crate) fn goaway(&self, reason: h2::Reason) {
        let reason = Goaway::of(reason);
        self.goaways.get_or_create(&[("reason", reason)]).inc();
    }

    /// A request was not let in.
    pub(crate) fn auth_failure(&self, reason: AuthFailure) {
        self.auth_failures
            .get_or_create(&[("reason", reason)])
            .inc();
    }

    /// Keeps the last minutes for the status page, for as long as the future is polled.
    async fn keep_history(&self, app: &App) {
        let mut ticks = tokio::time::interval(history::INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let load = app.admission.load();
            let queued = clamped(app.admission.queued());
            self.history.sample(queued, load.in_flight);
        }
    }

    /// All of it as text, in one of Prometheus's two formats.
    pub(crate) fn encode(&self, format: Format, app: &App) -> String {
        let load = app.admission.load();
        self.in_flight.set(clamped(load.in_flight));
        self.queue_depth.set(clamped(app.admission.queued()));
        self.in_flight_limit.set(clamped(load.capacity));
        self.ready.set(app.is_ready().into());
        let models = app.models.all();
        for served in &models {
            self.know(&served.model.name);
        }
        self.models.set(&models);
        let mut written = String::new();
        let outcome = match format {
            Format::OpenMetrics => text::encode(&mut written, &self.registry),
            Format::Prometheus => prometheus_text::encode(&mut written, &self.registry),
        };
        if outcome.is_err() {
            tracing::error!("metrics could not be written");
        }
        written
    }
}

/// How the numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `OpenMetrics` 1.0, for whoever asks for it.
    OpenMetrics,
    /// Prometheus text 0.0.4, for everybody else.
    Prometheus,
}

/// One more of something, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The upper bounds of a histogram: powers of two of a start.
#[derive(Debug, Clone, Copy)]
struct Buckets {
    start: f64,
    count: u16,
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(self.start, 2.0, self.count))
    }
}

type Histograms<L> = Family<L, Histogram, Buckets>;

trait Observe<L> {
    fn observe(&self, labels: &L, value: f64);
}

impl<L: Clone + std::hash::Hash + Eq> Observe<L> for Histograms<L> {
    fn observe(&self, labels: &L, value: f64) {
        self.get_or_create(labels).observe(value);
    }
}

/// Registers what it makes.
struct Names<'a>(&'a mut Registry);

impl Names<'_> {
    fn add(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.0.register(name, help, metric);
    }

    fn make<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.add(name, help, metric.clone());
        metric
    }

    fn seconds<L>(&mut self, name: &str, help: &str) -> Histograms<L>
    where
        Histograms<L>: Metric,
        L: Clone + std::hash::Hash + Eq,
    {
        self.histograms(name, help, Some(Unit::Seconds), SECONDS)
    }

    fn bytes<L>(&mut self, name: &str, help: &str) -> Histograms<L>
    where
        Histograms<L>: Metric,
        L: Clone + std::hash::Hash + Eq,
    {
        self.histograms(name, help, Some(Unit::Bytes), BYTES)
    }

    fn histograms<L>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        buckets: Buckets,
    ) -> Histograms<L>
    where
        Histograms<L>: Metric,
        L: Clone + std::hash::Hash + Eq,
    {
        let family = Family::new_with_constructor(buckets);
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, family.clone()),
            None => self.0.register(name, help, family.clone()),
        }
        family
    }
}

fn clamped(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
