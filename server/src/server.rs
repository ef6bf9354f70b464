//! The server as a whole: bound, run, drained.

use std::net::SocketAddr;
use std::sync::Arc;

use dyno_core::runtime::Cancel;
use dyno_core::{Error, ErrorKind, Result};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::drain::{self, Lifecycle, Phase};
use crate::engines::Engines;
use crate::hot_swap::{self, HotSwap, Looks};
use crate::identity::Identity;
use crate::listener::Listener;
use crate::metrics::{Metrics, MetricsPort};
use crate::models::{self, Model, Refused};
use crate::registry::Registry;
use crate::reload::{self, POLL_INTERVAL, Reload, Reloader};
use crate::routes::{App, oip_router, router};
use crate::tls::Tls;

/// A server that has its address and its models, and waits to be run.
///
/// ```
/// use dyno_server::{Config, Server};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = Config::new("bundles");
/// config.listen = "127.0.0.1:0".parse()?;
/// match Server::bind(config).await {
///     Ok(server) => {
///         println!("listening on {}", server.local_addr());
///         server.run(async { /* resolves when it is to stop */ }).await?;
///     }
///     Err(error) => println!("cannot serve: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
pub struct Server {
    config: Config,
    app: Arc<App>,
    listener: Listener,
    local_addr: SocketAddr,
    reloader: Reloader,
    /// What is read again while it runs.
    reloads: Vec<Arc<dyn Reload>>,
    metrics_port: Option<MetricsPort>,
    metrics_addr: Option<SocketAddr>,
    /// None where the models did not come from a folder.
    hot_swap: Option<Arc<HotSwap>>,
    oip_addr: Option<SocketAddr>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("local_addr", &self.local_addr)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the configured bundles and binds the address.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if the configuration makes no sense (plaintext
    /// for other machines, a bad certificate, bad keys, no bundles), with [`ErrorKind::InvalidBundle`] if
    /// none can be served, and with [`ErrorKind::Io`] if the address cannot be had.
    pub async fn bind(config: Config) -> Result<Self> {
        Prepared::open(config).await?.bind().await
    }

    /// Reads everything that [`Server::bind`] reads and fails like it, but for the addresses, which are
    /// not taken.
    pub async fn check(config: Config) -> Result<()> {
        Prepared::open(config).await.map(drop)
    }

    /// A server for models that are at hand already; the configured folder is not looked at.
    ///
    /// Fails like [`Server::bind`].
    pub async fn with_models(config: Config, models: Vec<Model>) -> Result<Self> {
        let tls = tls(&config)?;
        let identity = Identity::of(&config)?;
        Prepared::new(config, tls, identity, models, &[], None)?
            .bind()
            .await
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Asks the server to read its files again, also while it runs.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// The address of its metrics, if it has one.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// The address of the Open Inference Protocol, if it was to have one.
    pub fn oip_addr(&self) -> Option<SocketAddr> {
        self.oip_addr
    }

    /// Serves until `shutdown` resolves, then drains. Dropping the future stops at once.
    ///
    /// Fails if the models cannot be warmed up, and with [`ErrorKind::DeadlineExceeded`] if
    /// requests were still under way when the drain timed out.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let Self {
            config,
            app,
            listener,
            reloader,
            reloads,
            metrics_port,
            hot_swap,
            ..
        } = self;
        // To the very end, so that probes and scrapers see the drain.
        let _metrics = metrics_port
            .map(|port| AbortOnDropHandle::new(tokio::spawn(port.serve(Arc::clone(&app)))));
        let lifecycle = Arc::clone(&app.lifecycle);
        #[cfg(feature = "otlp")]
        let exporting = app.tracer.as_ref().and_then(|tracer| tracer.start());
        // Ends with this future, whatever ends that.
        let mut background = JoinSet::new();
        background.spawn(reload::watch(reloads, reloader.clone(), POLL_INTERVAL));
        let _loading = hot_swap.as_ref().map(|swap| swap.cancel().on_drop());
        if let Some(swap) = hot_swap {
            // On a task of its own: bundles take a while.
            background.spawn(reload::watch(vec![swap], reloader, config.reload_interval));
            background.spawn(hot_swap::expire(Arc::clone(&app.models)));
        }
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);

        let warm_up = warm_up(Arc::clone(&app), config.strict);
        tokio::pin!(warm_up);
        let mut warm = false;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                warmed = &mut warm_up, if !warm => {
                    warmed?;
                    warm = true;
                    lifecycle.set_warm();
                    tracing::info!("ready");
                }
                connection = listener.accept() => connection.spawn_on(&mut connections),
            }
        }

        tracing::info!("draining");
        lifecycle.enter(Phase::Draining);
        let delay = tokio::time::sleep(config.drain_delay);
        tokio::pin!(delay);
        loop {
            tokio::select! {
                biased;
                () = &mut delay => break,
                connection = listener.accept() => connection.spawn_on(&mut connections),
            }
        }
        lifecycle.enter(Phase::Closing);
        let requests = listener.close();
        let finished = drain::finish(connections, &requests, config.drain_timeout).await;
        #[cfg(feature = "otlp")]
        if let Some(exporting) = exporting {
            exporting.finish().await;
        }
        finished?;
        tracing::info!("stopped");
        Ok(())
    }

    /// What answers the requests of every connection.
    #[cfg(feature = "internals")]
    pub(crate) fn router(&self) -> axum::Router {
        self.listener.router()
    }
}

/// A server but for its addresses.
struct Prepared {
    config: Config,
    app: Arc<App>,
    tls: Option<Tls>,
    hot_swap: Option<Arc<HotSwap>>,
    reloads: Vec<Arc<dyn Reload>>,
}

impl Prepared {
    /// With the bundles of the configured folder.
    async fn open(config: Config) -> Result<Self> {
        // What is quickly read first: bundles are hashed.
        let tls = tls(&config)?;
        let identity = Identity::of(&config)?;
        let engines = Arc::new(Engines::of(&config)?);
        let (settings, made_here) = (config.clone(), Arc::clone(&engines));
        let (looks, (models, refused)) = tokio::task::spawn_blocking(move || {
            // First: what changes while bundles are opened is noticed later.
            let looks = hot_swap::look(&settings.bundles)?;
            Ok::<_, Error>((looks, models::open_all(&settings, &made_here)?))
        })
        .await
        .map_err(|error| {
            Error::with_source(ErrorKind::Internal, "opening the bundles failed", error)
        })??;
        let opened = Some((looks, engines));
        Self::new(config, tls, identity, models, &refused, opened)
    }

    fn new(
        config: Config,
        tls: Option<Tls>,
        identity: Identity,
        models: Vec<Model>,
        refused: &[Refused],
        opened: Option<(Looks, Arc<Engines>)>,
    ) -> Result<Self> {
        let (keys, jwt_keys) = identity.keys();
        let models = Arc::new(Registry::new(models, config.max_photo_bytes())?);
        let hot_swap = opened
            .map(|(looks, engines)| {
                HotSwap::new(config.clone(), engines, Arc::clone(&models), looks)
            })
            .map(Arc::new);
        let bundles = hot_swap
            .iter()
            .map(|swap| Arc::clone(swap) as Arc<dyn Reload>);
        let files = identity.reloads().chain(tls.as_ref().map(Tls::reload));
        let reloads: Vec<_> = files.collect();
        let metrics = Metrics::new(reloads.iter().cloned().chain(bundles).collect());
        let lifecycle = Arc::new(Lifecycle::new());
        let app = App::new(&config, identity, models, lifecycle, metrics)?;
        let app = Arc::new(app);

        tracing::info!(
            tls = tls.is_some(),
            client_certificates = config.tls_client_ca.is_some(),
            keys,
            jwt_keys,
            workers = config.workers(),
            threads = config.threads(),
            capacity = config.max_in_flight(),
            "set up"
        );
        if config.tokens_are_readable() {
            tracing::warn!(
                "tokens come without TLS: whoever carries them reads them, unless that is only a \
                 proxy in front of this server that ends TLS"
            );
        }
        for Refused { folder, error } in refused {
            tracing::warn!(folder = ?folder, %error, "bundle left out");
        }
        for served in app.models.all() {
            tracing::info!(model = served.model.name, bundle = served.hash(), "model");
        }
        Ok(Self {
            config,
            app,
            tls,
            hot_swap,
            reloads,
        })
    }

    async fn bind(self) -> Result<Server> {
        let Self {
            config,
            app,
            tls,
            hot_swap,
            reloads,
        } = self;
        let (all, oip) = (router(Arc::clone(&app)), oip_router(Arc::clone(&app)));
        let listener = Listener::bind(&config, tls, &app, all, oip).await?;
        let local_addr = listener.local_addr()?;
        let oip_addr = listener.oip_addr()?;
        let metrics_port = MetricsPort::bind(config.metrics_listen).await?;
        let metrics_addr = metrics_port
            .as_ref()
            .map(MetricsPort::local_addr)
            .transpose()?;
        tracing::info!("listening on {local_addr}");
        if let Some(addr) = oip_addr {
            tracing::info!("listening on {addr} for the Open Inference Protocol");
        }
        if let Some(addr) = metrics_addr {
            tracing::info!("metrics on http://{addr}/metrics");
        }
        Ok(Server {
            config,
            app,
            listener,
            local_addr,
            reloader: Reloader::default(),
            reloads,
            metrics_port,
            metrics_addr,
            hot_swap,
            oip_addr,
        })
    }
}

fn tls(config: &Config) -> Result<Option<Tls>> {
    config.tls_files()?.map(Tls::open).transpose()
}

/// Runs every model once. A model that cannot is a reason to stop if the server is strict or if
/// no other can either; otherwise it stays, and its requests get the error.
async fn warm_up(app: Arc<App>, strict: bool) -> Result<()> {
    let cancel = Cancel::new();
    let _guard = cancel.clone().on_drop();
    let warming = tokio::task::spawn_blocking(move || {
        let models = app.models.all();
        let mut cold = Vec::new();
        for served in &models {
            let name = &served.model.name;
            let started = std::time::Instant::now();
            match served.model.engine.warm_up(&cancel) {
                Ok(()) => {
                    tracing::info!(
                        model = name,
                        ms = crate::timing::millis(started.elapsed()),
                        "warm"
                    );
                }
                Err(error) => {
                    tracing::error!(model = name, %error, "cannot run");
                    cold.push(error.context(format!("model '{name}' cannot run")));
                }
            }
        }
        let all = cold.len() == models.len();
        match cold.into_iter().next() {
            Some(error) if strict || all => Err(error),
            _ => Ok(()),
        }
    });
    warming
        .await
        .map_err(|error| Error::with_source(ErrorKind::Internal, "warming up failed", error))?
}
