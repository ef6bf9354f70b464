//! What the calls add up to: the same JSON as a simulation prints, and a table for people.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::calls::{Answer, Call};
use super::network::Carried;
use super::spec::Description;
use crate::simulate::report::Latency;

/// The JSON of `dyno bench link`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) model: String,
    /// Where device and server ran.
    pub(super) machine: String,
    pub(super) device: Device,
    pub(super) link: Description,
    pub(super) policies: BTreeMap<String, Summary>,
    /// What the link did in each policy's run; not there for one that sends nothing.
    pub(super) carried: BTreeMap<String, Carried>,
}

/// What the emulated device is.
#[derive(Debug, Serialize)]
pub(super) struct Device {
    pub(super) slowdown: f64,
    pub(super) padded: &'static str,
    pub(super) not_padded: &'static str,
}

/// One policy's calls.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    calls: usize,
    /// Share of the calls.
    answered: f64,
    /// Of the answers.
    latency_ms: Latency,
    /// One over the mean latency, as in a simulation: pauses are not part of it.
    throughput_fps: f64,
    /// Bytes sent for an answer.
    bytes_mean: f64,
    /// Time of the server for an answer, without waiting.
    server_ms_mean: f64,
    /// Share of the answers that differ from the whole model's, in percentage points.
    accuracy_drop_pp: f64,
    /// Calls without an answer within the limit, where one was given.
    limit_violations: usize,
    /// Answers by where they came from.
    ran_on: BTreeMap<&'static str, usize>,
    /// Answers that the device finished because the server did not.
    fallbacks: usize,
}

impl Summary {
    pub(super) fn new(calls: &[Call], max_latency_ms: Option<f64>) -> Self {
        let answers: Vec<&Answer> = calls.iter().filter_map(|c| c.answer.as_ref()).collect();
        let answered = calls.iter().filter(|call| call.answer.is_some());
        let latency_ms = Latency::of(answered.map(|call| call.latency_ms).collect());
        let mean = |of: &dyn Fn(&Answer) -> f64| mean(answers.iter().map(|answer| of(answer)));
        let violates = |call: &&Call| match max_latency_ms {
            Some(limit_ms) => call.answer.is_none() || call.latency_ms > limit_ms,
            None => false,
        };
        let mut ran_on = BTreeMap::new();
        for answer in &answers {
            *ran_on.entry(answer.ran_on).or_default() += 1;
        }
        Self {
            calls: calls.len(),
            answered: answers.len() as f64 / calls.len() as f64,
            throughput_fps: latency_ms.per_second(),
            bytes_mean: mean(&|answer| answer.bytes as f64),
            server_ms_mean: mean(&|answer| answer.server_ms),
            accuracy_drop_pp: mean(&|answer| f64::from(u8::from(!answer.agrees)) * 100.0),
            limit_violations: calls.iter().filter(violates).count(),
            fallbacks: answers.iter().filter(|a| a.fallback.is_some()).count(),
            ran_on,
            latency_ms,
        }
    }
}

/// NaN (null in JSON) of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

/// The table, and what is to be known about it.
pub(super) fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "policy",
        "calls",
        "answered",
        "mean",
        "p50",
        "p95",
        "p99",
        "fps",
        "bytes",
        "server",
        "differ",
        "too late",
        "finished here",
    ]);
    for (name, row) in &report.policies {
        table.add_row([
            name.clone(),
            row.calls.to_string(),
            format!("{:.1} %", row.answered * 100.0),
            format!("{:.0} ms", row.latency_ms.mean),
            format!("{:.0} ms", row.latency_ms.p50),
            format!("{:.0} ms", row.latency_ms.p95),
            format!("{:.0} ms", row.latency_ms.p99),
            format!("{:.2}", row.throughput_fps),
            format!("{:.0}", row.bytes_mean),
            format!("{:.1} ms", row.server_ms_mean),
            format!("{:.1} pp", row.accuracy_drop_pp),
            row.limit_violations.to_string(),
            row.fallbacks.to_string(),
        ]);
    }
    for column in 1..13 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let device = &report.device;
    let (packets, late) = report
        .carried
        .values()
        .flat_map(|carried| [&carried.up, &carried.down])
        .fold((0, 0), |(packets, late), c| {
            (packets + c.packets, late + c.late)
        });
    format!(
        "{} on {}, the device {} times slower ({}; not {}).\nEmulated link: {}.\n{table}\n{late} of \
         {packets} packets came a millisecond or more later than they should",
        report.model,
        report.machine,
        device.slowdown,
        device.padded,
        device.not_padded,
        report.link.line()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up() {
        let calls = [
            Call::made((1_000.0, 100.0), Some((300, true))),
            Call::made((1_200.0, 300.0), Some((100, false))),
            Call::made((1_600.0, 5_000.0), None),
            Call::made((6_700.0, 200.0), Some((200, true))),
        ];
        let expected = Summary {
            calls: 4,
            answered: 0.75,
            latency_ms: Latency {
                mean: 200.0,
                p50: 200.0,
                p95: 300.0,
                p99: 300.0,
            },
            throughput_fps: 5.0,
            bytes_mean: 200.0,
            server_ms_mean: 2.0,
            accuracy_drop_pp: 100.0 / 3.0,
            limit_violations: 2,
            ran_on: BTreeMap::from([("server", 3)]),
            fallbacks: 0,
        };
        assert_eq!(Summary::new(&calls, Some(250.0)), expected);
        assert_eq!(Summary::new(&calls, None).limit_violations, 0);
    }

    #[test]
    fn without_an_answer_there_are_no_times() {
        let summary = Summary::new(&[Call::made((0.0, 10.0), None)], Some(50.0));
        assert_eq!(summary.limit_violations, 1);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["answered"], 0.0);
        assert!(json["latency_ms"]["p99"].is_null() && json["bytes_mean"].is_null());
    }
}
