//! Frames that the JNI door staged, until their inference redeems them.
//!
//! The door hands out a number: nothing depends on how UniFFI encodes its objects, and there is no
//! object to let go.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dyno_core::client::Staged;

use crate::error::{DynoError, Result};

/// Most frames that wait to be redeemed. One more, and the oldest is forgotten: it belongs to a
/// call that ended between staging and inferring.
const MAX_WAITING: usize = 256;

/// Frames by ticket; tickets count up from 1, so that the first is the oldest.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    waiting: Mutex<(u64, BTreeMap<u64, Staged>)>,
}

impl Tickets {
    /// Keeps a frame; its ticket is above 0.
    pub(crate) fn issue(&self, staged: Staged) -> u64 {
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
    pub(crate) fn redeem(&self, ticket: u64) -> Result<Staged> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.1.remove(&ticket).ok_or_else(|| {
            DynoError::invalid(format!(
                "no frame waits under ticket {ticket}: each is inferred once, and at most \
                 {MAX_WAITING} wait"
            ))
        })
    }
}
