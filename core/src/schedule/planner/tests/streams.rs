//! Decisions for the frames of a stream.

use super::*;
use crate::schedule::{Next, UnderWay};

/// Frames a second are the objective, and take on the device, on the way and at the server: as a photo 0, 160 and
/// 4.5 ms, at cut 1 30, 40 and 3 ms, at cut 2 60, 4 and 1.5 ms, and on the device alone 90.
fn planner_of_streams() -> Planner {
    let mut planner = planner_for(Objective::minimal(Metric::Throughput), 1.0, 1e6);
    let sizes = &mut planner.estimates_mut().sizes;
    sizes.observe(&Plan::Photo(PHOTO), 20_000);
    sizes.observe(&split(1), 5_000);
    sizes.observe(&split(2), 500);
    planner
}

const ROOM: usize = 32;

fn full() -> UnderWay {
    UnderWay {
        calls: ROOM,
        way_ms: 1e6,
    }
}

#[test]
fn a_stream_uses_the_device_beside_the_best_cut() {
    let (mut planner, now) = (planner_of_streams(), Instant::now());
    let (choice, overlap) = planner.choose_in_stream(ALL_READY, ROOM, |_| true, now);
    assert_eq!(choice.runnable.plan, split(1));
    assert!(choice.within_limits);
    assert_eq!(overlap.next(&UnderWay::default()), Next::Chosen);
    assert_eq!(overlap.next(&full()), Next::Instead(Plan::Device));
    // A call by itself is planned as before, and so is a stream with another objective.
    assert_eq!(planner.choose(ALL_READY, now).best.plan, split(1));
    let mut frugal = planner_for(Objective::minimal(Metric::Latency), 1.0, 1e6);
    let (_, overlap) = frugal.choose_in_stream(ALL_READY, ROOM, |_| true, now);
    assert_eq!(overlap.next(&full()), Next::Waits);
}

#[test]
fn two_plans_for_what_is_at_hand_while_a_better_cut_is_built() {
    let (mut planner, now) = (planner_of_streams(), Instant::now());
    let (choice, overlap) = planner.choose_in_stream(&[0, 3], ROOM, |_| true, now);
    assert!(matches!(choice.runnable.plan, Plan::Photo(_)));
    assert_eq!(overlap.next(&full()), Next::Instead(Plan::Device));
    assert_eq!(choice.cut_to_build(), Some(1));
    let (choice, _) = planner.choose_in_stream(&[0, 1, 3], ROOM, |_| true, now);
    assert_eq!(choice.runnable.plan, split(1));
    assert_eq!(choice.cut_to_build(), None);
}

#[test]
fn two_plans_only_for_speed_and_never_one_that_may_not_be_followed() {
    let (mut planner, now) = (planner_of_streams(), Instant::now());
    let not_the_device = |plan: &Plan| *plan != Plan::Device;
    let (choice, overlap) = planner.choose_in_stream(ALL_READY, ROOM, not_the_device, now);
    assert_eq!(choice.runnable.plan, split(1));
    assert_eq!(overlap.next(&full()), Next::Waits);
    planner.objective = "throughput=1,bytes=0.01".parse().unwrap();
    let (choice, overlap) = planner.choose_in_stream(ALL_READY, ROOM, |_| true, now);
    assert_eq!(
        choice.runnable.plan,
        planner.choose(ALL_READY, now).runnable.plan
    );
    assert_eq!(overlap.next(&full()), Next::Waits);
}

#[test]
fn no_frame_follows_a_plan_that_breaks_a_limit() {
    let (mut planner, now) = (planner_of_streams(), Instant::now());
    // The device alone takes 180 mJ, cut 1 about 130 with the radio.
    let energy = |planner: &Planner, plan| planner.candidate(plan, ALL_READY, now).energy_mj;
    let (device, cut) = (energy(&planner, Plan::Device), energy(&planner, split(1)));
    assert!(cut < device, "{cut} {device}");
    planner.objective.limits.energy_mj = Some(f64::midpoint(cut, device));
    let (choice, overlap) = planner.choose_in_stream(ALL_READY, ROOM, |_| true, now);
    assert_eq!(choice.runnable.plan, split(1));
    assert_ne!(overlap.next(&full()), Next::Instead(Plan::Device));
}
