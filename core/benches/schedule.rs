//! What a decision costs, and what an estimator takes to learn from a sample.
//!
//! `cargo bench -p dyno-core --bench schedule`. The bundle is made here: 97 cuts with five precisions
//! each, about 500 plans.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/schedule_support/mod.rs"]
mod schedule_support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use dyno_core::schedule::{LinkSample, Metric, Objective, Plan, Planner};
use schedule_support::{PLANS, planner};

/// The cuts whose spans are at hand.
const READY: &[usize] = &[0, 40, 97];
const RATES_BPS: [f64; 4] = [3e5, 3e6, 3e7, 3e8];

/// Calls one after another, over a link that turned out to be of so many bits a second.
fn planner_over(rate_bps: f64, objective: Objective) -> (Planner, Instant) {
    let (mut planner, mut now) = (planner(objective), Instant::now());
    for _ in 0..20 {
        let receive_ms = 8e3 * 40_000.0 / rate_bps;
        planner.estimates_mut().link.answered(LinkSample {
            bytes: 40_000,
            others: 0,
            sent: now,
            wall_ms: receive_ms + 60.0,
            receive_ms,
            server_ms: receive_ms,
        });
        now += Duration::from_secs_f64((receive_ms + 60.0) / 1e3);
        planner.choose(READY, now);
    }
    (planner, now)
}

/// Decisions like the last one, over links of several rates, and decisions after each of which the link is another one.
fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("choose among {PLANS}"));
    for (name, objective) in [
        ("latency", Objective::minimal(Metric::Latency)),
        ("onloading", Objective::default()),
        ("weighted", "latency=1,energy=0.1".parse().unwrap()),
        ("stream", Objective::minimal(Metric::Throughput)),
    ] {
        let choose = |planner: &mut Planner, now: Instant| {
            if name == "stream" {
                planner
                    .choose_in_stream(black_box(READY), 8, |_| true, black_box(now))
                    .0
            } else {
                planner.choose(black_box(READY), black_box(now))
            }
        };
        let links = RATES_BPS.map(|rate_bps| {
            let (mut planner, now) = planner_over(rate_bps, objective.clone());
            group.bench_function(format!("{name}, {} Mbit/s", rate_bps / 1e6), |b| {
                b.iter(|| choose(&mut planner, now));
            });
            planner.estimates().link.clone()
        });
        let (mut planner, now) = planner_over(1e6, objective);
        let mut rates = links.iter().cycle();
        group.bench_function(format!("{name}, another link each time"), |b| {
            b.iter(|| {
                if let Some(link) = rates.next() {
                    planner.estimates_mut().link.clone_from(link);
                }
                choose(&mut planner, now)
            });
        });
    }
    group.finish();
}

fn samples(c: &mut Criterion) {
    let mut planner = planner(Objective::default());
    let mut now = Instant::now();
    let plan = Plan::Photo(dyno_core::schedule::PhotoCodec::Jpeg(90));
    c.bench_function("learn an answer of the link", |b| {
        b.iter(|| {
            now += Duration::from_millis(150);
            planner.estimates_mut().link.answered(black_box(LinkSample {
                bytes: 40_000,
                others: 0,
                sent: now,
                wall_ms: 130.0,
                receive_ms: 70.0,
                server_ms: 75.0,
            }));
        });
    });
    c.bench_function("learn a run of the device", |b| {
        b.iter(|| {
            let device = &mut planner.estimates_mut().device;
            device.observe(0, 40, black_box(12.0), now);
        });
    });
    c.bench_function("learn a message and its server", |b| {
        b.iter(|| {
            let estimates = planner.estimates_mut();
            estimates.packed(&plan, black_box(9_000), 1.0, now);
            estimates.served(&plan, 0.5, 0.0, black_box(4.0), now);
        });
    });
}

criterion_group!(benches, decisions, samples);
criterion_main!(benches);
