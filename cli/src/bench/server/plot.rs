//! The picture of a run: how latency and good answers change with the load that is offered.

use super::chart::{Line, Panel, svg};
use super::report::Step;
use super::tally::Percentiles;

/// Percentiles that are drawn.
type Percentile = (&'static str, fn(&Percentiles) -> f64);
const DRAWN: [Percentile; 4] = [
    ("p50", |p| p.p50),
    ("p90", |p| p.p90),
    ("p99", |p| p.p99),
    ("p99.9", |p| p.p999),
];

/// Of the steps with an open loop, in the order of their rates.
pub(super) fn of(model: &str, steps: &[Step], capacity_rps: Option<f64>) -> String {
    let mut open: Vec<&Step> = steps
        .iter()
        .filter(|step| step.rate_rps.is_some())
        .collect();
    open.sort_by(|a, b| a.offered_rps.total_cmp(&b.offered_rps));
    let line = |name, of: &dyn Fn(&Step) -> Option<f64>| Line {
        name,
        points: open
            .iter()
            .filter_map(|step| Some((step.offered_rps, of(step)?)))
            .collect(),
    };
    let of_some = |percentiles: Percentiles, at: fn(&Percentiles) -> f64| {
        (percentiles.count > 0).then(|| at(&percentiles))
    };
    let mut latency: Vec<Line> = DRAWN
        .iter()
        .map(|&(name, at)| line(name, &move |step| of_some(step.accepted_ms, at)))
        .collect();
    latency.push(line("refused, p99", &|step| {
        of_some(step.refused_ms, |p| p.p99)
    }));
    let panels = [
        Panel {
            title: "latency of accepted requests, ms, from when they were due".to_owned(),
            x_title: "requests offered a second",
            logarithmic: true,
            lines: latency,
            level: None,
        },
        Panel {
            title: "good answers a second".to_owned(),
            x_title: "requests offered a second",
            logarithmic: false,
            lines: vec![line("good answers", &|step| Some(step.goodput_rps))],
            level: capacity_rps.map(|capacity| (capacity, "capacity (closed loop)")),
        },
    ];
    svg(&format!("{model}: the server under load"), &panels)
}
