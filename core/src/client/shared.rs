//! What all calls of one client share, and what they learn from each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::config::ClientConfig;
use super::holdoff::HoldOff;
use super::local::{Packers, off_thread};
use super::mode::{First, IfServerFails, ModePolicy};
use super::report::Fallback;
use super::transport::{ServerTiming, Transport};
use super::{Known, ms, now};
use crate::bundle::{Calibration, Manifest};
use crate::runtime::Executor;
use crate::schedule::{
    Candidate, Estimates, Explanation, LinkSample, PhotoCodec, Plan, Planner, SpacePlan, all_plans,
    calibrated_plans,
};
use crate::{Error, ErrorKind, Result};

/// A request is given this many times the time it is expected to take, ...
const DEADLINE_FACTOR: f64 = 3.0;
/// ... and this much more, in milliseconds, for what no estimate knows.
const DEADLINE_MARGIN_MS: f64 = 50.0;

/// What all clones and calls of a client share.
pub(super) struct Shared {
    pub(super) manifest: Arc<Manifest>,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) transport: Option<Arc<dyn Transport>>,
    pub(super) config: ClientConfig,
    pub(super) policy: ModePolicy,
    pub(super) packers: Packers,
    pub(super) state: Mutex<State>,
}

/// What calls learn from each other. Locked for moments, never across an await.
pub(super) struct State {
    pub(super) planner: Planner,
    pub(super) holdoff: HoldOff,
}

/// How a call begins.
pub(super) struct Start {
    pub(super) candidate: Candidate,
    /// Set if the server would have been asked, were it not left alone.
    pub(super) fallback: Option<Fallback>,
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
        if let Some((calibration, max_drop_pp)) = limit
            && config.plan.is_none()
            && policy.first == First::Cheapest
            && has_server
        {
            plans = calibrated_plans(&manifest, calibration, max_drop_pp);
        }
        let state = State {
            planner: Planner::new(&plans, estimates, config.objective.clone()),
            holdoff: HoldOff::new(config.backoff_min, config.backoff_max),
        };
        Ok(Self {
            manifest,
            executor,
            transport: transport.filter(|_| policy.may_use_network()),
            config,
            policy,
            packers: Packers::new(shaping.unwrap_or_default()),
            state: Mutex::new(state),
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
    pub(super) fn begin(&self, now: Instant) -> Start {
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

    /// Name of the model on the server.
    pub(super) fn model(&self) -> &str {
        self.config.model.as_deref().unwrap_or(&self.manifest.model)
    }

    /// Whether the server refused this bundle.
    pub(super) fn switched_off(&self) -> bool {
        let held = self.state().holdoff.held(now());
        held.is_some_and(|held| held.remaining.is_none())
    }

    /// How long a request of `bytes` is given.
    pub(super) fn deadline(&self, plan: Plan, bytes: usize) -> Duration {
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
    pub(super) fn remote_answered(&self, plan: Plan, sample: LinkSample, timing: &ServerTiming) {
        let mut state = self.state();
        state.holdoff.succeeded();
        let estimates = state.planner.estimates_mut();
        estimates.link.answered(sample);
        let ServerTiming {
            unpack_ms,
            queue_ms,
            infer_ms,
            ..
        } = *timing;
        estimates.served(&plan, unpack_ms, queue_ms, infer_ms, now());
    }

    /// Learns from a request sent at `sent` that failed.
    pub(super) fn remote_failed(&self, error: &Error, sent: Instant) {
        let now = now();
        let mut state = self.state();
        let link = &mut state.planner.estimates_mut().link;
        match error.kind() {
            ErrorKind::Cancelled => return,
            ErrorKind::DeadlineExceeded => link.late(0, sent, now),
            ErrorKind::Unreachable => link.broken(),
            _ => {}
        }
        let switched_off = state.holdoff.failed(error.kind(), sent, now);
        drop(state);
        if switched_off {
            log::warn!(
                "the server does not have this bundle of {}; this client leaves it alone: {error}",
                self.manifest.model
            );
        } else {
            log::info!("the server failed ({}): {error}", error.kind());
        }
    }

    /// Opens the connection, if there is a server that this mode may use.
    pub(super) async fn connect(&self) -> Result<()> {
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
    pub(super) async fn prepare_spans(&self) -> Result<()> {
        let ready_cuts = self.executor.ready_cuts();
        let best = self.state().planner.choose(&ready_cuts, now()).best.plan;
        let cut = match best {
            Plan::Split { cut, .. } => cut,
            Plan::Photo(_) if self.policy.if_server_fails == IfServerFails::Fail => return Ok(()),
            Plan::Photo(_) | Plan::Device => self.manifest.last_cut(),
        };
        let executor = self.executor.clone();
        off_thread(move || executor.prepare(cut)).await
    }
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
        First::Cheapest if has_server => {
            all_plans(manifest, config.precision, config.codec, config.photo)
        }
        First::Server if has_server => vec![SpacePlan::unmeasured(Plan::Photo(config.photo))],
        First::Cheapest | First::Device | First::Server => {
            vec![SpacePlan::unmeasured(Plan::Device)]
        }
    })
}
