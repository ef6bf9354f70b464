//! Around every request: an id, a log line, error bodies, and a net under panics.
//!
//! The line has sizes, times and the outcome; never a body, an output, a label or a token, and of
//! what the client wrote only the name of a model that exists, and ids that are of a form fit for a log.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(feature = "otlp")]
use std::time::Duration;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use dyno_core::ErrorKind;
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::correlation::{ClientRequestId, TraceParent};
use crate::errors::Failure;
use crate::identity::ClientId;
use crate::metrics::{self, AuthFailure, Metrics};
#[cfg(feature = "otlp")]
use crate::otlp::{Context, Ended, Tracer};
#[cfg(feature = "otlp")]
use crate::routes::health::{LIVE, READY};
use crate::timing::{Timing, millis};

/// Carries the id that the log has, in every answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("dyno-request-id");

/// Target of the lines that say who was not let in, and what was read again.
pub(crate) const AUDIT: &str = "audit";

/// What a handler leaves for the log line.
#[derive(Debug, Default)]
pub(crate) struct Details {
    /// Who sent the request.
    pub(crate) key: Option<ClientId>,
    /// Why the request was not let in, if it was not.
    pub(crate) not_let_in: Option<AuthFailure>,
    /// The same in more words, or what the client has used up.
    pub(crate) refused: Option<&'static str>,
    pub(crate) model: Option<String>,
    pub(crate) cut: Option<usize>,
    pub(crate) bytes: Option<usize>,
    /// Whether all of these came.
    pub(crate) received: bool,
    /// Bytes of the tensors that were in the body.
    pub(crate) unpacked: Option<usize>,
    pub(crate) timing: Option<Timing>,
    /// Activations in its last run.
    pub(crate) batch: Option<usize>,
}

/// One request's entry in the log; cloned into the request's extensions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Details>>);

impl Record {
    pub(crate) fn details(&self) -> MutexGuard<'_, Details> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who hears of every request that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Observer {
    pub(crate) metrics: Arc<Metrics>,
    /// None where nobody takes traces.
    #[cfg(feature = "otlp")]
    pub(crate) tracer: Option<Arc<Tracer>>,
}

/// The outermost layer.
pub(crate) async fn observe(
    State(observer): State<Observer>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut line = Line::new(&request, observer);
    request.extensions_mut().insert(line.record.clone());
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| {
        use axum::response::IntoResponse as _;
        Failure::of(ErrorKind::Internal, "a handler panicked").into_response()
    });
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        line.kind = Some(failure.kind());
        let headers = std::mem::take(response.headers_mut());
        response = failure.render(&line.id);
        for (name, value) in headers {
            if let Some(name) = name.filter(|name| !response.headers().contains_key(name)) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    if let Ok(id) = HeaderValue::from_str(&line.id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    // One whose client has gone is answered into the void.
    let gone = line.kind == Some(ErrorKind::Cancelled);
    line.status = (!gone).then(|| response.status());
    response
}

/// Written when it is dropped, so that requests whose client goes away leave one too.
struct Line {
    id: String,
    client_id: Option<ClientRequestId>,
    parent: Option<TraceParent>,
    method: Method,
    /// The route's pattern, not the path.
    route: Option<MatchedPath>,
    record: Record,
    started: Instant,
    status: Option<StatusCode>,
    kind: Option<ErrorKind>,
    observer: Observer,
    /// If the request is traced.
    #[cfg(feature = "otlp")]
    span: Option<(Context, SystemTime)>,
}

impl Line {
    fn new(request: &Request, observer: Observer) -> Self {
        let parent = TraceParent::of(request.headers());
        #[cfg(feature = "otlp")]
        let span = observer.tracer.as_ref().and_then(|tracer| {
            let is_probe = matches!(request.uri().path(), LIVE | READY);
            Some((tracer.begin(parent, is_probe)?, SystemTime::now()))
        });
        Self {
            id: next_id(),
            client_id: ClientRequestId::of(request.headers()),
            parent,
            #[cfg(feature = "otlp")]
            span,
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            record: Record::default(),
            started: Instant::now(),
            status: None,
            kind: None,
            observer,
        }
    }

    fn trace_id(&self) -> Option<String> {
        #[cfg(feature = "otlp")]
        if let Some((context, _)) = &self.span {
            return Some(context.trace_id());
        }
        self.parent.map(TraceParent::trace_id)
    }

    /// Of the server's own span, if the request is traced.
    #[cfg(feature = "otlp")]
    fn span_id(&self) -> Option<String> {
        self.span.map(|(context, _)| context.span_id())
    }

    #[cfg(not(feature = "otlp"))]
    #[allow(clippy::unused_self, reason = "has one with traces")]
    fn span_id(&self) -> Option<String> {
        None
    }

    /// Hands the request to the exporter if it is traced.
    #[cfg(feature = "otlp")]
    fn export(&self, kind: Option<ErrorKind>, total: Duration, details: &Details) {
        let (Some(tracer), Some((context, began))) = (&self.observer.tracer, self.span) else {
            return;
        };
        tracer.end(Ended {
            context,
            request_id: self.id.clone(),
            method: self.method.clone(),
            route: self.route.clone(),
            began: (began, self.started),
            total,
            status: self.status,
            kind,
            model: details.model.clone(),
            cut: details.cut,
            batch: details.batch,
            bytes: details.bytes,
            timing: details.timing,
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let details = self.record.details();
        let ms = details.timing.map(|timing| timing.ms());
        let kind = match (self.kind, self.status) {
            (None, None) => Some(ErrorKind::Cancelled),
            (kind, _) => kind,
        };
        let total = self.started.elapsed();
        let route = self.route.as_ref().map(MatchedPath::as_str);
        self.observer.metrics.request(&metrics::Ended {
            route,
            model: details.model.as_deref(),
            status: self.status,
            kind,
            total,
            timing: details.timing,
            bytes: details.bytes,
            unpacked: details.unpacked,
        });
        let key = details.key.as_ref().map(ClientId::as_str);
        if let Some(reason) = details.not_let_in {
            self.observer.metrics.auth_failure(reason);
            let reason = reason.as_str();
            tracing::warn!(target: AUDIT, request_id = %self.id, key, route, reason, "not let in");
        }
        #[cfg(feature = "otlp")]
        self.export(kind, total, &details);
        tracing::info!(
            request_id = %self.id,
            client_request_id = self.client_id.as_ref().map(ClientRequestId::as_str),
            trace_id = self.trace_id(),
            span_id = self.span_id(),
            method = %self.method,
            route,
            key,
            refused = details.refused,
            model = details.model.as_deref(),
            cut = details.cut,
            batch = details.batch,
            bytes = details.bytes,
            status = self.status.map(|status| status.as_u16()),
            kind = kind.map(ErrorKind::as_str),
            receive_ms = ms.map(|ms| ms.receive),
            unpack_ms = ms.map(|ms| ms.unpack),
            queue_ms = ms.map(|ms| ms.queue),
            infer_ms = ms.map(|ms| ms.infer),
            total_ms = millis(total),
            "request"
        );
    }
}

/// Unique within this process, and between its runs as far as the clock moves on.
fn next_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static STARTED: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    });
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-{number:06x}", *STARTED)
}
