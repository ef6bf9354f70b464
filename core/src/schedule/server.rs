//! What the server is expected to cost: its queue and its speed, learnt from the times it reports.

use std::sync::Arc;
use std::time::Instant;

use super::ewma::Ewma;
use super::machine::{Machine, Reference};

/// Weight of the newest answer in the queue's estimate.
const QUEUE_WEIGHT: f64 = 0.5;
/// A queue seen this long ago counts half: without it, one busy moment would keep a client away
/// from a server that it then never asks again.
const QUEUE_HALF_LIFE_S: f64 = 5.0;

/// The server as one client sees it.
#[derive(Debug, Clone)]
pub struct Server {
    machine: Machine,
    queue_ms: Ewma,
    seen: Option<Instant>,
}

impl Server {
    /// A server of which nothing is known yet: no queue, and assumed to be `speed` times as fast
    /// as the reference.
    pub fn new(reference: Arc<Reference>, speed: f64) -> Self {
        Self {
            machine: Machine::with_speed(reference, speed),
            queue_ms: Ewma::new(0.0, QUEUE_WEIGHT),
            seen: None,
        }
    }

    /// Milliseconds to run the tail from cut `cut` to the last, `last`.
    pub fn tail_ms(&self, cut: usize, last: usize, now: Instant) -> f64 {
        self.machine.span_ms(cut, last, now)
    }

    /// How many times as long as the reference it takes.
    pub fn factor(&self, now: Instant) -> f64 {
        self.machine.factor(now)
    }

    /// Milliseconds to wait for a worker.
    pub fn queue_ms(&self, now: Instant) -> f64 {
        let age_s = self.seen.map_or(0.0, |seen| {
            now.saturating_duration_since(seen).as_secs_f64()
        });
        self.queue_ms.get() * 0.5_f64.powf(age_s / QUEUE_HALF_LIFE_S)
    }

    /// Learns from an answer that waited `queue_ms` and whose tail from `cut` took `infer_ms`.
    pub fn observe(&mut self, cut: usize, last: usize, queue_ms: f64, infer_ms: f64, now: Instant) {
        self.machine.observe(cut, last, infer_ms, now);
        let faded_ms = self.queue_ms(now);
        self.queue_ms.resume(faded_ms, queue_ms);
        self.queue_ms.observe(queue_ms);
        self.seen = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::schedule::fixtures::manifest;

    #[test]
    fn a_queue_that_was_forgotten_does_not_come_back_with_an_answer_that_saw_none() {
        let (manifest, now) = (manifest(), Instant::now());
        let mut server = Server::new(Arc::new(Reference::new(&manifest, None)), 1.0);
        server.observe(1, 3, 400.0, 1.0, now);
        let later = now + Duration::from_secs(20);
        assert!((server.queue_ms(later) - 25.0).abs() < 1e-6);
        server.observe(1, 3, 0.0, 1.0, later);
        assert!(server.queue_ms(later) < 13.0);
        server.observe(1, 3, 400.0, 1.0, later);
        server.observe(1, 3, 400.0, 1.0, later);
        assert!(server.queue_ms(later) > 250.0, "it is there again");
    }

    #[test]
    fn a_queue_is_forgotten_and_the_speed_is_not() {
        let (manifest, now) = (manifest(), Instant::now());
        let mut server = Server::new(Arc::new(Reference::new(&manifest, None)), 1.0);
        let prior = server.tail_ms(1, 3, now);
        server.observe(1, 3, 40.0, prior / 4.0, now);
        assert!((server.queue_ms(now) - 40.0).abs() < 1e-9);
        let later = now + Duration::from_secs(10);
        assert!((server.queue_ms(later) - 10.0).abs() < 1e-6);
        assert!((server.tail_ms(1, 3, now) - prior / 4.0).abs() < 1e-6);
    }
}
