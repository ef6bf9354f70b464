//! The life of one inference, from pixels to labels.
//!
//! [`Client`] is the one object an app holds. A call stages the photo, chooses a plan, runs the
//! head, packs, sends, and reports; where the network fails, it finishes on the device from the
//! cut, so that nothing is computed twice. Which mode does what is data: [`ExecutionMode`] and
//! `docs/modes.md`.

mod config;
mod holdoff;
mod http;
mod inference;
pub mod labels;
mod local;
mod mode;
mod report;
mod transport;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use config::{ClientConfig, MAX_REMOTE_DEADLINE};
pub use http::{HttpOptions, HttpTransport};
pub use labels::{Label, MAX_TOP_K, top_k};
pub use mode::{
    ExecutionMode, First, IfDeviceFails, IfServerFails, ModePolicy, Outcome, Situation, table,
};
pub use report::{Fallback, Inference, RanOn, StageTimes};
pub use transport::{BodyKind, ServerLoad, ServerTiming, TailAnswer, TailRequest, Transport};

use crate::bundle::{Bundle, Manifest, Profile};
use crate::pixels::{Frame, Pixels};
use crate::runtime::Executor;
use crate::schedule::{Candidate, Estimates, LinkSample, Plan, Planner, all_plans};
use crate::{Error, ErrorKind, Result};
use holdoff::HoldOff;

/// A request is given this many times the time it is expected to take, ...
const DEADLINE_FACTOR: f64 = 3.0;
/// ... and this much more, in milliseconds, for what no estimate knows.
const DEADLINE_MARGIN_MS: f64 = 50.0;

/// Runs inferences of one model, here and on a server. Cheap to clone; calls may run at once.
///
/// Its async functions need a tokio runtime with time enabled. A future that is dropped cancels
/// its inference: the span under way is terminated and the request abandoned.
///
/// ```no_run
/// use std::path::Path;
/// use std::sync::Arc;
///
/// use dyno_core::bundle::Bundle;
/// use dyno_core::client::{Client, ClientConfig, HttpOptions, HttpTransport};
/// use dyno_core::pixels::Photo;
/// use dyno_core::runtime::Executor;
///
/// # async fn example(executor: Arc<dyn Executor>) -> dyno_core::Result<()> {
/// let bundle = Bundle::open(Path::new("shapes.dyno"))?;
/// let outputs = bundle.manifest().outputs.clone();
/// let server = HttpTransport::new("http://127.0.0.1:8600", outputs, HttpOptions::default())?;
/// let client = Client::new(
///     &bundle,
///     executor,
///     Some(Arc::new(server)),
///     ClientConfig::default(),
/// )?;
/// client.warm_up().await?;
///
/// let photo = Photo::decode(&std::fs::read("cat.jpg").unwrap_or_default())?;
/// let inference = client.infer_pixels(&photo.pixels()?).await?;
/// for label in &inference.top {
///     println!("{:.3} {}", label.score, label.label);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// What all clones and calls of a client share.
struct Inner {
    manifest: Arc<Manifest>,
    executor: Arc<dyn Executor>,
    transport: Option<Arc<dyn Transport>>,
    config: ClientConfig,
    policy: ModePolicy,
    packers: local::Packers,
    state: Mutex<State>,
}

/// What calls learn from each other. Locked for moments, never across an await.
struct State {
    planner: Planner,
    holdoff: HoldOff,
}

/// A photo at the model's size, ready to be inferred. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Staged {
    frame: Arc<Frame>,
    preprocess_ms: f64,
}

impl Client {
    /// A client for the model in `bundle`. `executor` runs its spans; without a `transport`
    /// everything runs on the device.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if the configuration makes no sense, or asks for
    /// a server that was not given.
    pub fn new(
        bundle: &Bundle,
        executor: Arc<dyn Executor>,
        transport: Option<Arc<dyn Transport>>,
        config: ClientConfig,
    ) -> Result<Self> {
        let manifest = Arc::new(bundle.manifest().clone());
        Self::from_parts(manifest, bundle.profile(), executor, transport, config)
    }

    /// The same from a bundle's parts, for executors that have no bundle on disk.
    pub fn from_parts(
        manifest: Arc<Manifest>,
        profile: Option<&Profile>,
        executor: Arc<dyn Executor>,
        transport: Option<Arc<dyn Transport>>,
        config: ClientConfig,
    ) -> Result<Self> {
        config.check(&manifest)?;
        let policy = config.mode.policy();
        let plans = plans(&manifest, &policy, transport.is_some(), &config)?;
        let estimates = Estimates::new(&manifest, profile, config.link, config.server_speed);
        let state = State {
            planner: Planner::new(plans, estimates),
            holdoff: HoldOff::new(config.backoff_min, config.backoff_max),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                manifest,
                executor,
                transport: transport.filter(|_| policy.may_use_network()),
                config,
                policy,
                packers: local::Packers::default(),
                state: Mutex::new(state),
            }),
        })
    }

    /// Brings a photo to the model's size, in one pass over the borrowed pixels.
    ///
    /// Fails with [`ErrorKind::InvalidImage`] if they cannot be.
    pub fn stage(&self, pixels: &Pixels<'_>) -> Result<Staged> {
        let started = Instant::now();
        let frame = Frame::stage(pixels, &self.inner.manifest.preprocess)?;
        Ok(Staged {
            frame: Arc::new(frame),
            preprocess_ms: ms(started.elapsed()),
        })
    }

    /// Infers a staged photo.
    ///
    /// Fails where the mode leaves no way to an answer (`docs/modes.md`): with the kinds of
    /// [`Transport::infer`] if only the server may answer, with
    /// [`Runtime`](ErrorKind::Runtime) if the device fails and nothing else may.
    pub async fn infer(&self, staged: Staged) -> Result<Inference> {
        inference::infer(&self.inner, staged).await
    }

    /// [`stage`](Self::stage), on the calling thread, and [`infer`](Self::infer).
    pub async fn infer_pixels(&self, pixels: &Pixels<'_>) -> Result<Inference> {
        let staged = self.stage(pixels)?;
        self.infer(staged).await
    }

    /// What each plan that this client chooses among is expected to cost now, cheapest first.
    pub fn explain(&self) -> Vec<Candidate> {
        let ready_cuts = self.inner.executor.ready_cuts();
        self.inner.state().planner.candidates(&ready_cuts, now())
    }

    /// Opens the connection and builds the spans of the plan that would be chosen now, so that
    /// the first inference waits for neither.
    ///
    /// Fails if the spans cannot be built; if the server cannot be reached, only in modes in
    /// which nothing else answers.
    pub async fn warm_up(&self) -> Result<()> {
        let connected = self.inner.connect().await;
        self.inner.prepare_spans().await?;
        match (connected, self.inner.policy.if_server_fails) {
            (Err(error), IfServerFails::Fail) => Err(error),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("model", &self.inner.manifest.model)
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

/// How a call begins.
struct Start {
    candidate: Candidate,
    /// Set if the server would have been asked, were it not left alone.
    fallback: Option<Fallback>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses the plan of a call that starts at `now`, and has its spans built if they are not
    /// at hand.
    fn begin(&self, now: Instant) -> Start {
        let ready_cuts = self.executor.ready_cuts();
        let mut state = self.state();
        let choice = state.planner.choose(&ready_cuts, now);
        if choice.best.plan.uses_server()
            && let Some(held) = self.held(&state, now)
        {
            return Start {
                candidate: state.planner.candidate(Plan::Device, &ready_cuts, now),
                fallback: Some(held),
            };
        }
        drop(state);
        if choice.runnable.plan != choice.best.plan
            && let Plan::Split { cut, .. } = choice.best.plan
        {
            self.executor.request(cut);
        }
        Start {
            candidate: choice.runnable,
            fallback: None,
        }
    }

    /// Why the server is left alone at `now`; modes that only the server answers never do.
    fn held(&self, state: &State, now: Instant) -> Option<Fallback> {
        let held = match self.policy.if_server_fails {
            IfServerFails::ResumeOnDevice => state.holdoff.held(now)?,
            IfServerFails::Fail => return None,
        };
        let how_long = match held.remaining {
            Some(remaining) => format!("for {:.1} s more", remaining.as_secs_f64()),
            None => "for good".to_owned(),
        };
        Some(Fallback {
            kind: held.after,
            message: format!("the server is left alone {how_long} after: {}", held.after),
            from_cut: 0,
        })
    }

    /// Whether the server refused this bundle.
    fn switched_off(&self) -> bool {
        let held = self.state().holdoff.held(now());
        held.is_some_and(|held| held.remaining.is_none())
    }

    /// How long a request of `bytes` is given.
    fn deadline(&self, plan: Plan, bytes: usize) -> Duration {
        let (min, max) = (
            self.config.remote_deadline_min,
            self.config.remote_deadline_max,
        );
        let now = now();
        let mut state = self.state();
        let expected = state.planner.candidate(plan, &[], now);
        let transfer_ms = state.planner.estimates_mut().link.transfer_ms(bytes, now);
        let expected_ms = transfer_ms + expected.queue_ms + expected.server_ms;
        let patience_ms = expected_ms * DEADLINE_FACTOR + DEADLINE_MARGIN_MS;
        Duration::try_from_secs_f64(patience_ms / 1e3).map_or(max, |d| d.clamp(min, max))
    }

    /// Learns from an answer to `bytes` sent for `plan`.
    fn remote_answered(&self, plan: Plan, sample: LinkSample, timing: &ServerTiming) {
        let cut = match plan {
            Plan::Split { cut, .. } => cut,
            Plan::Device | Plan::Photo(_) => 0,
        };
        let mut state = self.state();
        state.holdoff.succeeded();
        let estimates = state.planner.estimates_mut();
        estimates.link.answered(sample);
        estimates.sizes.observe_unpacked(&plan, timing.unpack_ms);
        estimates.server.observe(
            cut,
            self.manifest.last_cut(),
            timing.queue_ms,
            timing.infer_ms,
            now(),
        );
    }

    /// Learns from a request sent at `sent` that failed.
    fn remote_failed(&self, error: &Error, sent: Instant) {
        let now = now();
        let mut state = self.state();
        let link = &mut state.planner.estimates_mut().link;
        match error.kind() {
            ErrorKind::Cancelled => return,
            ErrorKind::DeadlineExceeded => link.late(now),
            ErrorKind::Unreachable => link.broken(),
            _ => {}
        }
        if state.holdoff.failed(error.kind(), sent, now) {
            log::warn!(
                "the server does not have this bundle of {}; this client leaves it alone: {error}",
                self.manifest.model
            );
        } else {
            log::info!("the server failed ({}): {error}", error.kind());
        }
    }

    async fn connect(&self) -> Result<()> {
        let Some(transport) = &self.transport else {
            return Ok(());
        };
        let sent = now();
        match transport.warm_up().await {
            Ok(rtt) => {
                let mut state = self.state();
                let link = &mut state.planner.estimates_mut().link;
                link.connected(rtt.map(ms), now());
                Ok(())
            }
            Err(error) => {
                self.remote_failed(&error, sent);
                Err(error)
            }
        }
    }

    /// Builds the spans of the plan that would be chosen, and of what stands in for it.
    async fn prepare_spans(&self) -> Result<()> {
        let ready_cuts = self.executor.ready_cuts();
        let best = self.state().planner.choose(&ready_cuts, now()).best.plan;
        let cut = match best {
            Plan::Split { cut, .. } => cut,
            Plan::Photo(_) if self.policy.if_server_fails == IfServerFails::Fail => return Ok(()),
            Plan::Photo(_) | Plan::Device => self.manifest.last_cut(),
        };
        let executor = self.executor.clone();
        local::off_thread(move || executor.prepare(cut)).await
    }
}

/// The plans among which a client chooses what runs first.
fn plans(
    manifest: &Manifest,
    policy: &ModePolicy,
    has_server: bool,
    config: &ClientConfig,
) -> Result<Vec<Plan>> {
    let needs_server = config.plan.is_some_and(|plan| plan.uses_server())
        || policy.if_server_fails == IfServerFails::Fail;
    if needs_server && !has_server {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "this mode or plan needs a server and none was given: give one, or choose AUTO or \
             ONLY_ON_DEVICE without a plan",
        ));
    }
    if let Some(plan) = config.plan {
        return Ok(vec![plan]);
    }
    Ok(match policy.first {
        First::Cheapest if has_server => {
            all_plans(manifest, config.precision, config.codec, config.photo)
        }
        First::Server if has_server => vec![Plan::Photo(config.photo)],
        First::Cheapest | First::Device | First::Server => vec![Plan::Device],
    })
}

/// The clock of the runtime, so that tests can pass time.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
