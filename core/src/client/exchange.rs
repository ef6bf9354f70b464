//! One request, from its sending to its end: whoever waits for it, and whether anybody does, its
//! end is learnt from.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::breaker::Pass;
use super::learning::Sent;
use super::shared::{Shared, no_network};
use super::{BodyKind, IfServerFails, TailAnswer, TailRequest, ms, now};
use crate::bundle::Manifest;
use crate::schedule::Plan;
use crate::{Error, ErrorKind, Result};

/// How much longer than its deadline a transport is waited for: it reports its own misses.
const DEADLINE_GRACE: Duration = Duration::from_millis(20);

/// Leave to send one request; given back when it is dropped unused.
pub(super) struct Permit {
    client: Weak<Shared>,
    pass: Pass,
}

impl Permit {
    pub(super) fn new(client: &Arc<Shared>, pass: Pass) -> Self {
        Self {
            client: Arc::downgrade(client),
            pass,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if matches!(self.pass, Pass::Trial(_))
            && let Some(client) = self.client.upgrade()
        {
            // Where its end was learnt from, the trial is over and this does nothing.
            client.state().breaker.release(self.pass);
        }
    }
}

/// A request that has not ended; dropped with one, it tells what is left on the way.
struct UnderWay {
    client: Weak<Shared>,
    sent: Option<Sent>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(sent) = &self.sent
            && let Some(client) = self.client.upgrade()
        {
            client.remote_abandoned(sent);
        }
    }
}

/// What is sent, and for how long its answer is waited for.
pub(super) struct Outgoing {
    pub(super) plan: Plan,
    pub(super) body: Bytes,
    pub(super) kind: BodyKind,
    pub(super) give_up: Duration,
    pub(super) permit: Option<Permit>,
}

/// An answer that holds the bundle's outputs, and how long it took.
pub(super) struct Answered {
    pub(super) answer: TailAnswer,
    pub(super) wall_ms: f64,
}

/// A request under way.
pub(super) type Exchange = Pin<Box<dyn Future<Output = Result<Answered>> + Send>>;

/// Sends a request; without a [`Sent`] none was sent, and the future says why. The future holds the client weakly,
/// so that it can outlive the call; dropped before its end, it abandons the request and blames nobody.
///
/// In modes in which the device goes on, it ends at once when the network changes: whatever was
/// sent over the old one is lost, and says nothing about the new one.
pub(super) fn send(client: &Arc<Shared>, outgoing: Outgoing) -> (Option<Sent>, Exchange) {
    let Some(transport) = client.transport.clone() else {
        let error = Error::new(ErrorKind::Unreachable, "no server was given");
        return (None, Box::pin(std::future::ready(Err(error))));
    };
    // Before anything is looked at: a change from here on is not missed.
    let mut network = client.network_changes();
    if client.is_offline() {
        return (None, Box::pin(std::future::ready(Err(no_network()))));
    }
    let Outgoing {
        plan,
        body,
        kind,
        give_up,
        permit,
    } = outgoing;
    let bytes = body.len();
    let request = TailRequest {
        model: client.model().to_owned(),
        bundle: client.manifest.hash.clone(),
        body,
        kind,
        deadline: give_up,
    };
    let manifest = client.manifest.clone();
    let device_goes_on = client.policy.if_server_fails == IfServerFails::ResumeOnDevice;
    let sent = client.sending(plan, bytes);
    let client = Arc::downgrade(client);
    let exchange = Box::pin(async move {
        let _permit = permit;
        let mut under_way = UnderWay {
            client: client.clone(),
            sent: Some(sent),
        };
        let answer = tokio::select! {
            biased;
            _ = network.changed(), if device_goes_on => {
                under_way.sent = None;
                return Err(Error::new(
                    ErrorKind::Unreachable,
                    format!("the network changed while {bytes} bytes were under way"),
                ));
            }
            answer = tokio::time::timeout(give_up + DEADLINE_GRACE, transport.infer(request)) => answer,
        };
        under_way.sent = None;
        let answer = answer
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("no answer to {bytes} bytes within {give_up:?}"),
                ))
            })
            .and_then(|answer| check_outputs(answer, &manifest));
        let wall_ms = ms(now().saturating_duration_since(sent.at));
        if let Some(client) = client.upgrade()
            && !network.has_changed().unwrap_or(true)
        {
            match &answer {
                Ok(TailAnswer { timing, .. }) => client.remote_answered(&sent, wall_ms, timing),
                Err(error) => client.remote_failed(&sent, error),
            }
        }
        answer.map(|answer| Answered { answer, wall_ms })
    });
    (Some(sent), exchange)
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
