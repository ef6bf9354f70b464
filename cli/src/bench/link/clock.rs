//! The time of a link: that of its trace and of its outages, and of the calls over it.

use std::sync::OnceLock;
use std::time::Instant;

/// Starts once, when everything is ready. Until then the link delays, and has any rate.
#[derive(Debug, Default)]
pub(super) struct Clock(OnceLock<Instant>);

impl Clock {
    /// Lets the time of the link begin, unless it has.
    pub(super) fn start(&self) {
        self.0.get_or_init(Instant::now);
    }

    /// When it began.
    pub(super) fn started(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// Milliseconds since it began; 0 before.
    pub(super) fn now_ms(&self) -> f64 {
        let started = self.started();
        started.map_or(0.0, |started| started.elapsed().as_secs_f64() * 1e3)
    }
}
