//! Frames that the JNI door staged, until their inference redeems them.
//!
//! The door hands out a number: nothing depends on how UniFFI encodes its objects, and there is no
//! object to let go.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::{DynoError, Result};

/// Most frames that wait to be redeemed. One more, and the oldest is forgotten: it belongs to a
/// call that ended between staging and inferring.
const MAX_WAITING: usize = 256;

/// Frames by ticket; tickets count up from 1, so that the first is the oldest.
#[derive(Debug)]
pub(crate) struct Tickets<T> {
    waiting: Mutex<(u64, BTreeMap<u64, T>)>,
}

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::new((0, BTreeMap::new())),
        }
    }
}

impl<T> Tickets<T> {
    /// Keeps a frame; its ticket is above 0.
    pub(crate) fn issue(&self, staged: T) -> u64 {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, frames) = &mut *waiting;
        *last += 1;
        frames.insert(*last, staged);
        if frames.len() > MAX_WAITING {
            frames.pop_first();
        }
        *last
    }

    /// Hands a frame out, once.
    ///
    /// Fails with `invalid_argument` if it was not issued, already redeemed, or forgotten.
    pub(crate) fn redeem(&self, ticket: u64) -> Result<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.1.remove(&ticket).ok_or_else(|| {
            DynoError::invalid(format!(
                "no frame waits under ticket {ticket}: each is inferred once, and at most \
                 {MAX_WAITING} wait"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_redeemed_once() {
        let tickets = Tickets::default();
        let (first, second) = (tickets.issue("a"), tickets.issue("b"));
        assert!(first > 0 && first != second);
        assert_eq!(tickets.redeem(second), Ok("b"));
        assert_eq!(tickets.redeem(first), Ok("a"));
        assert!(tickets.redeem(first).is_err());
        assert!(tickets.redeem(0).is_err());
    }

    #[test]
    fn the_oldest_is_forgotten_when_too_many_wait() {
        let tickets = Tickets::default();
        let issued: Vec<u64> = (0..=MAX_WAITING)
            .map(|frame| tickets.issue(frame))
            .collect();
        assert!(tickets.redeem(issued[0]).is_err());
        assert_eq!(tickets.redeem(issued[1]), Ok(1));
        assert_eq!(tickets.redeem(issued[MAX_WAITING]), Ok(MAX_WAITING));
    }
}
