//! What is chosen where most cuts are passed over is what is chosen where none is.

use proptest::prelude::*;

use super::*;
use crate::bundle::{Cut, Manifest};
use crate::schedule::SecondLook;

/// Inner cuts of the bundle.
const CUTS: usize = 9;
const CODECS: [Codec; 5] = [
    Codec::Raw,
    Codec::Lz4,
    Codec::Zstd,
    Codec::Context,
    Codec::Shaped,
];

/// A bundle whose activations become smaller by and by, but for every third.
fn bundle() -> (Manifest, Profile) {
    let mut manifest = manifest();
    let last = CUTS + 1;
    let template = manifest.cuts[1].clone();
    manifest.cuts = (0..=last)
        .map(|index| {
            let mut tensors = template.tensors.clone();
            let wider = if index % 3 == 0 { 2 } else { 1 };
            tensors[0].shape = vec![1, 16 * wider, 4 * (last + 1 - index), 32];
            Cut {
                index,
                tensors,
                ..template.clone()
            }
        })
        .collect();
    let profile = Profile {
        machine: "reference".into(),
        threads: 1,
        head_ms: (0..=last).map(|cut| cut as f64 * 9.0).collect(),
        measured: (0..=last).collect(),
    };
    (manifest, profile)
}

/// A way to send at some cut: levels, codec, bytes, loss, and a second look's lead and share.
type Way = (u32, usize, f64, Option<f64>, Option<(f64, f64, bool)>);

fn way() -> impl Strategy<Value = Way> {
    let look = (0.1_f64..2.0, 0.0_f64..0.6, any::<bool>());
    (
        2_u32..300,
        0..CODECS.len(),
        50.0_f64..40_000.0,
        prop::option::of(0.0_f64..3.0),
        prop::option::of(look),
    )
}

fn rows(ways: &[Vec<Way>]) -> Vec<SpacePlan> {
    let mut rows = vec![
        SpacePlan::unmeasured(Plan::Device),
        SpacePlan::unmeasured(Plan::Photo(PHOTO)),
        SpacePlan::unmeasured(Plan::Photo(PhotoCodec::Ppm)),
    ];
    for (index, of_cut) in ways.iter().enumerate() {
        for &(levels, codec, bytes, accuracy_drop_pp, look) in of_cut {
            let plan = |levels, codec| Plan::Split {
                cut: index + 1,
                precision: Precision::Levels(Levels::new(levels).unwrap()),
                codec,
            };
            let finer = plan(2 * levels, Codec::Zstd);
            let second_look = look.map(|(lead, share, sends)| {
                if sends {
                    SecondLook::new(lead, share, finer, 2.0 * bytes)
                } else {
                    SecondLook::new(lead, share, Plan::Device, 0.0)
                }
            });
            let row = SpacePlan {
                bytes: Some(bytes),
                accuracy_drop_pp,
                second_look,
                ..SpacePlan::unmeasured(plan(levels, CODECS[codec]))
            };
            // A space has each plan once.
            if rows.iter().all(|other| other.plan != row.plan) {
                rows.push(row);
            }
        }
    }
    rows
}

/// What happens between two decisions.
#[derive(Debug, Clone)]
enum Event {
    Answer {
        bytes: usize,
        receive_ms: f64,
        rtt_ms: f64,
    },
    Late {
        bytes: usize,
    },
    Ran {
        ms: f64,
    },
    Packed {
        way: usize,
        bytes: usize,
        ms: f64,
    },
    Served {
        unpack_ms: f64,
        queue_ms: f64,
        infer_ms: f64,
    },
    Pause {
        ms: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (100_usize..60_000, 0.1_f64..3_000.0, 1.0_f64..200.0)
            .prop_map(|(bytes, receive_ms, rtt_ms)| Event::Answer { bytes, receive_ms, rtt_ms }),
        1 => (100_usize..60_000).prop_map(|bytes| Event::Late { bytes }),
        2 => (1.0_f64..2_000.0).prop_map(|ms| Event::Ran { ms }),
        1 => (0_usize..1_000, 50_usize..60_000, 0.01_f64..50.0)
            .prop_map(|(way, bytes, ms)| Event::Packed { way, bytes, ms }),
        1 => (0.01_f64..20.0, 0.0_f64..200.0, 0.1_f64..300.0)
            .prop_map(|(unpack_ms, queue_ms, infer_ms)| Event::Served { unpack_ms, queue_ms, infer_ms }),
        1 => (1_u64..20_000).prop_map(|ms| Event::Pause { ms }),
    ]
}

fn objective() -> impl Strategy<Value = Objective> {
    let goal = prop::sample::select(vec![
        "latency",
        "throughput",
        "throughput,latency",
        "server-seconds,latency",
        "bytes,latency",
        "energy",
        "latency=1,energy=0.1",
        "throughput=1,bytes=0.001",
    ]);
    let limit = |values: std::ops::Range<f64>| prop::option::weighted(0.3, values);
    let limits = (
        limit(5.0..800.0),
        limit(2.0..60.0),
        limit(0.0..3.0),
        limit(0.0..30.0),
        limit(0.0..20_000.0),
        limit(1.0..2_000.0),
    );
    (goal, limits).prop_map(|(goal, limits)| {
        let mut objective: Objective = goal.parse().unwrap();
        let (latency_ms, throughput_fps, accuracy_drop_pp, server_ms, bytes, energy_mj) = limits;
        objective.limits = Limits {
            latency_ms,
            throughput_fps,
            accuracy_drop_pp,
            server_ms,
            bytes,
            energy_mj,
            ..Limits::default()
        };
        objective
    })
}

impl Event {
    fn happens(&self, planner: &mut Planner, rows: &[SpacePlan], now: &mut Instant) {
        let estimates = planner.estimates_mut();
        match *self {
            Self::Answer {
                bytes,
                receive_ms,
                rtt_ms,
            } => {
                estimates.link.answered(LinkSample {
                    bytes,
                    others: 0,
                    sent: *now,
                    wall_ms: receive_ms + rtt_ms,
                    receive_ms,
                    server_ms: receive_ms,
                });
                *now += Duration::from_secs_f64((receive_ms + rtt_ms) / 1e3);
            }
            Self::Late { bytes } => {
                let then = *now + Duration::from_millis(800);
                estimates.link.late(bytes, *now, then);
                *now = then;
            }
            Self::Ran { ms } => estimates.device.observe(0, CUTS + 1, ms, *now),
            Self::Packed { way, bytes, ms } => {
                estimates.packed(&rows[way % rows.len()].plan, bytes, ms, *now);
            }
            Self::Served {
                unpack_ms,
                queue_ms,
                infer_ms,
            } => estimates.served(&rows[1].plan, unpack_ms, queue_ms, infer_ms, *now),
            Self::Pause { ms } => *now += Duration::from_millis(ms),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_is_passed_over_would_not_have_been_chosen(
        ways in prop::collection::vec(prop::collection::vec(way(), 0..7), CUTS),
        objective in objective(),
        rate_bps in 1e5_f64..1e8,
        events in prop::collection::vec((event(), 0_usize..=CUTS), 1..25),
        room in 2_usize..40,
    ) {
        let (manifest, profile) = bundle();
        let prior = LinkPrior { rtt_ms: 30.0, rate_bps };
        let estimates = Estimates::new(&manifest, Some(&profile), prior, 8.0);
        let rows = rows(&ways);
        let mut quick = Planner::new(&rows, estimates, objective);
        let mut thorough = quick.clone();
        thorough.shortlist = thorough.shortlist.thorough();
        let (mut quick_stream, mut thorough_stream) = (quick.clone(), thorough.clone());
        let mut now = Instant::now();
        for (event, ready) in events {
            let ready_cuts = [0, ready, CUTS + 1];
            let found = quick.choose(&ready_cuts, now);
            prop_assert_eq!(found, thorough.choose(&ready_cuts, now));
            let in_stream = |planner: &mut Planner| {
                planner.choose_in_stream(&ready_cuts, room, |_| true, now)
            };
            prop_assert_eq!(in_stream(&mut quick_stream), in_stream(&mut thorough_stream));
            let then = now;
            for planner in [&mut quick, &mut thorough, &mut quick_stream, &mut thorough_stream] {
                now = then;
                event.happens(planner, &rows, &mut now);
            }
        }
    }
}

#[test]
fn most_cuts_are_passed_over() {
    let (manifest, profile) = bundle();
    let prior = LinkPrior {
        rtt_ms: 30.0,
        rate_bps: 5e6,
    };
    let estimates = Estimates::new(&manifest, Some(&profile), prior, 8.0);
    let precision = Precision::Levels(Levels::EIGHT_BITS);
    let plans = all_plans(&manifest, precision, Codec::Zstd, PHOTO);
    let mut planner = Planner::new(&plans, estimates, Objective::minimal(Metric::Latency));
    let now = Instant::now();
    for _ in 0..2 {
        planner.choose(&[0], now);
    }
    let looked_at = planner.shortlist.rated().len();
    assert!(
        2 * looked_at < plans.len(),
        "{looked_at} of {}",
        plans.len()
    );
}
