//! What a simulation prints: one summary a policy, the same for `dyno bench link`.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

/// All policies, by name.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Policies {
    /// One summary each.
    pub(crate) policies: BTreeMap<&'static str, Summary>,
}

/// How one policy did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Of the calls that were answered.
    pub(crate) latency_ms: Latency,
    /// Frames a second: of a stream where throughput is optimised, else one over the mean latency.
    pub(crate) throughput_fps: f64,
    pub(crate) bytes_mean: f64,
    pub(crate) server_ms_mean: f64,
    /// Mean over the calls of the upper bound of the loss that calibration found; none where a plan
    /// was not calibrated.
    pub(crate) accuracy_drop_pp: Option<f64>,
    /// Calls that broke a limit.
    pub(crate) limit_violations: usize,
    /// Those of them in which another plan would have kept the limits; only told of DynO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) avoidable_violations: Option<usize>,
    /// Share of the calls that were answered, 0 to 1.
    pub(crate) answered: f64,
    pub(crate) calls: usize,
    /// The plan that was followed most often, and for what share of the calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usual_plan: Option<(String, f64)>,
}

/// Latencies in milliseconds; NaN (null in JSON) of nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    #[serde(deserialize_with = "null_as_nan")]
    pub(crate) mean: f64,
    #[serde(deserialize_with = "null_as_nan")]
    pub(crate) p50: f64,
    #[serde(deserialize_with = "null_as_nan")]
    pub(crate) p95: f64,
    #[serde(deserialize_with = "null_as_nan")]
    pub(crate) p99: f64,
}

impl Latency {
    /// Of some latencies in any order.
    pub(crate) fn of(mut latencies_ms: Vec<f64>) -> Self {
        latencies_ms.sort_by(f64::total_cmp);
        Self {
            mean: latencies_ms.iter().sum::<f64>() / latencies_ms.len() as f64,
            p50: percentile(&latencies_ms, 50),
            p95: percentile(&latencies_ms, 95),
            p99: percentile(&latencies_ms, 99),
        }
    }

    /// Calls a second, if each began with the answer to the one before; 0 of none.
    pub(crate) fn per_second(&self) -> f64 {
        if self.mean > 0.0 {
            1e3 / self.mean
        } else {
            0.0
        }
    }
}

/// The least of the sorted values that so many of a hundred do not exceed; NaN of nothing.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

fn null_as_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl Policies {
    /// A table for people, fastest policy first.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "policy",
            "mean ms",
            "p50",
            "p95",
            "p99",
            "fps",
            "bytes",
            "server ms",
            "drop pp",
            "over limit",
            "answered",
            "calls",
            "usual plan",
        ]);
        let mut rows: Vec<_> = self.policies.iter().collect();
        rows.sort_by(|a, b| a.1.latency_ms.mean.total_cmp(&b.1.latency_ms.mean));
        for (name, s) in rows {
            let usual = s.usual_plan.as_ref();
            table.add_row([
                (*name).to_owned(),
                format!("{:.1}", s.latency_ms.mean),
                format!("{:.1}", s.latency_ms.p50),
                format!("{:.1}", s.latency_ms.p95),
                format!("{:.1}", s.latency_ms.p99),
                format!("{:.2}", s.throughput_fps),
                format!("{:.0}", s.bytes_mean),
                format!("{:.2}", s.server_ms_mean),
                s.accuracy_drop_pp
                    .map_or_else(|| "?".to_owned(), |pp| format!("{pp:.2}")),
                s.limit_violations.to_string(),
                format!("{:.1} %", 100.0 * s.answered),
                s.calls.to_string(),
                usual.map_or_else(String::new, |(plan, share)| {
                    format!("{plan} ({:.0} %)", 100.0 * share)
                }),
            ]);
        }
        for column in 1..12 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let latency = Latency::of((1..=100).rev().map(f64::from).collect());
        assert!((latency.mean - 50.5).abs() < 1e-9);
        assert!((latency.p50 - 50.0).abs() < 1e-9);
        assert!((latency.p95 - 95.0).abs() < 1e-9);
        assert!((latency.p99 - 99.0).abs() < 1e-9);
        assert!((latency.per_second() - 1e3 / 50.5).abs() < 1e-9);
        assert!((percentile(&[7.0], 50) - 7.0).abs() < 1e-9);
        assert!((percentile(&[1.0, 2.0, 3.0], 99) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn of_nothing_there_is_no_latency_and_it_is_no_fast_one() {
        let none = Latency::of(Vec::new());
        assert!(none.mean.is_nan() && none.p99.is_nan());
        assert!(none.per_second().abs() < 1e-9);
        let json = serde_json::to_string(&none).unwrap();
        assert_eq!(json, r#"{"mean":null,"p50":null,"p95":null,"p99":null}"#);
        assert!(serde_json::from_str::<Latency>(&json).unwrap().p50.is_nan());
    }
}
