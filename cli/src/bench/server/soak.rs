//! A long run at a part of the capacity, and what the server's process holds meanwhile.

use std::time::Duration;

use serde::Serialize;

use super::chart::{Line, Panel, svg};
use super::process::{Sample, Trend};
use super::report::Step;

/// Most looks at the process; a longer run is looked at less often.
const MOST_SAMPLES: u32 = 600;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);
/// The first part of a run, in which buffers grow, is left out of the trends.
const SETTLING: f64 = 0.25;
const SECONDS_PER_MINUTE: f64 = 60.0;

/// What is said of the run.
#[derive(Debug, Serialize)]
pub(super) struct Soak {
    pub(super) step: Step,
    /// None where the process is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<Held>,
}

/// What the process held.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    /// Of the last three quarters of the run.
    pub(super) rss_mib: Trend,
    pub(super) fds: Trend,
    pub(super) threads: Trend,
    pub(super) samples: Vec<Sample>,
}

/// How often a run of this length is looked at.
pub(super) fn interval(time: Duration) -> Duration {
    (time / MOST_SAMPLES).max(SHORTEST_INTERVAL)
}

impl Held {
    /// None without a sample.
    pub(super) fn new(samples: Vec<Sample>) -> Option<Self> {
        let from = samples.last()?.at_s * SETTLING;
        let settled: Vec<Sample> = samples.iter().copied().filter(|s| s.at_s >= from).collect();
        Some(Self {
            rss_mib: Trend::of(&settled, |s| s.rss_mib)?,
            fds: Trend::of(&settled, |s| s.fds as f64)?,
            threads: Trend::of(&settled, |s| s.threads as f64)?,
            samples,
        })
    }

    /// For people.
    pub(super) fn lines(&self) -> [String; 3] {
        let line = |what: &str, unit: &str, trend: &Trend| {
            format!(
                "{what}: {:.1}{unit} after a quarter of the time, {:.1}{unit} at the end, at most \
                 {:.1}{unit}; {:+.2}{unit} an hour",
                trend.first, trend.last, trend.most, trend.per_hour
            )
        };
        [
            line("memory", " MiB", &self.rss_mib),
            line("file descriptors", "", &self.fds),
            line("threads", "", &self.threads),
        ]
    }

    /// Memory, descriptors and threads over time.
    pub(super) fn picture(&self, model: &str) -> String {
        let line = |name, number: &dyn Fn(&Sample) -> f64| Line {
            name,
            points: self
                .samples
                .iter()
                .map(|s| (s.at_s / SECONDS_PER_MINUTE, number(s)))
                .collect(),
        };
        let panel = |title: &str, lines| Panel {
            title: title.to_owned(),
            x_title: "minutes",
            logarithmic: false,
            lines,
            level: None,
        };
        let panels = [
            panel("resident memory, MiB", vec![line("memory", &|s| s.rss_mib)]),
            panel(
                "file descriptors and threads",
                vec![
                    line("file descriptors", &|s| s.fds as f64),
                    line("threads", &|s| s.threads as f64),
                ],
            ),
        ];
        svg(
            &format!("{model}: what the server holds under load"),
            &panels,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_quarter_does_not_count() {
        let sample = |second: u8| Sample {
            at_s: f64::from(second),
            rss_mib: if second < 25 { f64::from(second) } else { 80.0 },
            fds: 12,
            threads: 4,
        };
        let held = Held::new((0..=100).map(sample).collect()).unwrap();
        assert!(held.rss_mib.per_hour.abs() < 1e-6, "{:?}", held.rss_mib);
        assert_eq!(held.samples.len(), 101);
        roxmltree::Document::parse(&held.picture("a & b")).unwrap();
        assert!(held.lines()[0].contains("80.0 MiB at the end"));
        assert!(Held::new(Vec::new()).is_none());
    }

    #[test]
    fn long_runs_are_looked_at_less_often() {
        assert_eq!(interval(Duration::from_secs(2)), SHORTEST_INTERVAL);
        assert_eq!(interval(Duration::from_mins(20)), Duration::from_secs(2));
    }
}
