//! One call: its plan, the first stage of it on the device (head and packing), and its report.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::access::Access;
use super::exchange::{self, Answered, Permit};
use super::local::{self, Finished, Rest};
use super::remote::Pending;
use super::shared::{Flow, Shared, Start};
use super::{
    BodyKind, Fallback, IfDeviceFails, IfServerFails, Inference, Label, RanOn, StageTimes, Staged,
    ms, now,
};
use crate::runtime::{Cancel, CancelOnDrop};
use crate::schedule::{Candidate, Codec, Overlap, PhotoCodec, Plan, Precision};
use crate::{Error, ErrorKind, Result, Tensor};

/// Infers a staged photo. Dropping the future cancels the span or the request under way.
pub(super) async fn infer(client: &Arc<Shared>, staged: Staged) -> Result<Inference> {
    Call::begin(client, staged).answer().await
}

/// A call under way, and what its report will say. Dropping it cancels the span under way.
pub(super) struct Call {
    pub(super) client: Arc<Shared>,
    pub(super) staged: Staged,
    pub(super) cancel: Cancel,
    pub(super) started: Instant,
    pub(super) times: StageTimes,
    pub(super) plan: Plan,
    /// What was expected of the plan that was chosen.
    pub(super) expected: Candidate,
    pub(super) access: Access,
    /// Of all requests so far.
    pub(super) bytes_up: usize,
    pub(super) second_look: bool,
    /// The server's first answer, where that is in doubt: better than none.
    pub(super) in_doubt: Option<Answered>,
    pub(super) resume_after_ms: Option<f64>,
    pub(super) fallback: Option<Fallback>,
    permit: Option<Permit>,
    _cancel_on_drop: CancelOnDrop,
}

/// What the device's stage comes to.
pub(super) enum Stage {
    /// The answer: nothing is left to do.
    Done(Box<Inference>),
    /// Something to send, and to race with.
    Remote(Box<Pending>),
}

impl Stage {
    fn done(inference: Inference) -> Self {
        Self::Done(Box::new(inference))
    }
}

impl Call {
    /// Chooses the plan of a call that has the device to itself.
    pub(super) fn begin(client: &Arc<Shared>, staged: Staged) -> Self {
        let started = now();
        Self::new(client, staged, started, client.begin(started))
    }

    /// The call of a stream's next frame, and what becomes of the frames after it.
    pub(super) fn begin_in_stream(
        client: &Arc<Shared>,
        staged: Staged,
        flow: Flow,
    ) -> (Self, Overlap) {
        let started = now();
        let (start, overlap) = client.begin_in_stream(flow, started);
        (Self::new(client, staged, started, start), overlap)
    }

    fn new(client: &Arc<Shared>, staged: Staged, started: Instant, start: Start) -> Self {
        let cancel = Cancel::new();
        Self {
            client: client.clone(),
            staged,
            cancel: cancel.clone(),
            started,
            times: StageTimes::default(),
            plan: start.candidate.plan,
            expected: start.candidate,
            access: Access::default(),
            bytes_up: 0,
            second_look: false,
            in_doubt: None,
            resume_after_ms: None,
            fallback: start.fallback,
            permit: start.permit,
            _cancel_on_drop: cancel.on_drop(),
        }
    }

    /// The same call, where it uses the device in its turn.
    pub(super) fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// All of its stages.
    pub(super) async fn answer(self) -> Result<Inference> {
        match self.on_device().await? {
            Stage::Done(inference) => Ok(*inference),
            Stage::Remote(pending) => pending.answer().await,
        }
    }

    /// The first stage: everything, or what comes before the request.
    async fn on_device(self) -> Result<Stage> {
        match self.plan {
            Plan::Device if self.client.policy.if_server_fails == IfServerFails::Fail => {
                Err(spent())
            }
            Plan::Device => self.whole().await.map(Stage::done),
            Plan::Photo(codec) => self.photo(codec).await,
            Plan::Split {
                cut,
                precision,
                codec,
            } => self.head(cut, precision, codec).await,
        }
    }

    async fn whole(mut self) -> Result<Inference> {
        let rest = Rest::Frame(self.staged.frame.clone());
        let (client, cancel) = (self.client.clone(), self.cancel.clone());
        let work = move || local::finish(&client, rest, &cancel);
        let expected_ms = self.expected.total_ms;
        match self.access.run_expecting(expected_ms, work).await {
            Ok(finished) => Ok(self.finished_here(finished)),
            Err(error) => self.last_resort(error).await,
        }
    }

    async fn head(mut self, cut: usize, precision: Precision, codec: Codec) -> Result<Stage> {
        let (client, frame) = (self.client.clone(), self.staged.frame.clone());
        let cancel = self.cancel.clone();
        let work = move || local::run_head(&client, &frame, cut, (precision, codec), &cancel);
        let head = match self.access.run(work).await {
            Ok(head) => head,
            Err(error) => return self.last_resort(error).await.map(Stage::done),
        };
        self.times.preprocess_ms += head.tensor_ms;
        self.ran_here(0, cut, head.device_ms);
        let rest = Rest::Tail(head.activation);
        match head.packed {
            Ok(message) => {
                self.packed(message.len(), head.pack_ms);
                Ok(self.remote(message.into(), BodyKind::Packed, rest))
            }
            Err(error) => {
                let error = error.context(format_args!("cannot pack cut {cut}"));
                self.resume(error, rest).await.map(Stage::done)
            }
        }
    }

    async fn photo(mut self, codec: PhotoCodec) -> Result<Stage> {
        let rest = Rest::Frame(self.staged.frame.clone());
        match self.encode(codec).await {
            Ok(photo) => Ok(self.remote(photo, BodyKind::Photo(codec), rest)),
            Err(error) => self.resume(error, rest).await.map(Stage::done),
        }
    }

    fn remote(mut self, body: Bytes, kind: BodyKind, rest: Rest) -> Stage {
        Stage::Remote(Box::new(Pending {
            permit: self.permit.take(),
            call: self,
            body,
            kind,
            rest,
        }))
    }

    /// The device failed before the server was asked: the photo goes there, if the mode allows
    /// it. A server that is left alone for a while is asked all the same, since nobody else is
    /// left.
    async fn last_resort(mut self, error: Error) -> Result<Inference> {
        let allowed = self.client.policy.if_device_fails == IfDeviceFails::SendPhoto
            && self.client.transport.is_some()
            && !is_callers_doing(error.kind())
            && !self.client.is_switched_off();
        if !allowed {
            return Err(error);
        }
        let codec = self.client.config.photo;
        self.plan = Plan::Photo(codec);
        let answer = match self.encode(codec).await {
            Ok(photo) => {
                self.bytes_up += photo.len();
                let outgoing = exchange::Outgoing {
                    plan: self.plan,
                    body: photo,
                    kind: BodyKind::Photo(codec),
                    give_up: self.client.config.remote_deadline_max,
                    permit: self.permit.take(),
                };
                self.access.leave();
                let (_, request) = exchange::send(&self.client, outgoing);
                request.await
            }
            Err(encoding) => Err(encoding),
        };
        match answer {
            Ok(answered) => {
                self.fallback = Some(Fallback {
                    kind: error.kind(),
                    message: error.to_string(),
                    from_cut: 0,
                });
                Ok(self.answered(answered))
            }
            Err(remote) if remote.kind() == ErrorKind::Cancelled => Err(remote),
            Err(remote) => Err(Error::new(
                error.kind(),
                format!("the device failed ({error}), then the server did: {remote}"),
            )),
        }
    }

    async fn encode(&mut self, codec: PhotoCodec) -> Result<Bytes> {
        let frame = self.staged.frame.clone();
        let work = move || {
            let started = Instant::now();
            Ok((frame.encode(codec)?, ms(started.elapsed())))
        };
        let (photo, encode_ms) = self.access.run(work).await?;
        self.packed(photo.len(), encode_ms);
        Ok(photo.into())
    }

    /// Milliseconds that the call has taken so far, staging included.
    pub(super) fn spent_ms(&self) -> f64 {
        self.staged.preprocess_ms + ms(now().saturating_duration_since(self.started))
    }

    fn ran_here(&mut self, from: usize, to: usize, device_ms: f64) {
        self.times.device_ms += device_ms;
        let mut state = self.client.state();
        let estimates = state.planner.estimates_mut();
        estimates.device.observe(from, to, device_ms, now());
    }

    pub(super) fn packed(&mut self, bytes: usize, pack_ms: f64) {
        self.times.pack_ms += pack_ms;
        let mut state = self.client.state();
        let estimates = state.planner.estimates_mut();
        estimates.packed(&self.plan, bytes, pack_ms, now());
    }

    /// The device's answer is the call's.
    pub(super) fn finished_here(mut self, finished: Finished) -> Inference {
        self.times.preprocess_ms += finished.tensor_ms;
        self.times.post_ms += finished.post_ms;
        let last = self.client.manifest.last_cut();
        self.ran_here(finished.from_cut, last, finished.device_ms);
        self.report(finished.outputs, finished.top, RanOn::Device)
    }

    pub(super) fn report(
        mut self,
        outputs: Vec<Tensor>,
        top: Vec<Label>,
        ran_on: RanOn,
    ) -> Inference {
        self.times.total_ms = self.spent_ms();
        self.times.preprocess_ms += self.staged.preprocess_ms;
        let (cut, levels, codec) = match self.plan {
            Plan::Device => (self.client.manifest.last_cut(), None, None),
            Plan::Photo(codec) => (0, None, Some(codec.as_str())),
            Plan::Split {
                cut,
                precision,
                codec,
            } => {
                let levels = match precision {
                    Precision::Raw => None,
                    Precision::Levels(levels) => Some(levels.get()),
                };
                (cut, levels, Some(codec.as_str()))
            }
        };
        Inference {
            top,
            outputs,
            ran_on,
            plan: self.plan,
            cut,
            levels,
            codec,
            bytes_up: self.bytes_up,
            second_look: self.second_look,
            resume_after_ms: self.resume_after_ms,
            times: self.times,
            fallback: self.fallback,
            estimated_ms: self.expected.total_ms,
        }
    }
}

/// Errors that another machine would answer with as well, or that nobody waits for.
fn is_callers_doing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Cancelled | ErrorKind::InvalidArgument | ErrorKind::InvalidImage
    )
}

/// The device is the planner's last resort, and a mode that is for the server alone has none.
fn spent() -> Error {
    Error::new(
        ErrorKind::Unreachable,
        "the bytes that may be sent in 24 hours on metered networks are spent, and the mode leaves nothing to the device: \
         raise metered_bytes_per_day, or use PREFER_CLOUD",
    )
}
