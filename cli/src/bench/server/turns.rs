//! Two processes on the same cores by turns of a tenth of a second, each stopped while the other runs: so both have the same
//! machine, however its speed changes from one second to the next.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Length of a turn: short beside what changes a shared machine's speed, long beside what it costs to come back to cold caches.
const TURN: Duration = Duration::from_millis(100);

/// The next time that both sides have whole turns in, wherever it begins: in it each has half.
pub(super) fn whole_turns(time: Duration) -> Duration {
    let both = TURN * 2;
    let pairs = time.as_secs_f64() / both.as_secs_f64();
    both.mul_f64(pairs.ceil().max(1.0))
}

/// A process that can be stopped and let go on; it goes on when this is dropped.
pub(super) struct Runner {
    #[cfg(target_os = "linux")]
    id: rustix::process::Pid,
}

/// How long each side ran.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Ran {
    pub(super) ours: Duration,
    pub(super) theirs: Duration,
}

/// Lets `ours` and `theirs` run by turns until `work` is done, `ours` first; how long each ran, and what came of `work`.
///
/// Fails if one of them is there no more. Both go on afterwards; if this program is killed meanwhile, one may stay stopped.
pub(super) fn by_turns<T: Send>(
    ours: &Runner,
    theirs: &Runner,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<(T, Ran)> {
    std::thread::scope(|scope| {
        let work = scope.spawn(work);
        let turns = || {
            let mut ran = Ran::default();
            while !work.is_finished() {
                ran.ours += turn(ours, theirs)?;
                ran.theirs += turn(theirs, ours)?;
            }
            anyhow::Ok(ran)
        };
        let ran = turns();
        // What `work` waits for may be one that was stopped.
        let go_on = [ours, theirs].map(Runner::go_on);
        let result = work
            .join()
            .map_err(|_| anyhow::anyhow!("the load failed while two processes took turns"))?;
        go_on.into_iter().collect::<Result<()>>()?;
        Ok((result?, ran?))
    })
}

/// The turn of one, and how long it was.
fn turn(runs: &Runner, waits: &Runner) -> Result<Duration> {
    waits.stop()?;
    runs.go_on()?;
    let start = Instant::now();
    std::thread::sleep(TURN);
    Ok(start.elapsed())
}

#[cfg(target_os = "linux")]
impl Runner {
    /// Fails if that is the number of no process.
    pub(super) fn new(id: u32) -> Result<Self> {
        use anyhow::Context as _;

        let id = i32::try_from(id)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        Ok(Self {
            id: id.context("there is no such process")?,
        })
    }

    pub(super) fn stop(&self) -> Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    pub(super) fn go_on(&self) -> Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        use anyhow::Context as _;

        rustix::process::kill_process(self.id, signal)
            .context("a process that is compared has ended, or cannot be stopped")
    }
}

#[cfg(not(target_os = "linux"))]
impl Runner {
    /// Fails: processes take turns on Linux only.
    pub(super) fn new(_id: u32) -> Result<Self> {
        anyhow::bail!("processes are compared by turns on Linux only")
    }

    pub(super) fn stop(&self) -> Result<()> {
        Ok(())
    }

    pub(super) fn go_on(&self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // One that has ended needs nothing.
        let _ = self.go_on();
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    /// Whether it is stopped: the third field of its `stat`.
    fn is_stopped(child: &Child) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.split(' ').nth(2).unwrap() == "T"
    }

    #[test]
    fn measured_times_are_of_whole_turns() {
        for (ms, expected) in [(1, 200), (200, 200), (201, 400), (5_000, 5_000)] {
            let whole = whole_turns(Duration::from_millis(ms));
            assert_eq!(whole, Duration::from_millis(expected));
        }
    }

    #[test]
    fn one_is_stopped_while_the_other_runs_and_both_go_on_afterwards() {
        let (mut one, mut other) = (sleeper(), sleeper());
        let runners = [&one, &other].map(|child| Runner::new(child.id()).unwrap());
        let looks = || {
            let mut seen = Vec::new();
            while seen.len() < 300 {
                // Not where both are stopped or neither is, between turns.
                seen.push((is_stopped(&one), is_stopped(&other)));
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(seen)
        };
        let (seen, ran) = by_turns(&runners[0], &runners[1], looks).unwrap();
        for alone in [(true, false), (false, true)] {
            let count = seen.iter().filter(|look| **look == alone).count();
            assert!(count > 50, "{alone:?} in {count} of {}", seen.len());
        }
        assert!(ran.ours >= TURN && ran.theirs >= TURN, "{ran:?}");
        assert!(!is_stopped(&one) && !is_stopped(&other));

        let failed = by_turns(&runners[0], &runners[1], || anyhow::bail!("as told"));
        let failed: anyhow::Error = failed.map(|(never, _): ((), Ran)| never).unwrap_err();
        assert_eq!(failed.to_string(), "as told");
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(by_turns(&runners[0], &runners[1], || Ok(())).is_err());
        assert!(!is_stopped(&one), "the one that is left goes on");
        one.kill().unwrap();
        one.wait().unwrap();
    }
}
