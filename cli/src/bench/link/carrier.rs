//! The thread that carries one direction's packets from device to device, each when it is due.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::setpriority_process;
use rustix::thread::set_current_timer_slack;
use serde::Serialize;

use super::clock::Clock;
use super::shaper::{Direction, Fate, Shaper};
use super::tun::{MTU_BYTES, Tun};

/// Packets on their way at once; what comes on top is dropped. Far above what a rate, a delay and a
/// queue within their bounds hold.
const MAX_UNDER_WAY: usize = 1 << 17;
/// Packets that are taken in before those that have become due are looked at again.
const MAX_TAKEN_AT_ONCE: usize = 32;
/// How often an idle carrier looks whether it is to end.
const STOP_LOOK: Duration = Duration::from_millis(20);
/// How far the kernel may put a wake-up off, in nanoseconds: its default is 50 µs.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::MIN;
/// Ahead of whatever computes on this machine: a packet that waits for a core is late.
const PRIORITY: i32 = -20;
/// Lateness of an arrival that is counted as such.
const LATE: Duration = Duration::from_millis(1);

/// What became of the packets of one direction.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Counts {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Dropped because the queue was full.
    pub(super) overflowed: u64,
    /// Lost at random.
    pub(super) lost: u64,
    /// Dropped in an outage.
    pub(super) out: u64,
    /// Arrived a millisecond or more after they were due: this machine was busy.
    pub(super) late: u64,
    /// The latest of them.
    pub(super) latest_ms: f64,
    /// How late arrivals were on the mean.
    pub(super) late_ms_mean: f64,
}

/// One direction under way; ends when stopped or dropped.
#[derive(Debug)]
pub(super) struct Carrier {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Counts>>>,
}

impl Carrier {
    /// Starts to carry from one device to another.
    pub(super) fn start(
        name: &str,
        (from, to): (Arc<Tun>, Arc<Tun>),
        direction: Direction,
        clock: Arc<Clock>,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let carrying = Carrying {
            from,
            to,
            clock,
            shaper: Shaper::new(direction),
            under_way: VecDeque::new(),
            counts: Counts::default(),
            late: Duration::ZERO,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || carrying.run(&stopped))
            .context("cannot start a thread")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it: what it did.
    pub(super) fn stop(mut self) -> Result<Counts> {
        let Some(thread) = self.end() else {
            return Ok(Counts::default());
        };
        let counts = thread.map_err(|_| anyhow!("a thread of the link ended badly"))?;
        counts.context("the link broke")
    }

    fn end(&mut self) -> Option<std::thread::Result<io::Result<Counts>>> {
        self.stop.store(true, Ordering::Release);
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.end();
    }
}

struct Carrying {
    from: Arc<Tun>,
    to: Arc<Tun>,
    clock: Arc<Clock>,
    shaper: Shaper,
    /// When it arrives, and the packet; in the order of time.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    counts: Counts,
    late: Duration,
}

impl Carrying {
    fn run(mut self, stop: &AtomicBool) -> io::Result<Counts> {
        // Of this thread alone, as Linux takes "this process" here. Neither is needed for the link to
        // work; the counts tell what it costs to go without.
        if let Err(error) = setpriority_process(None, PRIORITY) {
            log::info!("the link runs at the usual priority: {error}");
        }
        if let Err(error) = set_current_timer_slack(Some(TIMER_SLACK_NS)) {
            log::info!("the link wakes up at the usual precision: {error}");
        }
        while !stop.load(Ordering::Acquire) {
            self.deliver()?;
            if self.wait()? {
                self.take()?;
            }
        }
        let arrived = self.counts.packets.max(1) as f64;
        self.counts.late_ms_mean = self.late.as_secs_f64() * 1e3 / arrived;
        Ok(self.counts)
    }

    /// Lets every packet arrive that is due.
    fn deliver(&mut self) -> io::Result<()> {
        while let Some((due, packet)) = self.under_way.front() {
            let late = Instant::now().checked_duration_since(*due);
            let Some(late) = late else {
                break;
            };
            self.to.send(packet)?;
            self.counts.packets += 1;
            self.counts.bytes += packet.len() as u64;
            self.counts.late += u64::from(late >= LATE);
            self.counts.latest_ms = self.counts.latest_ms.max(late.as_secs_f64() * 1e3);
            self.late += late;
            self.under_way.pop_front();
        }
        Ok(())
    }

    /// Waits until a packet is due or has come; returns whether one has come.
    fn wait(&self) -> io::Result<bool> {
        let next = self.under_way.front().map(|(due, _)| *due);
        let until_due = next.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = until_due.unwrap_or(STOP_LOOK).min(STOP_LOOK);
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        let mut devices = [PollFd::new(&*self.from, PollFlags::IN)];
        match poll(&mut devices, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes packets in.
    fn take(&mut self) -> io::Result<()> {
        let mut buffer = [0; MTU_BYTES as usize];
        for _ in 0..MAX_TAKEN_AT_ONCE {
            let Some(packet) = self.from.receive(&mut buffer)? else {
                break;
            };
            // The kernel looks for IPv6 neighbours of its own accord; they are not the phone's.
            if !is_ipv4(packet) {
                continue;
            }
            let fate = self
                .shaper
                .offer(Instant::now(), self.clock.started(), packet.len());
            match fate {
                Fate::Arrives(due) if self.under_way.len() < MAX_UNDER_WAY => {
                    self.under_way.push_back((due, packet.to_vec()));
                }
                Fate::Arrives(_) | Fate::Overflows => self.counts.overflowed += 1,
                Fate::Lost => self.counts.lost += 1,
                Fate::Out => self.counts.out += 1,
            }
        }
        Ok(())
    }
}

/// By the version in the first four bits.
fn is_ipv4(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 4)
}
