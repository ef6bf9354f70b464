//! One call: plan, head, pack, send, and the way back to the device where the server fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::local::{self, Finished, Rest};
use super::shared::Shared;
use super::{
    BodyKind, Fallback, IfDeviceFails, IfServerFails, Inference, Label, RanOn, StageTimes, Staged,
    TailAnswer, TailRequest, ms, now,
};
use crate::bundle::Manifest;
use crate::runtime::Cancel;
use crate::schedule::{Codec, LinkSample, PhotoCodec, Plan, Precision};
use crate::{Error, ErrorKind, Result, Tensor};

/// How much longer than its deadline a transport is waited for: it reports its own misses.
const DEADLINE_GRACE: Duration = Duration::from_millis(20);

/// Infers a staged photo. Dropping the future cancels the span or the request under way.
pub(super) async fn infer(client: &Arc<Shared>, staged: Staged) -> Result<Inference> {
    let started = now();
    let start = client.begin(started);
    let call = Call {
        client: client.clone(),
        staged,
        cancel: Cancel::new(),
        started,
        times: StageTimes::default(),
        plan: start.candidate.plan,
        estimated_ms: start.candidate.total_ms,
        bytes_up: 0,
        fallback: start.fallback,
    };
    let _cancel_on_drop = call.cancel.clone().on_drop();
    match call.plan {
        Plan::Device => call.on_device().await,
        Plan::Photo(codec) => call.on_server(codec).await,
        Plan::Split {
            cut,
            precision,
            codec,
        } => call.split(cut, precision, codec).await,
    }
}

/// A call under way, and what its report will say.
struct Call {
    client: Arc<Shared>,
    staged: Staged,
    cancel: Cancel,
    started: Instant,
    times: StageTimes,
    plan: Plan,
    estimated_ms: f64,
    bytes_up: usize,
    fallback: Option<Fallback>,
}

/// What a server answered, with its labels.
struct Answered {
    outputs: Vec<Tensor>,
    top: Vec<Label>,
}

impl Call {
    async fn on_device(mut self) -> Result<Inference> {
        let rest = Rest::Frame(self.staged.frame.clone());
        match self.finish(rest).await {
            Ok(finished) => Ok(self.finished_here(finished)),
            Err(error) => self.last_resort(error).await,
        }
    }

    async fn split(mut self, cut: usize, precision: Precision, codec: Codec) -> Result<Inference> {
        let (client, frame) = (self.client.clone(), self.staged.frame.clone());
        let cancel = self.cancel.clone();
        let head = local::off_thread(move || {
            local::run_head(&client, &frame, cut, (precision, codec), &cancel)
        });
        let head = match head.await {
            Ok(head) => head,
            Err(error) => return self.last_resort(error).await,
        };
        self.times.preprocess_ms += head.tensor_ms;
        self.ran_here(0, cut, head.device_ms);
        let answer = match head.packed {
            Ok(message) => {
                self.packed(message.len(), head.pack_ms);
                let deadline = self.deadline(message.len());
                self.send(message.into(), BodyKind::Packed, deadline).await
            }
            Err(error) => Err(error.context(format_args!("cannot pack cut {cut}"))),
        };
        let ran_on = if cut == 0 {
            RanOn::Server
        } else {
            RanOn::Split
        };
        match answer {
            Ok(answered) => Ok(self.report(answered.outputs, answered.top, ran_on)),
            Err(error) => self.resume(error, Rest::Tail(head.activation)).await,
        }
    }

    async fn on_server(mut self, codec: PhotoCodec) -> Result<Inference> {
        let answer = match self.encode(codec).await {
            Ok(photo) => {
                let deadline = self.deadline(photo.len());
                self.send(photo, BodyKind::Photo(codec), deadline).await
            }
            Err(error) => Err(error),
        };
        match answer {
            Ok(answered) => Ok(self.report(answered.outputs, answered.top, RanOn::Server)),
            Err(error) => {
                let rest = Rest::Frame(self.staged.frame.clone());
                self.resume(error, rest).await
            }
        }
    }

    /// The server failed: the device computes what is left, if the mode allows it.
    async fn resume(mut self, error: Error, rest: Rest) -> Result<Inference> {
        let must_fail = self.client.policy.if_server_fails == IfServerFails::Fail;
        if must_fail || error.kind() == ErrorKind::Cancelled {
            return Err(error);
        }
        match self.finish(rest).await {
            Ok(finished) => {
                self.fallback = Some(Fallback {
                    kind: error.kind(),
                    message: error.to_string(),
                    from_cut: finished.from_cut,
                });
                Ok(self.finished_here(finished))
            }
            Err(local) if local.kind() == ErrorKind::Cancelled => Err(local),
            Err(local) => Err(Error::new(
                local.kind(),
                format!("the server failed ({error}), then the device did: {local}"),
            )),
        }
    }

    /// The device failed before the server was asked: the photo goes there, if the mode allows
    /// it. A server that is left alone for a while is asked all the same, since nobody else is
    /// left.
    async fn last_resort(mut self, error: Error) -> Result<Inference> {
        let allowed = self.client.policy.if_device_fails == IfDeviceFails::SendPhoto
            && self.client.transport.is_some()
            && !is_callers_doing(error.kind())
            && !self.client.switched_off();
        if !allowed {
            return Err(error);
        }
        let codec = self.client.config.photo;
        self.plan = Plan::Photo(codec);
        let deadline = self.client.config.remote_deadline_max;
        let answer = match self.encode(codec).await {
            Ok(photo) => self.send(photo, BodyKind::Photo(codec), deadline).await,
            Err(encoding) => Err(encoding),
        };
        match answer {
            Ok(answered) => {
                self.fallback = Some(Fallback {
                    kind: error.kind(),
                    message: error.to_string(),
                    from_cut: 0,
                });
                Ok(self.report(answered.outputs, answered.top, RanOn::Server))
            }
            Err(remote) if remote.kind() == ErrorKind::Cancelled => Err(remote),
            Err(remote) => Err(Error::new(
                error.kind(),
                format!("the device failed ({error}), then the server did: {remote}"),
            )),
        }
    }

    async fn finish(&mut self, rest: Rest) -> Result<Finished> {
        let (client, cancel) = (self.client.clone(), self.cancel.clone());
        // Only the plan's own estimate says how long this takes: a tail that is resumed has none.
        let expected_ms = match self.plan {
            Plan::Device => self.estimated_ms,
            _ => f64::INFINITY,
        };
        let work = move || local::finish(&client, rest, &cancel);
        let finished = local::short_or_off_thread(expected_ms, work).await?;
        self.times.preprocess_ms += finished.tensor_ms;
        self.times.post_ms += finished.post_ms;
        let last = self.client.manifest.last_cut();
        self.ran_here(finished.from_cut, last, finished.device_ms);
        Ok(finished)
    }

    async fn encode(&mut self, codec: PhotoCodec) -> Result<Bytes> {
        let frame = self.staged.frame.clone();
        let (photo, encode_ms) = local::off_thread(move || {
            let started = Instant::now();
            Ok((frame.encode(codec)?, ms(started.elapsed())))
        })
        .await?;
        self.packed(photo.len(), encode_ms);
        Ok(photo.into())
    }

    /// Sends `body`, and lets the other calls know how it went.
    async fn send(&mut self, body: Bytes, kind: BodyKind, deadline: Duration) -> Result<Answered> {
        let Some(transport) = self.client.transport.clone() else {
            return Err(Error::new(ErrorKind::Unreachable, "no server was given"));
        };
        let bytes = body.len();
        self.bytes_up = bytes;
        let request = TailRequest {
            model: self.client.model().to_owned(),
            bundle: self.client.manifest.hash.clone(),
            body,
            kind,
            deadline,
        };
        let sent = now();
        self.client
            .state()
            .planner
            .estimates_mut()
            .sent(bytes, sent);
        let answer = tokio::time::timeout(deadline + DEADLINE_GRACE, transport.infer(request))
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("no answer to {bytes} bytes within {deadline:?}"),
                ))
            })
            .and_then(|answer| check_outputs(answer, &self.client.manifest));
        let wall_ms = ms(now().saturating_duration_since(sent));
        match answer {
            Ok(answer) => Ok(self.answered(answer, sent, wall_ms)),
            Err(error) => {
                self.times.network_ms += wall_ms;
                self.client.remote_failed(&error, sent);
                Err(error)
            }
        }
    }

    fn answered(&mut self, answer: TailAnswer, sent: Instant, wall_ms: f64) -> Answered {
        let timing = &answer.timing;
        let server_ms = timing.unpack_ms + timing.infer_ms;
        self.times.network_ms += (wall_ms - server_ms - timing.queue_ms).max(0.0);
        self.times.queue_ms += timing.queue_ms;
        self.times.server_ms += server_ms;
        let sample = LinkSample {
            bytes: self.bytes_up,
            sent,
            wall_ms,
            receive_ms: timing.receive_ms,
            server_ms: timing.total_ms(),
        };
        self.client.remote_answered(self.plan, sample, timing);
        let started = Instant::now();
        let top = local::labels(&self.client, &answer.outputs);
        self.times.post_ms += ms(started.elapsed());
        Answered {
            outputs: answer.outputs,
            top,
        }
    }

    fn deadline(&self, bytes: usize) -> Duration {
        match self.client.policy.if_server_fails {
            IfServerFails::ResumeOnDevice => self.client.deadline(self.plan, bytes),
            IfServerFails::Fail => self.client.config.remote_deadline_max,
        }
    }

    fn ran_here(&mut self, from: usize, to: usize, device_ms: f64) {
        self.times.device_ms += device_ms;
        let mut state = self.client.state();
        let estimates = state.planner.estimates_mut();
        estimates.device.observe(from, to, device_ms, now());
    }

    fn packed(&mut self, bytes: usize, pack_ms: f64) {
        self.times.pack_ms += pack_ms;
        let mut state = self.client.state();
        let estimates = state.planner.estimates_mut();
        estimates.packed(&self.plan, bytes, pack_ms, now());
    }

    fn finished_here(self, finished: Finished) -> Inference {
        self.report(finished.outputs, finished.top, RanOn::Device)
    }

    fn report(mut self, outputs: Vec<Tensor>, top: Vec<Label>, ran_on: RanOn) -> Inference {
        self.times.preprocess_ms += self.staged.preprocess_ms;
        self.times.total_ms =
            self.staged.preprocess_ms + ms(now().saturating_duration_since(self.started));
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
            times: self.times,
            fallback: self.fallback,
            estimated_ms: self.estimated_ms,
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

/// An answer must hold the bundle's outputs, whatever carried it.
fn check_outputs(answer: TailAnswer, manifest: &Manifest) -> Result<TailAnswer> {
    let fits = answer.outputs.len() == manifest.outputs.len()
        && answer
            .outputs
            .iter()
            .zip(&manifest.outputs)
            .all(|(tensor, spec)| {
                tensor.shape() == spec.shape && tensor.data().element() == spec.element
            });
    if fits {
        return Ok(answer);
    }
    Err(Error::new(
        ErrorKind::Protocol,
        "the server's outputs do not have the shapes of the bundle",
    ))
}
