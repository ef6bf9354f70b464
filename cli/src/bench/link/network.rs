//! A phone and a server in namespaces of their own, and the link between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;

use super::carrier::{Carrier, Counts};
use super::clock::Clock;
use super::namespace::in_new_namespace;
use super::spec::LinkSpec;
use super::tun::Tun;

/// The phone's address; nobody else sees its network.
const PHONE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The server's.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// What the link carried.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Carried {
    pub(super) up: Counts,
    pub(super) down: Counts,
}

/// Lets `serve` start something in the server's namespace, at a free port of the address that it
/// is given, and `call` use it from the phone's. All that the two leave running there is cut off
/// from the network afterwards.
///
/// Each call of this makes new namespaces, so that nothing that TCP learnt in one is known in the
/// next.
pub(super) fn over<S: Send, T: Send>(
    spec: &LinkSpec,
    serve: impl FnOnce(SocketAddr) -> Result<S> + Send,
    call: impl FnOnce(&mut S, &Arc<Clock>) -> Result<T> + Send,
) -> Result<(T, Carried)> {
    let (server_end, mut service) = in_new_namespace("server", || {
        spec.congestion.choose()?;
        let end = Tun::open(SERVER)?;
        let service = serve(SocketAddr::new(IpAddr::V4(SERVER), 0))?;
        Ok((Arc::new(end), service))
    })?;
    in_new_namespace("phone", || {
        spec.congestion.choose()?;
        let phone_end = Arc::new(Tun::open(PHONE)?);
        let clock = Arc::new(Clock::default());
        let there = (phone_end.clone(), server_end.clone());
        let back = (server_end, phone_end);
        let up = Carrier::start("uplink", there, spec.up.clone(), clock.clone())?;
        let down = Carrier::start("downlink", back, spec.down.clone(), clock.clone())?;
        let result = call(&mut service, &clock);
        // A link that broke is why the calls failed.
        let carried = Carried {
            up: up.stop()?,
            down: down.stop()?,
        };
        Ok((result?, carried))
    })
}
