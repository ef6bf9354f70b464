//! The probes that calls send along in the background, while their plan stays on the device.
//!
//! When one is due is [`Probing`](crate::schedule::Probing)'s to say; here it is sent and learnt
//! from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::Pass;
use super::exchange::Permit;
use super::learning::Sent;
use super::shared::{Shared, State};
use super::transport::Probed;
use super::{ms, now};
use crate::schedule::{
    Candidate, FIRST_PROBE_BYTES, OPENING_PROBE_BYTES, opening_probe_is_worth_it,
};
use crate::{Error, ErrorKind, Result};

/// Longest time for a probe to be answered; transports report a silent server before that.
const PROBE_TIMEOUT: Duration = Duration::from_secs(6);
/// How long warming up waits for the answer to its probe.
const WARM_UP_PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a probe, and leave for it, if a call at `now` that follows the `chosen` plan is to send one along.
pub(super) fn due(
    client: &Shared,
    state: &mut State,
    chosen: &Candidate,
    ready_cuts: &[usize],
    now: Instant,
) -> Option<(usize, Pass)> {
    if client.transport.is_none() || state.is_offline() {
        return None;
    }
    let bytes = state
        .probing
        .due(&mut state.planner, chosen, ready_cuts, now)?;
    Some((bytes, state.breaker.admit(now).ok()?))
}

/// Sends a probe of `bytes` and learns from its end. It ends with the client, and with the network.
pub(super) fn send(client: &Arc<Shared>, bytes: usize, permit: Permit) {
    let Some(transport) = client.transport.clone() else {
        return;
    };
    let mut network = client.network_changes();
    let weak = Arc::downgrade(client);
    client.probes.spawn(async move {
        let _permit = permit;
        let Some(sent) = weak.upgrade().map(|client| client.probing(bytes)) else {
            return;
        };
        let probed = tokio::select! {
            biased;
            _ = network.changed() => return,
            probed = tokio::time::timeout(PROBE_TIMEOUT, transport.probe(bytes)) => probed,
        };
        let probed = probed.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::DeadlineExceeded,
                format!("no answer to a probe within {PROBE_TIMEOUT:?}"),
            ))
        });
        if let Some(client) = weak.upgrade() {
            learn(&client, &probed, &sent);
        }
    });
}

/// Sends the first probe, over a connection that was just opened: what the link carries is better known
/// before the first call than assumed. Where it carries much, a larger one opens TCP's window for the first bodies.
/// One that is not answered soon teaches nothing yet.
pub(super) async fn while_warming_up(client: &Shared) {
    if !is_answered_soon(client, FIRST_PROBE_BYTES).await {
        return;
    }
    let is_worth_it = {
        let state = client.state();
        let estimates = state.planner.estimates();
        !estimates.network().metered && opening_probe_is_worth_it(&estimates.link, now())
    };
    if is_worth_it {
        is_answered_soon(client, OPENING_PROBE_BYTES).await;
    }
}

/// Whether a probe of so many bytes was answered while warming up waits for it, and learnt from.
async fn is_answered_soon(client: &Shared, bytes: usize) -> bool {
    let Some(transport) = &client.transport else {
        return false;
    };
    let sent = Sent::aside(bytes);
    let probed = tokio::time::timeout(WARM_UP_PROBE_TIMEOUT, transport.probe(bytes)).await;
    let Ok(probed @ Ok(Some(_))) = probed else {
        return false;
    };
    learn(client, &probed, &sent);
    true
}

fn learn(client: &Shared, probed: &Result<Option<Probed>>, sent: &Sent) {
    match probed {
        Ok(Some(Probed { wall, timing })) => client.remote_answered(sent, ms(*wall), timing),
        Ok(None) => {}
        Err(error) => client.remote_failed(sent, error),
    }
}
