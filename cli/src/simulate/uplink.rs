//! The true uplink: TCP's windows over a rate that changes with time.
//!
//! A connection is opened with one round trip; a fresh or idle one starts with ten segments, and its
//! window grows by about half a round trip; what is sent queues behind what was sent before. The
//! numbers are those measured with Linux's reno (`docs/simulation.md`); loss is left out.

use crate::trace::Trace;

/// First window: ten segments.
const FIRST_WINDOW_BYTES: f64 = 14_480.0;
/// Its growth in a round trip.
const GROWTH: f64 = 1.55;
/// Largest window: what phones and servers allow by default.
const MAX_WINDOW_BYTES: f64 = 4e6;
/// After so long without sending the window starts over.
const IDLE_AFTER_MS: f64 = 1_000.0;
/// What is acknowledged by itself.
const SEGMENT_BYTES: f64 = 1_400.0;
/// A request's headers, which leave before its body.
const HEADERS_BYTES: f64 = 100.0;
/// A trace's rate is that of packets, which have headers of their own: 52 bytes for 1,448.
pub(super) const PACKETS: f64 = 1_500.0 / 1_448.0;
/// Bytes of an abandoned request that the kernel sends all the same: one slice in its buffer and one
/// on the way.
const RESIDUE_BYTES: f64 = 32_768.0;

/// One connection's way up.
#[derive(Debug, Clone)]
pub(super) struct Uplink {
    rtt_ms: f64,
    window: f64,
    open: bool,
    busy_until_ms: f64,
    used_ms: f64,
}

/// When a body got there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// When the request's headers had left the phone.
    pub(super) first_ms: f64,
    /// When its last byte had; half a round trip later the server has it. Infinite on a link that
    /// never carries it.
    pub(super) last_ms: f64,
}

impl Uplink {
    pub(super) fn new(rtt_ms: f64) -> Self {
        Self {
            rtt_ms,
            window: FIRST_WINDOW_BYTES,
            open: false,
            busy_until_ms: 0.0,
            used_ms: 0.0,
        }
    }

    /// Sends `bytes` at `at_ms`.
    pub(super) fn send(&mut self, trace: &Trace, at_ms: f64, bytes: usize) -> Sent {
        let carried_ms = |from_ms, bytes| carried_ms(trace, from_ms, bytes);
        let mut released_ms = at_ms;
        if !self.open {
            released_ms += self.rtt_ms;
            self.open = true;
            self.window = FIRST_WINDOW_BYTES;
        } else if at_ms - self.used_ms > IDLE_AFTER_MS {
            self.window = FIRST_WINDOW_BYTES;
        }
        let first_ms = carried_ms(released_ms.max(self.busy_until_ms), HEADERS_BYTES);
        let mut left = (bytes as f64).max(1.0);
        let mut free_ms = first_ms;
        while left > 0.0 && free_ms.is_finite() {
            let burst = left.min(self.window);
            let start_ms = released_ms.max(free_ms);
            // No earlier than at the rate, and no earlier than the acknowledgements let it go.
            free_ms = carried_ms(start_ms, burst);
            left -= burst;
            if left > 0.0 {
                self.window = (self.window * GROWTH).min(MAX_WINDOW_BYTES);
            }
            released_ms = carried_ms(start_ms, SEGMENT_BYTES.min(burst)) + self.rtt_ms;
        }
        self.busy_until_ms = free_ms;
        self.used_ms = free_ms + self.rtt_ms;
        Sent {
            first_ms,
            last_ms: free_ms,
        }
    }

    /// With its connection open, and nothing carried yet.
    pub(super) fn connected(mut self) -> Self {
        self.open = true;
        self
    }

    /// The same connection, where all that was sent over it was sent before time began.
    pub(super) fn idle_from_the_start(mut self) -> Self {
        self.busy_until_ms = 0.0;
        self.used_ms = 0.0;
        self
    }

    /// The same connection with its window open, as it is for those who use it all the time.
    pub(super) fn opened(&self, at_ms: f64) -> Self {
        Self {
            window: MAX_WINDOW_BYTES,
            open: true,
            used_ms: at_ms,
            ..self.clone()
        }
    }

    /// Gives a request up at `at_ms`: what the kernel holds of it still goes out, and the next request
    /// opens another connection.
    pub(super) fn abandon(&mut self, trace: &Trace, at_ms: f64) {
        let residue_ms = carried_ms(trace, at_ms, RESIDUE_BYTES);
        self.busy_until_ms = self.busy_until_ms.min(residue_ms.max(at_ms));
        self.open = false;
    }
}

/// When the link has carried `bytes` that nothing holds up but its rate, from `from_ms` on.
pub(super) fn carried_ms(trace: &Trace, from_ms: f64, bytes: f64) -> f64 {
    trace.finish_ms(from_ms, bytes * PACKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 Mbit/s with 100 ms: the case that was measured over two namespaces.
    fn total_ms(uplink: &mut Uplink, at_ms: f64, bytes: usize) -> f64 {
        let trace = Trace::constant(20e6);
        uplink.send(&trace, at_ms, bytes).last_ms + 100.0 - at_ms
    }

    #[test]
    fn fresh_idle_and_warm_connections_take_what_was_measured() {
        let mut uplink = Uplink::new(100.0);
        let fresh = total_ms(&mut uplink, 0.0, 256 << 10);
        assert!((560.0..=760.0).contains(&fresh), "{fresh}");
        let warm = total_ms(&mut uplink, fresh + 150.0, 256 << 10);
        assert!((200.0..=310.0).contains(&warm), "{warm}");
        let idle = total_ms(&mut uplink, 5_000.0, 256 << 10);
        assert!((480.0..=680.0).contains(&idle), "{idle}");
        let small = total_ms(&mut uplink, 20_000.0, 13_000);
        assert!((102.0..=110.0).contains(&small), "{small}");
    }

    #[test]
    fn requests_queue_behind_each_other_and_behind_what_was_abandoned() {
        let trace = Trace::constant(1e6);
        let mut uplink = Uplink::new(10.0);
        let first = uplink.send(&trace, 0.0, 100_000);
        let second = uplink.clone().send(&trace, 1.0, 1_000);
        assert!(second.last_ms > first.last_ms);
        uplink.abandon(&trace, 100.0);
        let third = uplink.send(&trace, 100.0, 1_000);
        let expected_ms = 100.0 + (RESIDUE_BYTES + HEADERS_BYTES + 1_000.0) * PACKETS * 8e-3;
        assert!((third.last_ms - expected_ms).abs() < 1.0, "{third:?}");
    }

    #[test]
    fn a_body_takes_its_bytes_and_those_of_packets_once_the_headers_have_left() {
        // Measured over two namespaces: 1,692 bytes in 57.7 ms, 12,000 in 399.
        let trace = Trace::constant(25e4);
        for (bytes, measured_ms) in [(1_692, 57.7), (12_000, 399.2)] {
            let sent = Uplink::new(40.0).connected().send(&trace, 0.0, bytes);
            let receive_ms = sent.last_ms - sent.first_ms;
            assert!(
                (receive_ms / measured_ms - 1.0).abs() < 0.04,
                "{receive_ms}"
            );
        }
    }

    #[test]
    fn a_link_that_never_carries_never_ends() {
        let sent = Uplink::new(10.0).send(&Trace::constant(0.0), 0.0, 1_000_000);
        assert!(sent.last_ms.is_infinite());
    }
}
