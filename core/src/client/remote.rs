//! The second stage of a call: a request that the device races once it is late.
//!
//! The device still holds the activation it sent. Until the answer is late, only the request is
//! waited for; from then on the device computes the rest while the request stays alive, and the
//! first good answer wins. Where that is the device's, the request goes on without the call, so
//! that a late answer is measured and one that never comes is counted.

use std::time::Duration;

use bytes::Bytes;

use super::exchange::{self, Answered, Exchange, Permit};
use super::inference::Call;
use super::learning::Sent;
use super::local::{self, Finished, Rest};
use super::{BodyKind, Fallback, IfServerFails, Inference, RanOn, ms, now};
use crate::schedule::Plan;
use crate::{Error, ErrorKind, Result};

/// A call whose device stage is done: what is to be sent, and what is left to compute without an
/// answer.
pub(super) struct Pending {
    pub(super) call: Call,
    pub(super) body: Bytes,
    pub(super) kind: BodyKind,
    pub(super) rest: Rest,
    pub(super) permit: Option<Permit>,
}

/// A request whose answer did not come in time.
struct Late {
    request: Exchange,
    under_way: Option<Sent>,
    /// For how long it was waited for.
    waited: Duration,
}

impl Pending {
    /// Sends, races, and reports. Dropping the future cancels the request and the span under way.
    pub(super) async fn answer(self) -> Result<Inference> {
        let Self {
            mut call,
            body,
            kind,
            rest,
            permit,
        } = self;
        let may_resume = call.client.policy.if_server_fails == IfServerFails::ResumeOnDevice;
        let patience = call
            .client
            .patience(&call.plan, body.len(), call.spent_ms());
        call.bytes_up += body.len();
        call.resume_after_ms = may_resume.then(|| ms(patience.resume_after));
        let outgoing = exchange::Outgoing {
            plan: call.plan,
            body,
            kind,
            give_up: if may_resume {
                patience.give_up_after
            } else {
                call.client.config.remote_deadline_max
            },
            permit,
        };
        let sent = now();
        let (under_way, mut request) = exchange::send(&call.client, outgoing);
        call.access.leave();
        let answer = if may_resume {
            tokio::time::timeout(patience.resume_after, &mut request).await
        } else {
            Ok(request.as_mut().await)
        };
        match answer {
            Ok(Ok(answered)) => match call.doubts(&answered) {
                Some(look) => call.look_again(answered, look, rest).await,
                None => Ok(call.answered(answered)),
            },
            Ok(Err(error)) => {
                call.times.network_ms += ms(now().saturating_duration_since(sent));
                call.resume(error, rest).await
            }
            Err(_) => {
                let late = Late {
                    request,
                    under_way,
                    waited: patience.resume_after,
                };
                call.race(late, rest).await
            }
        }
    }
}

impl Call {
    /// The answer is late: whoever has one first now, the device or the server, wins.
    async fn race(mut self, late: Late, rest: Rest) -> Result<Inference> {
        let Late {
            mut request,
            under_way,
            waited,
        } = late;
        let (client, cancel) = (self.client.clone(), self.cancel.clone());
        let mut access = std::mem::take(&mut self.access);
        let mut device = Box::pin(async move {
            let finished = access.run(move || local::finish(&client, rest, &cancel));
            // The device is kept until what it did has been learnt from.
            (finished.await, access)
        });
        tokio::select! {
            biased;
            answer = &mut request => match answer {
                Ok(answered) if self.doubts(&answered).is_some() => {
                    let (finished, _access) = device.await;
                    self.times.network_ms += ms(waited);
                    self.confirmed_late(answered, waited, finished)
                }
                // The end of the call cancels the span under way.
                Ok(answered) => Ok(self.answered(answered)),
                Err(error) => {
                    self.times.network_ms += ms(waited);
                    let (finished, _access) = device.await;
                    self.resumed(&error, finished)
                }
            },
            (finished, access) = &mut device => match finished {
                Ok(finished) => {
                    self.times.network_ms += ms(waited);
                    if let Some(sent) = &under_way {
                        self.client.remote_goes_on(sent);
                    }
                    self.client.goes_on_late(request);
                    Ok(self.was_faster(finished, waited))
                }
                Err(local) if local.kind() == ErrorKind::Cancelled => Err(local),
                // Nobody else is left, and others of the stream may use the device.
                Err(local) => {
                    drop(access);
                    match request.await {
                        Ok(answered) if self.doubts(&answered).is_some() => {
                            self.took(&answered);
                            Ok(self.stays(answered, &local))
                        }
                        Ok(answered) => Ok(self.answered(answered)),
                        Err(error) => self.resumed(&error, Err(local)),
                    }
                }
            },
        }
    }

    fn was_faster(mut self, finished: Finished, waited: Duration) -> Inference {
        self.fallback = Some(Fallback {
            kind: ErrorKind::DeadlineExceeded,
            message: format!(
                "no answer within {:.0} ms, and the device was faster from there",
                ms(waited)
            ),
            from_cut: finished.from_cut,
        });
        self.finished_here(finished)
    }

    /// The server failed: the device computes what is left, if the mode allows it.
    pub(super) async fn resume(mut self, error: Error, rest: Rest) -> Result<Inference> {
        let must_fail = self.client.policy.if_server_fails == IfServerFails::Fail;
        if must_fail || error.kind() == ErrorKind::Cancelled {
            return Err(error);
        }
        let (client, cancel) = (self.client.clone(), self.cancel.clone());
        let work = move || local::finish(&client, rest, &cancel);
        let finished = self.access.run(work).await;
        self.resumed(&error, finished)
    }

    fn resumed(mut self, error: &Error, finished: Result<Finished>) -> Result<Inference> {
        match finished {
            Ok(finished) => {
                self.fallback = Some(Fallback {
                    kind: error.kind(),
                    message: error.to_string(),
                    from_cut: finished.from_cut,
                });
                Ok(self.finished_here(finished))
            }
            Err(local) if local.kind() == ErrorKind::Cancelled => Err(local),
            Err(local) => {
                let failed = Error::new(
                    local.kind(),
                    format!("the server failed ({error}), then the device did: {local}"),
                );
                match self.in_doubt.take() {
                    Some(answered) => Ok(self.stays(answered, &failed)),
                    None => Err(failed),
                }
            }
        }
    }

    /// The server's answer is the call's.
    pub(super) fn answered(mut self, answered: Answered) -> Inference {
        self.took(&answered);
        self.taken(answered)
    }

    /// The same for an answer whose times are counted.
    pub(super) fn taken(mut self, answered: Answered) -> Inference {
        let outputs = answered.answer.outputs;
        let started = std::time::Instant::now();
        let top = local::labels(&self.client, &outputs);
        self.times.post_ms += ms(started.elapsed());
        let ran_on = match self.plan {
            Plan::Split { cut, .. } if cut > 0 => RanOn::Split,
            Plan::Device | Plan::Photo(_) | Plan::Split { .. } => RanOn::Server,
        };
        self.report(outputs, top, ran_on)
    }

    /// Adds what a request took.
    pub(super) fn took(&mut self, answered: &Answered) {
        let timing = &answered.answer.timing;
        let server_ms = timing.unpack_ms + timing.infer_ms;
        self.times.network_ms += (answered.wall_ms - server_ms - timing.queue_ms).max(0.0);
        self.times.queue_ms += timing.queue_ms;
        self.times.server_ms += server_ms;
    }
}
