//! Where a request's time went, and how busy the server was: the numbers that clients plan with.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Times of one request, measured here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timing {
    /// From the request's headers to the last byte of its body.
    pub(crate) receive: Duration,
    /// Decoding the activation or the photo.
    pub(crate) unpack: Duration,
    /// Waiting: for a worker, and for the span to be free or built.
    pub(crate) queue: Duration,
    /// The runs that it was part of.
    pub(crate) infer: Duration,
    /// What it cost a worker: decoding, and its share of those runs.
    pub(crate) compute: Duration,
    #[cfg_attr(not(feature = "otlp"), allow(dead_code))]
    pub(crate) moments: Moments,
}

/// When the stages were, for traces.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(not(feature = "otlp"), allow(dead_code))]
pub(crate) struct Moments {
    /// Decoding began.
    pub(crate) unpack: Option<Instant>,
    /// From the first run to the end of the last.
    pub(crate) run: Option<(Instant, Instant)>,
}

/// The same, for JSON answers.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct TimingMs {
    pub(crate) receive: f64,
    pub(crate) unpack: f64,
    pub(crate) queue: f64,
    pub(crate) infer: f64,
}

impl Timing {
    /// Value of the `server-timing` header (W3C Server Timing; durations in milliseconds).
    pub(crate) fn server_timing(&self) -> String {
        let ms = self.ms();
        format!(
            "receive;dur={:.3}, unpack;dur={:.3}, queue;dur={:.3}, infer;dur={:.3}",
            ms.receive, ms.unpack, ms.queue, ms.infer
        )
    }

    pub(crate) fn ms(&self) -> TimingMs {
        TimingMs {
            receive: millis(self.receive),
            unpack: millis(self.unpack),
            queue: millis(self.queue),
            infer: millis(self.infer),
        }
    }
}

/// How busy the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Requests admitted and not yet answered.
    pub(crate) in_flight: usize,
    /// Requests admitted at once.
    pub(crate) capacity: usize,
}

impl Load {
    /// Value of the `dyno-load` header.
    pub(crate) fn header(self) -> String {
        format!("in-flight={}, capacity={}", self.in_flight, self.capacity)
    }
}

/// Milliseconds with the microseconds kept.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_the_protocols() {
        let timing = Timing {
            receive: Duration::from_micros(1_234),
            unpack: Duration::from_micros(500),
            queue: Duration::ZERO,
            infer: Duration::from_micros(3_200),
            ..Timing::default()
        };
        assert_eq!(
            timing.server_timing(),
            "receive;dur=1.234, unpack;dur=0.500, queue;dur=0.000, infer;dur=3.200"
        );
        let load = Load {
            in_flight: 3,
            capacity: 16,
        };
        assert_eq!(load.header(), "in-flight=3, capacity=16");
    }
}
