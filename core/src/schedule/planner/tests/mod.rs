//! Decisions of a device that needs 30, 60 and 90 ms to its three cuts, with a server twenty times
//! as fast.

mod passed_over;
mod streams;

use std::time::{Duration, Instant};

use super::*;
use crate::bundle::Profile;
use crate::schedule::fixtures::manifest;
use crate::schedule::rank::EQUAL;
use crate::schedule::{
    Codec, Levels, Limits, LinkPrior, LinkSample, Network, NetworkKind, PhotoCodec, Precision,
    all_plans,
};

const ALL_READY: &[usize] = &[0, 1, 2, 3];
const PHOTO: PhotoCodec = PhotoCodec::Jpeg(90);

fn split(cut: usize) -> Plan {
    Plan::Split {
        cut,
        precision: Precision::Levels(Levels::EIGHT_BITS),
        codec: Codec::Zstd,
    }
}

fn planner_for(objective: Objective, rtt_ms: f64, rate_bps: f64) -> Planner {
    let profile = Profile {
        machine: "reference".into(),
        threads: 1,
        head_ms: vec![0.0, 30.0, 60.0, 90.0],
        measured: vec![0, 1, 2, 3],
    };
    let link = LinkPrior { rtt_ms, rate_bps };
    let mut estimates = Estimates::new(&manifest(), Some(&profile), link, 20.0);
    estimates.link.connected(None, Instant::now());
    let precision = Precision::Levels(Levels::EIGHT_BITS);
    let plans = all_plans(&manifest(), precision, Codec::Zstd, PHOTO);
    Planner::new(&plans, estimates, objective)
}

fn planner(rtt_ms: f64, rate_bps: f64) -> Planner {
    planner_for(Objective::minimal(Metric::Latency), rtt_ms, rate_bps)
}

/// The photo is larger than the activation of cut 1 by more than its head costs.
fn planner_that_splits() -> Planner {
    let mut planner = planner(1.0, 1e6);
    let sizes = &mut planner.estimates_mut().sizes;
    sizes.observe(&Plan::Photo(PHOTO), 20_000);
    sizes.observe(&split(1), 500);
    planner
}

#[test]
fn a_fast_link_is_used_and_a_slow_one_is_not() {
    let now = Instant::now();
    let fast = planner(4.0, 100e6).choose(ALL_READY, now).best;
    assert!(fast.plan.uses_server(), "{fast}");
    assert!(fast.total_ms < 90.0);
    let slow = planner(300.0, 0.1e6).choose(ALL_READY, now).best;
    assert_eq!(slow.plan, Plan::Device);
}

#[test]
fn between_the_two_lies_a_cut() {
    let choice = planner_that_splits().choose(ALL_READY, Instant::now());
    assert_eq!(choice.best.plan, split(1));
}

#[test]
fn a_server_that_is_full_or_late_is_left_for_the_device() {
    let now = Instant::now();
    let mut full = planner(4.0, 100e6);
    for _ in 0..2 {
        full.estimates_mut().server.observe(0, 3, 400.0, 4.5, now);
    }
    assert_eq!(full.choose(ALL_READY, now).best.plan, Plan::Device);

    let mut late = planner(40.0, 100e6);
    assert!(late.choose(ALL_READY, now).best.plan.uses_server());
    let then = now + Duration::from_millis(500);
    late.estimates_mut().link.late(2_000, now, then);
    assert_eq!(late.choose(ALL_READY, then).best.plan, Plan::Device);
}

#[test]
fn a_plan_is_kept_until_another_is_clearly_better() {
    let now = Instant::now();
    let mut planner = planner(4.0, 100e6);
    let first = planner.choose(ALL_READY, now).best;
    let device = planner.candidate(Plan::Device, ALL_READY, now).total_ms;
    // A queue that makes the server half a per cent worse than the device, then one that makes it 30 %.
    let queue = |planner: &mut Planner, over: f64| {
        let queue_ms = device * over - first.total_ms;
        for _ in 0..8 {
            let server = &mut planner.estimates_mut().server;
            server.observe(0, 3, queue_ms, 4.5, now);
        }
    };
    queue(&mut planner, 1.005);
    assert_eq!(planner.choose(ALL_READY, now).best.plan, first.plan);
    queue(&mut planner, 1.3);
    assert_eq!(planner.choose(ALL_READY, now).best.plan, Plan::Device);
}

#[test]
fn a_cut_that_is_not_ready_is_wanted_and_another_plan_runs_meanwhile() {
    let (mut planner, now) = (planner_that_splits(), Instant::now());
    let choice = planner.choose(&[0, 3], now);
    assert_eq!(choice.best.plan, split(1));
    assert!(!choice.best.ready);
    assert!(choice.runnable.ready);
    assert_ne!(choice.runnable.plan, split(1));
    assert_eq!(planner.choose(ALL_READY, now).runnable.plan, split(1));
}

#[test]
fn a_link_that_turns_slow_is_noticed_by_its_answers() {
    let mut now = Instant::now();
    let mut planner = planner(4.0, 100e6);
    assert!(planner.choose(ALL_READY, now).best.plan.uses_server());
    for _ in 0..3 {
        planner.estimates_mut().link.answered(LinkSample {
            bytes: 20_000,
            others: 0,
            sent: now,
            wall_ms: 600.0,
            receive_ms: 400.0,
            server_ms: 405.0,
        });
        now += Duration::from_millis(600);
    }
    assert_eq!(planner.choose(ALL_READY, now).best.plan, Plan::Device);
}

#[test]
fn stages_add_up() {
    let planner = planner(20.0, 5e6);
    for (c, _) in planner.ranking(ALL_READY, Instant::now()) {
        let sum = c.device_ms + c.pack_ms + c.network_ms + c.queue_ms + c.server_ms;
        assert!((c.total_ms - sum).abs() < 1e-9, "{c}");
        assert!(c.p95_ms >= c.total_ms && c.stage_ms <= c.total_ms, "{c}");
    }
}

#[test]
fn each_metric_has_its_best_plan_first() {
    let now = Instant::now();
    for &metric in Metric::ALL {
        let planner = planner_for(Objective::minimal(metric), 4.0, 20e6);
        let ranking = planner.ranking(ALL_READY, now);
        let costs: Vec<f64> = ranking.iter().map(|(c, _)| c.cost(metric)).collect();
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(costs[0] <= least * (1.0 + EQUAL), "{metric}: {costs:?}");
        assert_eq!(ranking.len(), 5);
    }
}

#[test]
fn onloading_gives_the_server_what_the_device_cannot_do_in_time() {
    let now = Instant::now();
    let at = |limit_ms| {
        let choice = planner_for(Objective::onloading(limit_ms), 4.0, 100e6).choose(ALL_READY, now);
        (choice.best.plan, choice.within_limits)
    };
    assert_eq!(at(200.0), (Plan::Device, true));
    // Less time, more server: a later cut, then an earlier one, then the photo.
    assert_eq!(at(85.0), (split(2), true));
    assert_eq!(at(60.0), (split(1), true));
    assert_eq!(at(25.0), (Plan::Photo(PHOTO), true));
    let (_, within) = at(2.0);
    assert!(!within, "nothing is that fast");
}

#[test]
fn a_limit_that_is_barely_missed_is_no_reason_to_leave_the_device() {
    let now = Instant::now();
    let mut planner = planner_for(Objective::onloading(1.0), 4.0, 100e6);
    let takes = |planner: &mut Planner, ms, times| {
        for _ in 0..times {
            planner.estimates_mut().device.observe(0, 3, ms, now);
        }
        planner.candidate(Plan::Device, ALL_READY, now).p95_ms
    };
    let limit_ms = takes(&mut planner, 90.0, 60) + 0.01;
    planner.objective.limits.latency_ms = Some(limit_ms);
    assert_eq!(planner.choose(ALL_READY, now).best.plan, Plan::Device);
    assert!(takes(&mut planner, 90.2, 1) > limit_ms);
    let choice = planner.choose(ALL_READY, now);
    assert_eq!(
        (choice.best.plan, choice.within_limits),
        (Plan::Device, false)
    );
    takes(&mut planner, 99.0, 3);
    assert!(planner.choose(ALL_READY, now).best.plan.uses_server());
}

#[test]
fn where_nothing_keeps_the_limits_the_least_bad_plan_is_chosen_and_said() {
    let now = Instant::now();
    let mut objective = Objective::minimal(Metric::Energy);
    objective.limits.latency_ms = Some(1.0);
    let mut planner = planner_for(objective, 4.0, 100e6);
    let choice = planner.choose(ALL_READY, now);
    assert!(!choice.within_limits);
    let ranking = planner.ranking(ALL_READY, now);
    let fastest = ranking
        .iter()
        .map(|(c, _)| c.p95_ms)
        .fold(f64::INFINITY, f64::min);
    assert!(choice.best.p95_ms <= fastest * (1.0 + 2.0 * EQUAL));
    let explanation = planner.explain(ALL_READY, now);
    assert!(
        explanation.reason.contains("breaks them least"),
        "{}",
        explanation.reason
    );
}

#[test]
fn every_limit_is_kept() {
    type Change = fn(&mut Limits);
    type Keeps = fn(&Candidate) -> bool;
    let limits: &[(Change, Keeps)] = &[
        (|l| l.latency_ms = Some(95.0), |c| c.p95_ms <= 95.0),
        (|l| l.throughput_fps = Some(25.0), |c| c.stage_ms <= 40.0),
        (|l| l.server_ms = Some(2.0), |c| c.server_ms <= 2.0),
        (|l| l.bytes = Some(3_000.0), |c| c.bytes <= 3_000),
        (|l| l.energy_mj = Some(150.0), |c| c.energy_mj <= 150.0),
    ];
    for (row, (change, keeps)) in limits.iter().enumerate() {
        for &metric in Metric::ALL {
            let mut objective = Objective::minimal(metric);
            change(&mut objective.limits);
            let choice = planner_for(objective, 4.0, 20e6).choose(ALL_READY, Instant::now());
            assert_eq!(
                choice.within_limits,
                keeps(&choice.best),
                "limit {row}, {metric}"
            );
            assert!(
                choice.within_limits,
                "limit {row}, {metric}: {}",
                choice.best
            );
        }
    }
}

#[test]
fn weights_weigh() {
    let now = Instant::now();
    let of = |text: &str| {
        let objective = text.parse().unwrap();
        planner_for(objective, 4.0, 100e6)
            .choose(ALL_READY, now)
            .best
    };
    assert!(of("latency=1,server-seconds=0.001").plan.uses_server());
    assert_eq!(of("latency=1,server-seconds=1000").plan, Plan::Device);
}

#[test]
fn the_bytes_of_a_day_end_on_a_metered_network_alone() {
    let now = Instant::now();
    let mut objective = Objective::minimal(Metric::Latency);
    objective.limits.metered_bytes_per_day = Some(10_000);
    let mut planner = planner_for(objective, 4.0, 100e6);
    let network = |metered| Network {
        kind: NetworkKind::Cellular,
        metered,
    };
    planner.estimates_mut().network_changed(network(true));
    assert!(planner.choose(ALL_READY, now).best.plan.uses_server());
    planner.estimates_mut().sent(9_990, now);
    assert_eq!(planner.choose(ALL_READY, now).best.plan, Plan::Device);
    planner.estimates_mut().network_changed(network(false));
    assert!(planner.choose(ALL_READY, now).best.plan.uses_server());
    planner.estimates_mut().network_changed(network(true));
    let tomorrow = now + Duration::from_hours(25);
    assert!(planner.choose(ALL_READY, tomorrow).best.plan.uses_server());
}

#[test]
fn networks_are_remembered() {
    let now = Instant::now();
    let mut planner = planner(4.0, 100e6);
    let estimates = planner.estimates_mut();
    let wifi = Network {
        kind: NetworkKind::Wifi,
        metered: false,
    };
    estimates.link.connected(Some(2.0), now);
    estimates.network_changed(wifi);
    assert!((estimates.link.rtt_ms(now) - 4.0).abs() < 1e-9);
    estimates.link.connected(Some(90.0), now);
    estimates.network_changed(Network::default());
    assert!((estimates.link.rtt_ms(now) - 2.0).abs() < 1e-9);
    estimates.network_changed(wifi);
    assert!(estimates.link.rtt_ms(now) > 80.0);
}

#[test]
fn an_explanation_has_the_chosen_plan_first_and_a_reason_for_each() {
    let explanation = planner_that_splits().explain(ALL_READY, Instant::now());
    assert_eq!(explanation.chosen.plan, split(1));
    assert_eq!(explanation.rows[0].candidate.plan, split(1));
    assert_eq!(explanation.rows[0].verdict, "chosen");
    assert_eq!(explanation.rows.len(), 5);
    for row in &explanation.rows[1..] {
        assert!(row.verdict.ends_with("ms slower"), "{}", row.verdict);
    }
}

#[test]
fn the_same_estimates_give_the_same_choices() {
    let (mut one, mut other) = (planner(20.0, 5e6), planner(20.0, 5e6));
    let mut now = Instant::now();
    for i in 0..200_u32 {
        for planner in [&mut one, &mut other] {
            planner.estimates_mut().link.answered(LinkSample {
                bytes: 10_000,
                others: 0,
                sent: now,
                wall_ms: 30.0 + f64::from(i * 37 % 90),
                receive_ms: f64::from(i * 37 % 90),
                server_ms: 5.0 + f64::from(i * 37 % 90),
            });
        }
        now += Duration::from_millis(100);
        assert_eq!(one.choose(ALL_READY, now), other.choose(ALL_READY, now));
    }
}

#[test]
fn what_would_be_chosen_is_chosen_then_and_changes_nothing() {
    let mut planner = planner_that_splits();
    let now = Instant::now();
    let plan = planner.would_choose(ALL_READY, now);
    assert_eq!((plan, planner.current()), (split(1), None));
    assert_eq!(planner.choose(ALL_READY, now).best.plan, plan);
}

#[test]
fn a_plan_that_keeps_a_latency_often_is_less_bad_than_one_that_never_does() {
    let objective = Objective::onloading(100.0);
    let estimates = Estimates::new(&manifest(), None, LinkPrior::MOBILE, 1.0);
    let candidate = |plan, total_ms, p95_ms| Candidate {
        total_ms,
        p95_ms,
        ..estimates.candidate(plan, ALL_READY, Instant::now())
    };
    let steady = candidate(Plan::Device, 150.0, 155.0);
    let best = |total_ms, p95_ms| {
        let often = candidate(split(1), total_ms, p95_ms);
        objective.best_of(&[steady, often]).unwrap().plan
    };
    assert_eq!(best(95.0, 250.0), split(1), "more than half of the calls");
    assert_eq!(best(110.0, 250.0), split(1), "nearly half of them");
    assert_eq!(best(170.0, 175.0), Plan::Device, "neither: the faster one");
    assert_eq!(best(90.0, 99.0), split(1), "it keeps it");
    let never = candidate(split(1), f64::INFINITY, f64::INFINITY);
    assert_eq!(
        objective.best_of(&[never, steady]).unwrap().plan,
        Plan::Device
    );
    assert_eq!(
        objective.best_of(&[never]).unwrap().plan,
        split(1),
        "all there is"
    );
}
