//! A call whose answer is in doubt: the server is asked again, with a finer message of what is still at hand, or
//! the device computes the rest.
//!
//! The first message was coarse, because most answers are clear all the same; that one is close between two
//! classes, the answer says itself. The server knows nothing of it: the second request is like any other.

use super::BodyKind;
use super::exchange::Answered;
use super::inference::Call;
use super::local::{self, Finished, Repacked, Rest};
use super::remote::Pending;
use super::report::Inference;
use crate::schedule::{Plan, SecondLook};
use crate::{ErrorKind, Result};

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
        if !look.plan.uses_server() {
            let (client, cancel) = (self.client.clone(), self.cancel.clone());
            let work = move || local::finish(&client, rest, &cancel);
            let finished = self.access.run(work).await;
            return self.confirmed_here(answered, finished);
        }
        self.took(&answered);
        if let Some(error) = self.client.refusal_of(&look.plan) {
            return self.resume(error, rest).await;
        }
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
            // The server has just answered: it is not left alone.
            permit: None,
        };
        Box::pin(pending.answer()).await
    }

    /// The server's answer is in doubt, and the device has finished: whose answer is the call's.
    pub(super) fn confirmed_here(
        mut self,
        answered: Answered,
        finished: Result<Finished>,
    ) -> Result<Inference> {
        match finished {
            Ok(finished) => {
                self.took(&answered);
                Ok(self.finished_here(finished))
            }
            Err(local) if local.kind() == ErrorKind::Cancelled => Err(local),
            // What it computed from is gone, and nobody else is left.
            Err(local) => {
                log::warn!("an answer that is in doubt stays, since the device failed: {local}");
                Ok(self.answered(answered))
            }
        }
    }
}
