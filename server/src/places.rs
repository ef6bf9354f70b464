//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Refusal;

/// Hands out places for connections.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    most_per_address: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only of addresses that have connections, so that there are never more than those.
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    address: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    pub(crate) fn new(most: usize, most_per_address: usize) -> Self {
        Self {
            most,
            most_per_address,
            taken: Arc::default(),
        }
    }

    /// A place for a connection from `peer`, now or never: refused if all are taken, or all that
    /// one address may have.
    pub(crate) fn take(&self, peer: IpAddr) -> Result<Place, Refusal> {
        let address = subscriber(peer);
        let mut taken = lock(&self.taken);
        if taken.all >= self.most {
            return Err(Refusal::Connections);
        }
        let count = taken.by_address.get(&address).copied().unwrap_or(0);
        if count >= self.most_per_address {
            return Err(Refusal::PerAddress);
        }
        taken.all += 1;
        taken.by_address.insert(address, count + 1);
        drop(taken);
        Ok(Place {
            address,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all = taken.all.saturating_sub(1);
        if let Entry::Occupied(mut count) = taken.by_address.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What counts as one address: with IPv6 a network of 64 bits, which is what one subscriber has.
pub(crate) fn subscriber(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let places = Places::new(3, 2);
        let greedy = address("192.0.2.1");
        let first = places.take(greedy).unwrap();
        let _second = places.take(greedy).unwrap();
        assert_eq!(places.take(greedy).unwrap_err(), Refusal::PerAddress);
        drop(first);
        let _third = places.take(greedy).unwrap();
        let _other = places.take(address("192.0.2.2")).unwrap();
        let refused = places.take(address("192.0.2.3"));
        assert_eq!(refused.unwrap_err(), Refusal::Connections);
    }

    #[test]
    fn places_that_are_left_leave_nothing_behind() {
        let places = Places::new(3, 1);
        for last in 1..=255 {
            drop(places.take(IpAddr::from([192, 0, 2, last])).unwrap());
        }
        let taken = lock(&places.taken);
        assert_eq!((taken.all, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_ipv4_its_own() {
        let places = Places::new(9, 1);
        let mut held = Vec::new();
        for (peer, taken) in [
            ("2001:db8::1", true),
            ("2001:db8::2:0:0:2", false),
            ("2001:db8:0:1::1", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", false),
            ("::ffff:192.0.2.2", true),
        ] {
            let place = places.take(address(peer));
            assert_eq!(place.is_ok(), taken, "{peer}");
            held.extend(place);
        }
    }
}
