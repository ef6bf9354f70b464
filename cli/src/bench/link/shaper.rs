//! What one direction of a link does to each packet: when it arrives, or why it does not.
//!
//! A packet waits until those before it have been sent, is sent at the trace's rate, and then takes
//! the delay. It knows nothing of devices and threads, so that its tests need neither root nor
//! time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::spec::Outage;
use crate::trace::Trace;

/// How one direction behaves.
#[derive(Debug, Clone)]
pub(super) struct Direction {
    pub(super) trace: Trace,
    /// From the end of sending to the arrival.
    pub(super) delay: Duration,
    /// Bytes that may wait, the packet that is being sent included; one that finds the link idle is
    /// always taken.
    pub(super) queue_bytes: usize,
    /// Share of packets that are sent and get lost.
    pub(super) loss: f64,
    pub(super) outages: Vec<Outage>,
    /// What the losses follow from.
    pub(super) seed: u64,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    /// It gets there at this time.
    Arrives(Instant),
    /// The queue was full.
    Overflows,
    /// It was sent, and lost at random.
    Lost,
    /// The link was out when it came or when it would have been sent.
    Out,
}

/// A direction under way.
#[derive(Debug)]
pub(super) struct Shaper {
    direction: Direction,
    random: u64,
    /// When everything taken so far will have been sent.
    free_at_ms: f64,
    /// What waits: when it will have been sent, and its bytes.
    waiting: VecDeque<(f64, usize)>,
    waiting_bytes: usize,
}

impl Shaper {
    pub(super) fn new(direction: Direction) -> Self {
        Self {
            random: direction.seed,
            direction,
            free_at_ms: 0.0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// A packet that comes at `now`, on a link whose time began at `started`. Packets are offered
    /// in the order of time.
    pub(super) fn offer(&mut self, now: Instant, started: Option<Instant>, bytes: usize) -> Fate {
        let Some(started) = started else {
            return Fate::Arrives(now + self.direction.delay);
        };
        let now_ms = now.saturating_duration_since(started).as_secs_f64() * 1e3;
        while let Some(&(sent_ms, sent_bytes)) = self.waiting.front()
            && sent_ms <= now_ms
        {
            self.waiting.pop_front();
            self.waiting_bytes -= sent_bytes;
        }
        if self.is_out(now_ms) {
            return Fate::Out;
        }
        let idle = self.waiting.is_empty();
        if !idle && self.waiting_bytes + bytes > self.direction.queue_bytes {
            return Fate::Overflows;
        }
        let start_ms = self.free_at_ms.max(now_ms);
        let sent_ms = self.direction.trace.finish_ms(start_ms, bytes as f64);
        if !sent_ms.is_finite() {
            return Fate::Out;
        }
        self.free_at_ms = sent_ms;
        self.waiting.push_back((sent_ms, bytes));
        self.waiting_bytes += bytes;
        if self.is_out(sent_ms) {
            Fate::Out
        } else if self.draw() < self.direction.loss {
            Fate::Lost
        } else {
            Fate::Arrives(started + Duration::from_secs_f64(sent_ms / 1e3) + self.direction.delay)
        }
    }

    fn is_out(&self, t_ms: f64) -> bool {
        let mut outages = self.direction.outages.iter();
        outages.any(|outage| outage.holds(t_ms))
    }

    /// A number from 0 up to 1 (`SplitMix64`).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / 2f64.powi(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 12 Mbit/s: a packet of 1500 bytes a millisecond; 50 ms of delay, a queue of four packets.
    fn direction() -> Direction {
        Direction {
            trace: Trace::constant(12e6),
            delay: Duration::from_millis(50),
            queue_bytes: 6_000,
            loss: 0.0,
            outages: Vec::new(),
            seed: 1,
        }
    }

    /// Offers packets of 1500 bytes at these times: when they arrive, in whole milliseconds, or
    /// what becomes of them.
    fn offered(direction: Direction, at_ms: &[u64]) -> Vec<Result<u128, Fate>> {
        let started = Instant::now();
        let mut shaper = Shaper::new(direction);
        let mut offer = |&ms: &u64| {
            let now = started + Duration::from_millis(ms);
            match shaper.offer(now, Some(started), 1500) {
                // Rounded: times are floats in between.
                Fate::Arrives(at) => Ok((at - started + Duration::from_micros(5)).as_millis()),
                other => Err(other),
            }
        };
        at_ms.iter().map(&mut offer).collect()
    }

    #[test]
    fn packets_are_sent_one_after_the_other_and_then_delayed() {
        let arrivals = offered(direction(), &[0, 0, 0, 10, 10]);
        assert_eq!(arrivals, [Ok(51), Ok(52), Ok(53), Ok(61), Ok(62)]);
    }

    #[test]
    fn a_full_queue_takes_nothing_until_something_has_left() {
        let arrivals = offered(direction(), &[0, 0, 0, 0, 0, 1, 1]);
        let full = Err(Fate::Overflows);
        assert_eq!(
            arrivals,
            [Ok(51), Ok(52), Ok(53), Ok(54), full, Ok(55), full]
        );
    }

    #[test]
    fn an_idle_link_takes_a_packet_larger_than_its_queue() {
        let narrow = Direction {
            queue_bytes: 100,
            ..direction()
        };
        let arrivals = offered(narrow, &[0, 0, 1]);
        assert_eq!(arrivals, [Ok(51), Err(Fate::Overflows), Ok(52)]);
    }

    #[test]
    fn where_the_trace_stands_still_packets_wait() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let trace = "t_ms,kbit_s\n0,12000\n100,0\n300,12000\n";
        std::fs::write(path.path(), trace).unwrap();
        let stalling = Direction {
            trace: Trace::read(path.path()).unwrap(),
            ..direction()
        };
        let arrivals = offered(stalling, &[98, 98, 98, 150]);
        assert_eq!(arrivals, [Ok(149), Ok(150), Ok(351), Ok(352)]);
    }

    #[test]
    fn an_outage_takes_what_comes_in_it_and_what_would_be_sent_in_it() {
        let broken = Direction {
            outages: vec![Outage {
                start_ms: 2.5,
                length_ms: 10.0,
            }],
            ..direction()
        };
        let arrivals = offered(broken, &[0, 0, 0, 4, 12, 13]);
        let out = Err(Fate::Out);
        assert_eq!(arrivals, [Ok(51), Ok(52), out, out, out, Ok(64)]);
    }

    #[test]
    fn losses_are_a_share_and_follow_from_the_seed() {
        let at_ms: Vec<u64> = (0..10_000).map(|i| i * 2).collect();
        let lossy = |seed| {
            let direction = Direction {
                loss: 0.1,
                seed,
                ..direction()
            };
            offered(direction, &at_ms)
        };
        let lost = lossy(1).iter().filter(|fate| fate.is_err()).count();
        assert!((900..1_100).contains(&lost), "{lost}");
        assert_eq!(lossy(1), lossy(1));
        assert_ne!(lossy(1), lossy(2));
    }

    #[test]
    fn before_its_time_begins_the_link_only_delays() {
        let mut shaper = Shaper::new(Direction {
            trace: Trace::constant(0.0),
            ..direction()
        });
        let now = Instant::now();
        let arrives = Fate::Arrives(now + Duration::from_millis(50));
        for _ in 0..100 {
            assert_eq!(shaper.offer(now, None, 1500), arrives);
        }
        assert_eq!(
            shaper.offer(now, Some(now), 1500),
            Fate::Out,
            "no rate, ever"
        );
    }
}
