//! A call whose answer is in doubt: the server is asked again, with a finer message of what is still at hand, or
//! the device computes the rest.
//!
//! The first message was coarse, because most answers are clear all the same; that one is close between two
//! classes, the answer says itself. The server knows nothing of it: the second request is like any other.

use std::time::Duration;

use super::exchange::Answered;
use super::inference::Call;
use super::local::{self, Finished, Repacked, Rest};
use super::remote::Pending;
use super::report::{Fallback, Inference};
use super::{BodyKind, ms};
use crate::schedule::{Plan, SecondLook};
use crate::{Error, ErrorKind, Result};

impl Call {
    /// What is to be done if the server's answer to the first message is in doubt.
    pub(super) fn doubts(&mut self, answered: &Answered) -> Option<SecondLook> {
        // Once: the second answer is good.
        let look = self.expected.second_look.take()?;
        let is_in_doubt = look.doubts(&answered.answer.outputs);
        let mut state = self.client.state();
        let estimates = state.planner.estimates_mut();
        estimates.doubts.observe(look.share, is_in_doubt);
        drop(state);
        self.second_look = is_in_doubt;
        is_in_doubt.then_some(look)
    }

    /// Packs what is left more finely, sends it, and is answered by that as by any request; or leaves it to the
    /// device.
    pub(super) async fn look_again(
        mut self,
        answered: Answered,
        look: SecondLook,
        rest: Rest,
    ) -> Result<Inference> {
        self.took(&answered);
        if !look.plan.uses_server() {
            let (client, cancel) = (self.client.clone(), self.cancel.clone());
            let work = move || local::finish(&client, rest, &cancel);
            let finished = self.access.run(work).await;
            return self.confirmed(answered, finished);
        }
        self.in_doubt = Some(answered);
        // Others may have learnt meanwhile that the server is to be left alone.
        let permit = match self.client.ask_again(look.plan) {
            Ok(permit) => permit,
            Err(error) => return self.resume(error, rest).await,
        };
        self.plan = look.plan;
        let (client, cancel) = (self.client.clone(), self.cancel.clone());
        let work = move || local::repack(&client, rest, look.plan, &cancel);
        let Repacked {
            rest,
            message,
            pack_ms,
        } = self.access.run(work).await?;
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                let error = error.context("the answer is in doubt, and cannot be asked for again");
                return self.resume(error, rest).await;
            }
        };
        self.packed(message.len(), pack_ms);
        let kind = match look.plan {
            Plan::Photo(codec) => BodyKind::Photo(codec),
            Plan::Device | Plan::Split { .. } => BodyKind::Packed,
        };
        let pending = Pending {
            call: self,
            body: message.into(),
            kind,
            rest,
            permit,
        };
        Box::pin(pending.answer()).await
    }

    /// The device has finished what is in doubt.
    fn confirmed(self, answered: Answered, finished: Result<Finished>) -> Result<Inference> {
        match finished {
            Ok(finished) => Ok(self.finished_here(finished)),
            Err(local) if local.kind() == ErrorKind::Cancelled => Err(local),
            // What it computed from is gone, and nobody else is left.
            Err(local) => Ok(self.stays(answered, &local)),
        }
    }

    /// The same where the answer came so late that the device was computing already.
    pub(super) fn confirmed_late(
        mut self,
        answered: Answered,
        waited: Duration,
        finished: Result<Finished>,
    ) -> Result<Inference> {
        if let Ok(finished) = &finished {
            self.fallback = Some(Fallback {
                kind: ErrorKind::DeadlineExceeded,
                message: format!(
                    "no answer within {:.0} ms, and the one that came later was in doubt",
                    ms(waited)
                ),
                from_cut: finished.from_cut,
            });
        }
        self.confirmed(answered, finished)
    }

    /// An answer that is in doubt is the call's after all, because of `error`: it is better than none.
    pub(super) fn stays(mut self, answered: Answered, error: &Error) -> Inference {
        self.fallback = Some(Fallback {
            kind: error.kind(),
            message: format!("the server's first answer is in doubt, and stays: {error}"),
            from_cut: self.expected.plan.inner_cut().unwrap_or(0),
        });
        self.taken(answered)
    }
}
