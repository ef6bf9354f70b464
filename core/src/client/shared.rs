//! What all calls of one client share, and what they learn from each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::background::Background;
use super::breaker::{Breaker, Held, Pass, Until};
use super::config::ClientConfig;
use super::exchange::{Exchange, Permit};
use super::learning::Sent;
use super::local::{Packers, off_thread};
use super::mode::{First, IfServerFails, ModePolicy};
use super::probe;
use super::random::Random;
use super::report::Fallback;
use super::transport::Transport;
use super::{Known, ms, now};
use crate::bundle::{Calibration, Manifest};
use crate::runtime::{Activation, Cancel, Executor, SpanRun};
use crate::schedule::{
    Candidate, Choice, Estimates, Explanation, InFlight, Network, NetworkKind, Next, Overlap,
    PhotoCodec, Plan, Planner, Probing, SpacePlan, UnderWay, all_plans, calibrated_plans,
};
use crate::{Error, ErrorKind, Result};

/// Requests that go on after the device has answered, to be measured; more are abandoned.
const MAX_LATE_REQUESTS: usize = 4;
/// Networks that a client is warmed up on, one after the other.
const MAX_NETWORKS_OF_WARM_UP: usize = 3;
/// Probes at once.
const MAX_PROBES: usize = 1;

/// What all clones and calls of a client share.
pub(super) struct Shared {
    pub(super) manifest: Arc<Manifest>,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) transport: Option<Arc<dyn Transport>>,
    pub(super) config: ClientConfig,
    pub(super) policy: ModePolicy,
    pub(super) packers: Packers,
    state: Mutex<State>,
    pub(super) probes: Background,
    late_requests: Background,
    network_changes: watch::Sender<()>,
}

/// What calls learn from each other. Locked for moments, never across an await.
pub(super) struct State {
    pub(super) planner: Planner,
    pub(super) breaker: Breaker,
    pub(super) probing: Probing,
    pub(super) in_flight: InFlight,
    /// Plans whose messages the server does not take, and what it said.
    pub(super) refused: Vec<(Plan, ErrorKind)>,
}

/// What is under way in a stream when its next frame begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    pub(super) under_way: UnderWay,
    /// Most frames at once.
    pub(super) room: usize,
}

/// How a call begins.
pub(super) struct Start {
    pub(super) candidate: Candidate,
    /// Leave to send a request, if the plan sends one and the mode asks for leave.
    pub(super) permit: Option<Permit>,
    /// Set if the server would have been asked, were it not left alone.
    pub(super) fallback: Option<Fallback>,
}

/// How long a request is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// Then the device resumes.
    pub(super) resume_after: Duration,
    /// Then nobody reads the answer any more.
    pub(super) give_up_after: Duration,
}

impl Shared {
    /// Fails with [`ErrorKind::InvalidArgument`] if the configuration makes no sense, or asks for
    /// a server that was not given.
    pub(super) fn new(
        manifest: Arc<Manifest>,
        known: Known<'_>,
        executor: Arc<dyn Executor>,
        transport: Option<Arc<dyn Transport>>,
        mut config: ClientConfig,
    ) -> Result<Self> {
        config.check(&manifest)?;
        let limit = limit(known.calibration, &config)?;
        if let Some((calibration, max_drop_pp)) = limit {
            let photo = calibration.allowed_photo(max_drop_pp);
            config.photo = photo.unwrap_or(PhotoCodec::WebPLossless);
        }
        let shaping = known.calibration.map(|c| Arc::new(c.shaping.clone()));
        let policy = config.mode.policy();
        let has_server = transport.is_some();
        let mut plans = plans(&manifest, policy, has_server, &config)?;
        let estimates = Estimates::new(&manifest, known.profile, config.link, config.server_speed);
        if let Some((calibration, _)) = limit
            && config.plan.is_none()
            && policy.first == First::Best
            && has_server
        {
            plans = calibrated_plans(&manifest, calibration, &config.objective);
        }
        let state = State {
            planner: Planner::new(&plans, estimates, config.objective.clone()),
            breaker: Breaker::new(config.backoff_min, config.backoff_max, Random::new()),
            probing: Probing::default(),
            in_flight: InFlight::default(),
            refused: Vec::new(),
        };
        Ok(Self {
            manifest,
            executor,
            transport: transport.filter(|_| policy.may_use_network()),
            config,
            policy,
            packers: Packers::new(shaping.unwrap_or_default()),
            state: Mutex::new(state),
            probes: Background::new(MAX_PROBES),
            late_requests: Background::new(MAX_LATE_REQUESTS),
            network_changes: watch::Sender::new(()),
        })
    }

    /// The decision that would be made now, with its reasons.
    pub(super) fn explain(&self) -> Explanation {
        let ready_cuts = self.executor.ready_cuts();
        self.state().planner.explain(&ready_cuts, now())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses the plan of a call that starts at `now`, and has its spans built if they are not
    /// at hand.
    pub(super) fn begin(self: &Arc<Self>, now: Instant) -> Start {
        let ready_cuts = self.executor.ready_cuts();
        let mut state = self.state();
        let choice = state.planner.choose(&ready_cuts, now);
        self.start(state, &choice, choice.runnable.plan, &ready_cuts, now)
    }

    /// The same for the next frame of a stream; says as well what becomes of those after it.
    pub(super) fn begin_in_stream(self: &Arc<Self>, flow: Flow, now: Instant) -> (Start, Overlap) {
        let ready_cuts = self.executor.ready_cuts();
        let mut state = self.state();
        let State {
            planner, refused, ..
        } = &mut *state;
        let may = |plan: &Plan| refused.iter().all(|(refused, _)| refused != plan);
        let (choice, overlap) = planner.choose_in_stream(&ready_cuts, flow.room, may, now);
        let plan = match overlap.next(&flow.under_way) {
            Next::Instead(plan) => plan,
            // It would wait if that had been known before.
            Next::Chosen | Next::Waits => choice.runnable.plan,
        };
        (self.start(state, &choice, plan, &ready_cuts, now), overlap)
    }

    /// A call that follows `plan`, if the server is not left alone, after `choice` was made.
    fn start(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        choice: &Choice,
        plan: Plan,
        ready_cuts: &[usize],
        now: Instant,
    ) -> Start {
        let leave = self.leave(&mut state, plan, now);
        let probe = probe::due(self, &mut state, &choice.runnable, ready_cuts, now);
        let follows = match leave {
            Ok(_) => plan,
            Err(_) => Plan::Device,
        };
        let candidate = if follows == choice.runnable.plan {
            choice.runnable
        } else {
            state.planner.candidate(follows, ready_cuts, now)
        };
        drop(state);
        if let Some(cut) = choice.cut_to_build() {
            self.executor.request(cut);
        }
        if let Some((bytes, pass)) = probe {
            probe::send(self, bytes, Permit::new(self, pass));
        }
        let (permit, fallback) = match leave {
            Ok(pass) => (pass.map(|pass| Permit::new(self, pass)), None),
            Err(fallback) => (None, Some(fallback)),
        };
        Start {
            candidate,
            permit,
            fallback,
        }
    }

    /// Leave to send what `plan` sends at `now`, or why the server is left alone. Plans that send
    /// nothing need none, and modes that only the server answers ask for none.
    fn leave(&self, state: &mut State, plan: Plan, now: Instant) -> Result<Option<Pass>, Fallback> {
        let device_goes_on = self.policy.if_server_fails == IfServerFails::ResumeOnDevice;
        if !plan.uses_server() || !device_goes_on {
            return Ok(None);
        }
        let why_not = |kind, message| Fallback {
            kind,
            message,
            from_cut: 0,
        };
        if state.is_offline() {
            let message = "the device has no network".to_owned();
            return Err(why_not(ErrorKind::Unreachable, message));
        }
        if let Some((_, kind)) = state.refused.iter().find(|(refused, _)| *refused == plan) {
            let message = format!("the server does not take what '{plan}' sends: {kind}");
            return Err(why_not(*kind, message));
        }
        state.breaker.admit(now).map(Some).map_err(|held| {
            let Held { after, until } = held;
            let how_long = match until {
                Until::After(left) => format!("for {:.1} s more", left.as_secs_f64()),
                Until::TrialEnds => "while one request finds out whether it is back".to_owned(),
                Until::Forever => "for good".to_owned(),
            };
            why_not(
                after,
                format!("the server is left alone {how_long} after: {after}"),
            )
        })
    }

    /// Name of the model on the server.
    pub(super) fn model(&self) -> &str {
        self.config.model.as_deref().unwrap_or(&self.manifest.model)
    }

    /// Whether the server refused this client for good.
    pub(super) fn is_switched_off(&self) -> bool {
        self.state().breaker.off().is_some()
    }

    /// Leave to send a second message, which follows `plan`, or why not.
    pub(super) fn ask_again(self: &Arc<Self>, plan: Plan) -> Result<Option<Permit>> {
        let leave = self.leave(&mut self.state(), plan, now());
        match leave {
            Ok(pass) => Ok(pass.map(|pass| Permit::new(self, pass))),
            Err(Fallback { kind, message, .. }) => Err(Error::new(kind, message)),
        }
    }

    /// Whether there is no network.
    pub(super) fn is_offline(&self) -> bool {
        self.state().is_offline()
    }

    /// Told of every change of the network from now on.
    pub(super) fn network_changes(&self) -> watch::Receiver<()> {
        self.network_changes.subscribe()
    }

    /// The device is on another network.
    pub(super) fn network_changed(&self, network: Network) {
        let mut state = self.state();
        state.planner.estimates_mut().network_changed(network);
        state.breaker.network_changed();
        state.probing = Probing::default();
        state.in_flight = InFlight::default();
        drop(state);
        if let Some(transport) = &self.transport {
            transport.network_changed();
        }
        // Last: the calls that go on now find everything above in place.
        self.network_changes.send_replace(());
    }

    /// How long a request of `bytes` is waited for by a call that has taken `spent_ms` so far.
    pub(super) fn patience(&self, plan: &Plan, bytes: usize, spent_ms: f64) -> Waits {
        let now = now();
        let state = self.state();
        let delays = state
            .in_flight
            .delays(bytes, Some(plan), state.planner.estimates(), now);
        let wait_ms = ms(delays.uplink + delays.server);
        let planner = &state.planner;
        let patience = planner.patience_behind(wait_ms, plan, bytes, spent_ms, now);
        drop(state);
        let longest = self.config.remote_deadline_max;
        let bounded = |ms: f64| {
            Duration::try_from_secs_f64(ms / 1e3).map_or(longest, |wait| wait.min(longest))
        };
        Waits {
            resume_after: bounded(patience.resume_after_ms),
            give_up_after: bounded(patience.give_up_after_ms),
        }
    }

    /// The device has answered: the request goes on, so that its late answer is measured.
    pub(super) fn goes_on_late(&self, request: Exchange) {
        let is_measured = self.late_requests.spawn(async move {
            // Its end has been learnt from; nobody reads the answer.
            let _ = request.await;
        });
        if !is_measured {
            log::debug!("a late request is abandoned: {MAX_LATE_REQUESTS} others are waited for");
        }
    }

    /// The connection is open; returns whether it may be probed.
    fn connected(&self, rtt: Option<Duration>) -> bool {
        let mut state = self.state();
        let estimates = state.planner.estimates_mut();
        estimates.link.connected(rtt.map(ms), now());
        !estimates.network().metered
    }

    /// Opens the connection, if there is a server that this mode may use. Where the network changes meanwhile, what would come
    /// of it is of no use on the new one, and it begins again.
    pub(super) async fn connect(&self) -> Result<()> {
        let Some(transport) = &self.transport else {
            return Ok(());
        };
        let mut network = self.network_changes();
        for _ in 0..MAX_NETWORKS_OF_WARM_UP {
            if self.is_offline() {
                return Err(no_network());
            }
            tokio::select! {
                biased;
                _ = network.changed() => {}
                opened = self.open(&**transport) => return opened,
            }
        }
        Err(Error::new(
            ErrorKind::Unreachable,
            format!(
                "the network changed {MAX_NETWORKS_OF_WARM_UP} times while the connection was opened"
            ),
        ))
    }

    async fn open(&self, transport: &dyn Transport) -> Result<()> {
        let request = Sent::aside(0);
        match transport.warm_up().await {
            Ok(rtt) => {
                if self.connected(rtt) {
                    probe::while_warming_up(self).await;
                }
                Ok(())
            }
            Err(error) => {
                self.remote_failed(&request, &error);
                Err(error)
            }
        }
    }

    /// Builds the spans of the plan that would be chosen, and of what stands in for it; the first time a run of zeros
    /// through them tells how fast this device is, which may change what is chosen.
    pub(super) async fn prepare_spans(&self) -> Result<()> {
        let Some(cut) = self.cut_to_prepare() else {
            return Ok(());
        };
        let executor = self.executor.clone();
        off_thread(move || executor.prepare(cut)).await?;
        if self.state().planner.estimates().device.seen().is_some() {
            return Ok(());
        }
        let (executor, manifest) = (self.executor.clone(), self.manifest.clone());
        let run = off_thread(move || run_zeros(&*executor, &manifest)).await?;
        self.device_ran(ms(run.elapsed));
        match self.cut_to_prepare() {
            Some(better) if better != cut => {
                let executor = self.executor.clone();
                off_thread(move || executor.prepare(better)).await
            }
            _ => Ok(()),
        }
    }

    /// Learns from a run of the whole model.
    fn device_ran(&self, elapsed_ms: f64) {
        let mut state = self.state();
        let device = &mut state.planner.estimates_mut().device;
        device.observe(0, self.manifest.last_cut(), elapsed_ms, now());
    }

    /// The cut whose spans the best plan of now needs; none if it needs no span at all.
    fn cut_to_prepare(&self) -> Option<usize> {
        let ready_cuts = self.executor.ready_cuts();
        match self.state().planner.would_choose(&ready_cuts, now()) {
            Plan::Split { cut, .. } => Some(cut),
            Plan::Photo(_) if self.policy.if_server_fails == IfServerFails::Fail => None,
            Plan::Photo(_) | Plan::Device => Some(self.manifest.last_cut()),
        }
    }
}

impl State {
    pub(super) fn is_offline(&self) -> bool {
        self.planner.estimates().network().kind == NetworkKind::None
    }
}

/// The whole model, once.
fn run_zeros(executor: &dyn Executor, manifest: &Manifest) -> Result<SpanRun> {
    let Some(input) = manifest.cuts.first() else {
        return Err(Error::new(
            ErrorKind::InvalidBundle,
            "the bundle has no cuts",
        ));
    };
    executor.run(
        Activation::zeros(input)?,
        manifest.last_cut(),
        &Cancel::new(),
    )
}

/// Why nothing is sent where there is no network.
pub(super) fn no_network() -> Error {
    Error::new(
        ErrorKind::Unreachable,
        "the device has no network: nothing is sent until on_network_changed reports one",
    )
}

/// The calibration and the loss that it must keep, where there is one.
///
/// Fails with [`ErrorKind::InvalidArgument`] if a loss was named that nothing can keep.
fn limit<'a>(
    calibration: Option<&'a Calibration>,
    config: &ClientConfig,
) -> Result<Option<(&'a Calibration, f64)>> {
    let objective = &config.objective;
    match (calibration, objective.limits.accuracy_drop_pp) {
        (Some(calibration), _) => Ok(Some((calibration, objective.accuracy_drop_pp()))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Error::new(
            ErrorKind::InvalidArgument,
            "a limit of the loss of accuracy needs a calibrated bundle: prepare it with \
             --calibrate, or leave the limit away",
        )),
    }
}

/// The plans among which a client chooses what runs first.
fn plans(
    manifest: &Manifest,
    policy: ModePolicy,
    has_server: bool,
    config: &ClientConfig,
) -> Result<Vec<SpacePlan>> {
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
        return Ok(vec![SpacePlan::unmeasured(plan)]);
    }
    Ok(match policy.first {
        First::Best if has_server => {
            all_plans(manifest, config.precision, config.codec, config.photo)
        }
        First::Server if has_server => vec![SpacePlan::unmeasured(Plan::Photo(config.photo))],
        First::Best | First::Device | First::Server => {
            vec![SpacePlan::unmeasured(Plan::Device)]
        }
    })
}
