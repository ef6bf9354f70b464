//! What an app wants of its inferences: a goal, and limits to keep on the way to it.
//!
//! The paper's objectives (arXiv 2104.09949, §5.3): one metric is optimised, or several in
//! lexicographic order or with weights, subject to limits on the others. The default is its
//! *onloading*: least server time within a latency and a loss of accuracy.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

/// Loss of accuracy, in percentage points, that plans of a calibrated bundle keep unless told.
pub const DEFAULT_MAX_ACCURACY_DROP_PP: f64 = 1.0;
/// Latency that the default objective keeps: what people take for immediate (Nielsen 1993, ch. 5).
pub const DEFAULT_MAX_LATENCY_MS: f64 = 100.0;
/// Most goals of one objective.
pub(super) const MAX_GOALS: usize = 5;

/// What can be optimised. Each has one sensible direction: throughput up, all others down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Time from the call to the answer, in milliseconds.
    Latency,
    /// Frames a second of a stream whose stages overlap: one over the slowest stage.
    Throughput,
    /// Time of the server's cores for one call, in milliseconds.
    ServerTime,
    /// Bytes sent.
    Bytes,
    /// Energy of the device, in millijoules.
    Energy,
}

impl Metric {
    /// Every metric.
    pub const ALL: &[Self] = &[
        Self::Latency,
        Self::Throughput,
        Self::ServerTime,
        Self::Bytes,
        Self::Energy,
    ];

    /// Name on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::ServerTime => "server-seconds",
            Self::Bytes => "bytes",
            Self::Energy => "energy",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Metric {
    type Err = Error;

    /// Also with its direction before it: `min:latency`, `max:throughput`.
    fn from_str(text: &str) -> Result<Self> {
        let (direction, name) = match text.split_once(':') {
            Some((direction, name)) => (Some(direction), name),
            None => (None, text),
        };
        let metric = Self::ALL.iter().find(|metric| metric.as_str() == name);
        let Some(&metric) = metric else {
            let names: Vec<_> = Self::ALL.iter().map(|m| m.as_str()).collect();
            return Err(invalid(format!(
                "unknown objective '{text}': use {}",
                names.join(", ")
            )));
        };
        let sensible = if metric == Self::Throughput {
            "max"
        } else {
            "min"
        };
        match direction {
            Some(direction) if direction != sensible => Err(invalid(format!(
                "'{text}' makes no sense: {metric} can be asked for as {sensible}:{metric}"
            ))),
            _ => Ok(metric),
        }
    }
}

/// How several metrics become one order of plans.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Goal {
    /// The first decides; among plans that are within one per cent of its best, the next does.
    InOrder(Vec<Metric>),
    /// Least weighted sum of milliseconds, milliseconds of the server, bytes and millijoules, and of
    /// the milliseconds of the slowest stage for throughput. Weights are above 0.
    Weighted(Vec<(Metric, f64)>),
}

/// What must hold besides; none of them unless set. A limit is on what is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// 95 of 100 calls are answered within this, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Frames a second that a stream reaches at least.
    pub throughput_fps: Option<f64>,
    /// Loss of accuracy, in percentage points: the upper bound that calibration found.
    pub accuracy_drop_pp: Option<f64>,
    /// Time of the server's cores for one call, in milliseconds.
    pub server_ms: Option<f64>,
    /// Bytes of one call.
    pub bytes: Option<f64>,
    /// Bytes that may be sent in any 24 hours while the network is metered.
    pub metered_bytes_per_day: Option<u64>,
    /// Energy of one call, in millijoules.
    pub energy_mj: Option<f64>,
}

/// A goal and its limits.
///
/// ```
/// use dyno_core::schedule::{Goal, Metric, Objective};
///
/// let objective = Objective::default();
/// assert_eq!(objective.goal, Goal::InOrder(vec![Metric::ServerTime, Metric::Latency]));
/// assert_eq!(objective.limits.latency_ms, Some(100.0));
/// assert_eq!("latency".parse::<Objective>()?, Objective::minimal(Metric::Latency));
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// What is optimised.
    pub goal: Goal,
    /// What is kept.
    pub limits: Limits,
}

impl Default for Objective {
    /// The paper's onloading.
    fn default() -> Self {
        Self::onloading(DEFAULT_MAX_LATENCY_MS)
    }
}

impl Objective {
    /// Least server time, then least latency, within a latency in milliseconds.
    pub fn onloading(max_latency_ms: f64) -> Self {
        Self {
            goal: Goal::InOrder(vec![Metric::ServerTime, Metric::Latency]),
            limits: Limits {
                latency_ms: Some(max_latency_ms),
                ..Limits::default()
            },
        }
    }

    /// The best of one metric, without limits.
    pub fn minimal(metric: Metric) -> Self {
        Self {
            goal: Goal::InOrder(vec![metric]),
            limits: Limits::default(),
        }
    }

    /// The metric that decides first; of a weighted goal the one with the greatest weight.
    pub fn first_metric(&self) -> Metric {
        let first = match &self.goal {
            Goal::InOrder(metrics) => metrics.first().copied(),
            Goal::Weighted(weights) => weights
                .iter()
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .map(|(metric, _)| *metric),
        };
        first.unwrap_or(Metric::Latency)
    }

    /// Whether frames a second come before everything else but the limits.
    pub(super) fn is_for_speed(&self) -> bool {
        matches!(&self.goal, Goal::InOrder(metrics) if metrics.first() == Some(&Metric::Throughput))
    }

    /// The limit of the loss of accuracy, or what holds where none is set.
    pub fn accuracy_drop_pp(&self) -> f64 {
        self.limits
            .accuracy_drop_pp
            .unwrap_or(DEFAULT_MAX_ACCURACY_DROP_PP)
    }

    /// Fails with [`ErrorKind::InvalidArgument`] if no order of plans follows from it.
    pub fn check(&self) -> Result<()> {
        let count = match &self.goal {
            Goal::InOrder(metrics) => metrics.len(),
            Goal::Weighted(weights) => {
                if let Some((metric, weight)) =
                    weights.iter().find(|(_, w)| !w.is_finite() || *w <= 0.0)
                {
                    return Err(invalid(format!(
                        "the weight of {metric} must be above 0, got {weight}"
                    )));
                }
                weights.len()
            }
        };
        if !(1..=MAX_GOALS).contains(&count) {
            return Err(invalid(format!(
                "an objective has 1 to {MAX_GOALS} metrics, got {count}"
            )));
        }
        self.limits.check()
    }
}

impl Limits {
    fn check(&self) -> Result<()> {
        for (name, value) in [
            ("latency_ms", self.latency_ms),
            ("throughput_fps", self.throughput_fps),
            ("bytes", self.bytes),
            ("energy_mj", self.energy_mj),
        ] {
            if let Some(value) = value
                && (!value.is_finite() || value <= 0.0)
            {
                return Err(invalid(format!(
                    "the limit {name} must be above 0, got {value}"
                )));
            }
        }
        for (name, value) in [
            ("accuracy_drop_pp", self.accuracy_drop_pp),
            ("server_ms", self.server_ms),
        ] {
            if let Some(value) = value
                && (!value.is_finite() || value < 0.0)
            {
                return Err(invalid(format!(
                    "the limit {name} must be at least 0, got {value}"
                )));
            }
        }
        match self.accuracy_drop_pp {
            Some(pp) if pp > 100.0 => Err(invalid(format!(
                "the limit accuracy_drop_pp must be at most 100 percentage points, got {pp}"
            ))),
            _ => Ok(()),
        }
    }
}

impl FromStr for Objective {
    type Err = Error;

    /// `onloading`; one metric (`latency`, `min:bytes`, `max:throughput`); several in order
    /// (`server-seconds,latency`); or weighted (`latency=1,energy=0.5`).
    fn from_str(text: &str) -> Result<Self> {
        if text == "onloading" {
            return Ok(Self::default());
        }
        let goal = if text.contains('=') {
            let weighted = text.split(',').map(|part| {
                let (metric, weight) = part
                    .split_once('=')
                    .ok_or_else(|| invalid(format!("'{part}' of '{text}' has no weight")))?;
                let weight = weight
                    .parse()
                    .map_err(|_| invalid(format!("'{weight}' in '{text}' is no weight")))?;
                Ok((metric.parse()?, weight))
            });
            Goal::Weighted(weighted.collect::<Result<_>>()?)
        } else {
            let metrics = text.split(',').map(str::parse);
            Goal::InOrder(metrics.collect::<Result<_>>()?)
        };
        let objective = Self {
            goal,
            limits: Limits::default(),
        };
        objective.check()?;
        Ok(objective)
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = match &self.goal {
            Goal::InOrder(metrics) => metrics.iter().map(ToString::to_string).collect(),
            Goal::Weighted(weights) => weights.iter().map(|(m, w)| format!("{m}={w}")).collect(),
        };
        f.write_str(&parts.join(","))
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_as_they_are_written() {
        for text in [
            "latency",
            "throughput",
            "server-seconds,latency",
            "bytes,energy",
            "latency=1,energy=0.5",
        ] {
            assert_eq!(text.parse::<Objective>().unwrap().to_string(), text);
        }
        let onloading = "onloading".parse::<Objective>().unwrap();
        assert_eq!(onloading, Objective::default());
        let directed = "max:throughput".parse::<Objective>().unwrap();
        assert_eq!(directed, Objective::minimal(Metric::Throughput));
    }

    #[test]
    fn what_gives_no_order_is_refused() {
        for text in [
            "",
            "speed",
            "max:latency",
            "min:throughput",
            "latency,,bytes",
            "latency=0",
            "latency=-1,bytes=1",
            "latency=1,bytes",
            "latency=x",
            "latency=inf",
            "latency,bytes,energy,throughput,server-seconds,latency",
        ] {
            let error = text.parse::<Objective>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
        }
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        type Change = fn(&mut Limits);
        let changes: &[Change] = &[
            |l| l.latency_ms = Some(0.0),
            |l| l.latency_ms = Some(f64::NAN),
            |l| l.throughput_fps = Some(-1.0),
            |l| l.accuracy_drop_pp = Some(-0.5),
            |l| l.accuracy_drop_pp = Some(101.0),
            |l| l.server_ms = Some(f64::INFINITY),
            |l| l.bytes = Some(0.0),
            |l| l.energy_mj = Some(-3.0),
        ];
        for (row, change) in changes.iter().enumerate() {
            let mut objective = Objective::default();
            change(&mut objective.limits);
            assert!(objective.check().is_err(), "row {row}");
        }
        Objective::default().check().unwrap();
    }
}
