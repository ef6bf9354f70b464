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
use dyno_core::schedule::{LinkSample, Metric, Objective, Plan};
use schedule_support::{PLANS, planner};

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("choose among {PLANS}"));
    for (name, objective) in [
        ("latency", Objective::minimal(Metric::Latency)),
        ("onloading", Objective::default()),
        ("weighted", "latency=1,energy=0.1".parse().unwrap()),
    ] {
        let (mut planner, now) = (planner(objective), Instant::now());
        let ready = [0, 40, 97];
        group.bench_function(name, |b| {
            b.iter(|| planner.choose(black_box(&ready), black_box(now)));
        });
    }
    let (mut planner, now) = (
        planner(Objective::minimal(Metric::Throughput)),
        Instant::now(),
    );
    group.bench_function("stream", |b| {
        b.iter(|| planner.choose_in_stream(black_box(&[0, 40, 97]), 8, |_| true, black_box(now)));
    });
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
