//! The port for whoever looks after the server: numbers, a page and health over HTTP/1.1, which is what Prometheus
//! and probes speak. Not the port that phones reach, so that nothing of this is public by accident.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use dyno_core::{Error, ErrorKind, Result};
use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Format, status};
use crate::config::MetricsListen;
use crate::routes::{App, health};

/// Connections at once: a few scrapers, probes and a browser. More are closed as they come.
const MAX_CONNECTIONS: usize = 32;
/// Time for a request's headers.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a connection, which is one request and its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's line and headers; the least that hyper takes.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// Rest after an accept that failed for want of file descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(200);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A bound address.
#[derive(Debug)]
pub(crate) struct MetricsPort(TcpListener);

impl MetricsPort {
    /// Binds what the configuration says; none if that is nothing, or the usual address and somebody has it
    /// already.
    ///
    /// Fails with [`ErrorKind::Io`] if an address that was asked for cannot be had.
    pub(crate) async fn bind(listen: MetricsListen) -> Result<Option<Self>> {
        let address = match listen {
            MetricsListen::Off => return Ok(None),
            MetricsListen::IfFree => MetricsListen::USUAL,
            MetricsListen::At(address) => address,
        };
        match TcpListener::bind(address).await {
            Ok(tcp) => Ok(Some(Self(tcp))),
            Err(error) if listen == MetricsListen::IfFree => {
                tracing::warn!(
                    %error,
                    "no metrics: {address} cannot be had; --metrics-listen chooses another address"
                );
                Ok(None)
            }
            Err(error) => {
                let message = format!("cannot listen on {address} for metrics");
                Err(Error::with_source(ErrorKind::Io, message, error))
            }
        }
    }

    pub(crate) fn local_addr(&self) -> Result<SocketAddr> {
        self.0
            .local_addr()
            .map_err(|error| Error::with_source(ErrorKind::Io, "the socket has no address", error))
    }

    /// Answers until it is dropped.
    pub(crate) async fn serve(self, app: Arc<App>) {
        let history = app.metrics.keep_history(&app);
        tokio::join!(self.accept(router(Arc::clone(&app))), history);
    }

    async fn accept(self, router: Router) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let stream = match self.0.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for metrics");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                continue;
            };
            let router = router.clone();
            tokio::spawn(async move {
                let served = tokio::time::timeout(CONNECTION_TIMEOUT, answer(stream, router)).await;
                if !matches!(served, Ok(Ok(()))) {
                    tracing::debug!(?served, "connection for metrics ended");
                }
                drop(place);
            });
        }
    }
}

/// One request: a connection that may not stay needs no further limits.
async fn answer(stream: TcpStream, router: Router) -> hyper::Result<()> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(status::page))
        .route("/status.json", get(status::numbers))
        .route("/metrics", get(metrics))
        .route(health::LIVE, get(health::live))
        .route(health::READY, get(health::ready))
        .with_state(app)
}

/// `GET /metrics`
async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let format = accepted(&headers);
    let media = match format {
        Format::OpenMetrics => OPEN_METRICS,
        Format::Prometheus => PROMETHEUS,
    };
    let text = app.metrics.encode(format, &app);
    ([(CONTENT_TYPE, media), (CACHE_CONTROL, "no-store")], text).into_response()
}

fn accepted(headers: &HeaderMap) -> Format {
    let open = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    if open {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}
