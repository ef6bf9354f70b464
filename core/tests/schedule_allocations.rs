//! Deciding and learning allocate nothing once the first decision is made.

mod schedule_support;

use std::time::{Duration, Instant};

use allocation_counter::measure;
use dyno_core::schedule::{LinkSample, Metric, Objective, Plan, Probing};
use schedule_support::planner;

#[test]
fn decisions_and_samples_in_the_steady_state_allocate_nothing() {
    for objective in [
        Objective::minimal(Metric::Latency),
        Objective::default(),
        Objective::minimal(Metric::Throughput),
        "latency=1,energy=0.1".parse().unwrap(),
    ] {
        let mut planner = planner(objective.clone());
        let mut now = Instant::now();
        let mut probing = Probing::default();
        let mut call = || {
            let choice = planner.choose(&[0, 40, 97], now);
            let device = planner.candidate(Plan::Device, &[0, 40, 97], now);
            std::hint::black_box(probing.due(&mut planner, &device, &[0, 40, 97], now));
            std::hint::black_box(planner.choose_in_stream(&[0, 40, 97], 8, |_| true, now));
            let estimates = planner.estimates_mut();
            estimates.device.observe(0, 97, 30.0, now);
            estimates.packed(&choice.best.plan, 9_000, 1.0, now);
            estimates.sent(9_000, now);
            estimates.link.answered(LinkSample {
                bytes: 9_000,
                others: 0,
                sent: now,
                wall_ms: 80.0,
                receive_ms: 12.0,
                server_ms: 16.0,
            });
            estimates.served(&choice.best.plan, 0.5, 0.0, 4.0, now);
            now += Duration::from_secs(2);
            planner.patience(&choice.best.plan, 9_000, 1.0, now)
        };
        call();
        let counted = measure(|| {
            for _ in 0..20 {
                std::hint::black_box(call());
            }
        });
        assert_eq!(counted.count_total, 0, "{objective}");
    }
}
