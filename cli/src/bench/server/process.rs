//! What a server's process holds while it is loaded: memory, file descriptors, threads.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

const KIB_PER_MIB: f64 = 1024.0;
const SECONDS_PER_HOUR: f64 = 3600.0;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Since the first look.
    pub(super) at_s: f64,
    pub(super) rss_mib: f64,
    pub(super) fds: usize,
    pub(super) threads: usize,
}

/// A process on this machine, seen through `/proc`.
#[derive(Debug, Clone)]
pub(super) struct Process(PathBuf);

impl Process {
    /// Fails where there is no `/proc` or no such process.
    pub(super) fn new(id: u32) -> Result<Self> {
        let process = Self(PathBuf::from(format!("/proc/{id}")));
        process.look(Instant::now())?;
        Ok(process)
    }

    fn look(&self, since: Instant) -> Result<Sample> {
        let status = std::fs::read_to_string(self.0.join("status"))
            .with_context(|| format!("{} tells nothing", self.0.display()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let entries =
            |folder: &str| Ok::<_, std::io::Error>(std::fs::read_dir(self.0.join(folder))?.count());
        Ok(Sample {
            at_s: since.elapsed().as_secs_f64(),
            rss_mib: field("VmRSS:").context("the process has no memory left")? / KIB_PER_MIB,
            fds: entries("fd").context("another user's process cannot be watched")?,
            threads: entries("task")?,
        })
    }

    /// Looks at it every `interval`, from now until `work` is done; and what came of `work`.
    ///
    /// Fails if the process ends meanwhile.
    pub(super) fn during<T>(
        &self,
        interval: Duration,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Vec<Sample>)> {
        std::thread::scope(|scope| {
            let (done, is_done) = channel::<()>();
            let watcher = scope.spawn(move || {
                let since = Instant::now();
                let mut samples = vec![self.look(since)?];
                while is_done.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                    samples.push(self.look(since)?);
                }
                anyhow::Ok(samples)
            });
            let result = work();
            drop(done);
            let samples = watcher.join().map_err(|_| anyhow!("the watcher failed"))?;
            Ok((result?, samples?))
        })
    }
}

/// How a number of the samples changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Trend {
    pub(super) first: f64,
    pub(super) last: f64,
    pub(super) most: f64,
    /// Slope of the straight line that fits best (least squares).
    pub(super) per_hour: f64,
}

impl Trend {
    /// Of at least one sample.
    pub(super) fn of(samples: &[Sample], number: impl Fn(&Sample) -> f64) -> Option<Self> {
        let points: Vec<(f64, f64)> = samples.iter().map(|s| (s.at_s, number(s))).collect();
        let (first, last) = (points.first()?.1, points.last()?.1);
        let count = points.len() as f64;
        let mean_x = points.iter().map(|p| p.0).sum::<f64>() / count;
        let mean_y = points.iter().map(|p| p.1).sum::<f64>() / count;
        let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
        let both: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
        let per_second = if spread > 0.0 { both / spread } else { 0.0 };
        Some(Self {
            first,
            last,
            most: points.iter().map(|p| p.1).fold(first, f64::max),
            per_hour: per_second * SECONDS_PER_HOUR,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_is_the_slope_of_what_was_seen() {
        let sample = |minute: u8, rss_mib: f64| Sample {
            at_s: 60.0 * f64::from(minute),
            rss_mib,
            fds: 9,
            threads: 3,
        };
        let samples: Vec<Sample> = (0..30u8).map(|m| sample(m, 100.0 + f64::from(m))).collect();
        let rss = Trend::of(&samples, |s| s.rss_mib).unwrap();
        assert!((rss.per_hour - 60.0).abs() < 1e-6, "{rss:?}");
        assert!((rss.last - 129.0).abs() < 1e-9 && (rss.most - 129.0).abs() < 1e-9);
        let fds = Trend::of(&samples, |s| s.fds as f64).unwrap();
        assert!(fds.per_hour.abs() < 1e-9);
        assert!(
            Trend::of(&samples[..1], |s| s.rss_mib)
                .unwrap()
                .per_hour
                .abs()
                < 1e-9
        );
        assert_eq!(Trend::of(&[], |s| s.rss_mib), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_watched() {
        let process = Process::new(std::process::id()).unwrap();
        let (done, samples) = process.during(Duration::from_millis(1), || Ok(7)).unwrap();
        assert_eq!(done, 7);
        assert!(
            samples
                .iter()
                .all(|s| s.rss_mib > 1.0 && s.fds > 2 && s.threads > 0)
        );
        assert!(Process::new(u32::MAX).is_err());
    }
}
