//! Waking when a request is due, to within tenths of a millisecond: the async runtime's own timer
//! knows milliseconds only, and spinning would take the core from the answers. So a thread sleeps.

use std::time::Instant;

use anyhow::{Context, Result};
use tokio::sync::mpsc::{Receiver, channel};

use super::schedule::Schedule;

/// Requests that are due and not yet begun, at most; what is due beyond them is begun later, and
/// its delay counts.
const MAX_DUE: usize = 1_000;

/// Each time at which a request is due, from `start` and before `end`, as it comes.
///
/// On the cores of the calling thread; ends early once nobody receives.
pub(super) fn paced(schedule: Schedule, start: Instant, end: Instant) -> Result<Receiver<Instant>> {
    let (sender, receiver) = channel(MAX_DUE);
    let times = schedule
        .map(move |due| start + due)
        .take_while(move |due| *due < end);
    std::thread::Builder::new()
        .name("pacer".to_owned())
        .spawn(move || {
            for due in times {
                let left = due.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    std::thread::sleep(left);
                }
                if sender.blocking_send(due).is_err() {
                    break;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::schedule::Arrivals;
    use super::*;

    #[test]
    fn every_time_comes_once_it_is_reached() {
        let schedule = || Schedule::new(Arrivals::Poisson, 2_000.0, 1);
        let start = Instant::now();
        let end = start + Duration::from_millis(50);
        let mut times = paced(schedule(), start, end).unwrap();
        let mut seen = Vec::new();
        while let Some(due) = times.blocking_recv() {
            assert!(due <= Instant::now());
            seen.push(due);
        }
        let expected: Vec<Instant> = schedule()
            .map(|due| start + due)
            .take_while(|due| *due < end)
            .collect();
        assert_eq!(seen, expected);
    }
}
