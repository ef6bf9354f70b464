//! The protocol's paths and headers; `docs/protocol.md` describes them.

mod guard;
pub(crate) mod health;
mod infer;
mod models;
mod oip;
mod probe;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path};
use axum::routing::{get, post};
use axum::{Router, middleware};
use dyno_core::ErrorKind;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::sync::Semaphore;

use crate::admission::{Admission, Place};
use crate::batch::Line;
use crate::body::BodyPatience;
use crate::config::Config;
use crate::drain::Lifecycle;
use crate::errors::Failure;
use crate::identity::Identity;
use crate::metrics::{Metrics, Shed};
use crate::models::Served;
use crate::observe::{Observer, observe};
use crate::registry::Registry;
use crate::stall;

/// Hash of the bundle: demanded of packed requests, stated in answers.
const BUNDLE: HeaderName = HeaderName::from_static("dyno-bundle");
/// Where the time went.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// How busy the server is.
const LOAD: HeaderName = HeaderName::from_static("dyno-load");

/// Bundle downloads at once: updates must not starve inference of its connection or disk.
const MAX_DOWNLOADS: usize = 16;

/// What handlers share.
pub(crate) struct App {
    pub(crate) models: Arc<Registry>,
    pub(crate) admission: Admission,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) metrics: Arc<Metrics>,
    /// None where nobody takes traces.
    #[cfg(feature = "otlp")]
    pub(crate) tracer: Option<Arc<crate::otlp::Tracer>>,
    /// Who is let in, and to what.
    pub(crate) identity: Identity,
    downloads: Arc<Semaphore>,
    patience: BodyPatience,
    max_deadline: std::time::Duration,
}

impl App {
    /// Fails if what is said of traces makes no sense.
    pub(crate) fn new(
        config: &Config,
        identity: Identity,
        models: Arc<Registry>,
        lifecycle: Arc<Lifecycle>,
        metrics: Metrics,
    ) -> dyno_core::Result<Self> {
        let metrics = Arc::new(metrics);
        #[cfg(not(feature = "otlp"))]
        config.check_traces()?;
        Ok(Self {
            #[cfg(feature = "otlp")]
            tracer: crate::otlp::Tracer::of(config, Arc::clone(&metrics))?.map(Arc::new),
            models,
            admission: Admission::new(
                config.max_in_flight(),
                config.workers(),
                config.max_queue_wait,
                Arc::clone(&metrics),
            ),
            lifecycle,
            metrics,
            identity,
            downloads: Arc::new(Semaphore::new(MAX_DOWNLOADS)),
            patience: BodyPatience {
                idle: config.body_idle_timeout,
                total: config.body_timeout,
            },
            max_deadline: config.max_deadline,
        })
    }

    /// A place for a request, now or never.
    fn admit(&self) -> dyno_core::Result<Place> {
        self.admission
            .admit()
            .inspect_err(|_| self.metrics.shed(Shed::InFlight))
    }

    /// Fails if a request would wait too long for a worker.
    fn check_wait(&self, line: &Line, left: Duration) -> dyno_core::Result<()> {
        self.admission
            .check_wait(line, left)
            .inspect_err(|_| self.metrics.shed(Shed::QueueWait))
    }

    /// Whether requests for every model would be answered.
    pub(crate) fn is_ready(&self) -> bool {
        let can_run = |served: &Arc<Served>| served.model.engine.is_ready();
        self.lifecycle.is_ready() && self.models.all().iter().all(can_run)
    }

    /// The model that a path names, in its newest version.
    fn model(&self, name: Result<Path<String>, PathRejection>) -> Result<Arc<Served>, Failure> {
        name.ok()
            .and_then(|Path(name)| self.models.get(&name))
            .ok_or_else(no_such_model)
    }

    /// The model that a path names, in the version whose hash the headers have if that is still
    /// served, and in the newest otherwise.
    fn version(
        &self,
        name: Result<Path<String>, PathRejection>,
        headers: &HeaderMap,
    ) -> Result<Arc<Served>, Failure> {
        // A header that makes no sense is refused later, in its turn.
        let hash = single(headers, &BUNDLE).ok().flatten();
        name.ok()
            .and_then(|Path(name)| match hash {
                Some(hash) => self.models.version(&name, hash),
                None => self.models.get(&name),
            })
            .ok_or_else(no_such_model)
    }
}

fn no_such_model() -> Failure {
    Failure::of(
        ErrorKind::NotFound,
        "there is no such model here: GET /v1/models lists them",
    )
}

/// Everything the server answers. In paths a model is called `model`: that is what the guard goes by
/// when it keeps clients from models that are not for them.
pub(crate) fn router(app: Arc<App>) -> Router {
    let routes = Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::metadata))
        .route("/v1/models/{model}/bundle", get(models::download))
        .route("/v1/models/{model}/infer", post(infer::infer))
        .route("/v1/probe", post(probe::probe))
        .merge(oip::routes());
    layered(routes, app)
}

/// What there is at the address of the Open Inference Protocol.
pub(crate) fn oip_router(app: Arc<App>) -> Router {
    layered(oip::routes(), app).layer(middleware::map_request(stall::begin))
}

fn layered(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        .fallback(async || Failure::of(ErrorKind::NotFound, "there is no such path here"))
        .method_not_allowed_fallback(async || {
            Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                ErrorKind::InvalidArgument,
                "this path does not take this method: the allow header lists those it takes",
            )
        })
        // `infer` has limits of its own, read from the bundle.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            guard::guard,
        ))
        .layer(middleware::from_fn_with_state(
            Observer {
                metrics: Arc::clone(&app.metrics),
                #[cfg(feature = "otlp")]
                tracer: app.tracer.clone(),
            },
            observe,
        ))
        .layer(middleware::map_response(stall::watch))
        .with_state(app)
}

/// A header that may be given once, in visible ASCII.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(value), None) => Ok(Some(value.trim())),
        _ => Err(Failure::of(
            ErrorKind::InvalidArgument,
            format!("the {name} header must be given once, in plain ASCII"),
        )),
    }
}

/// A number in digits alone; Rust's own reading takes a sign as well.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The length that a request's headers promise, at most `limit` bytes.
fn content_length(headers: &HeaderMap, limit: usize) -> Result<usize, Failure> {
    let text = single(headers, &CONTENT_LENGTH)?.ok_or_else(|| {
        Failure::new(
            StatusCode::LENGTH_REQUIRED,
            ErrorKind::InvalidArgument,
            "the request needs a content-length",
        )
    })?;
    let length = number::<u64>(text).ok_or_else(|| {
        Failure::of(
            ErrorKind::InvalidArgument,
            "the content-length is not a number",
        )
    })?;
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= limit)
        .ok_or_else(|| {
            Failure::of(
                ErrorKind::TooLarge,
                format!("a body of {length} bytes is over the limit of {limit} here"),
            )
        })
}
