//! The plan space: every way of running an inference that a client may choose, less those that
//! another one beats in everything.

use super::coding::{self, CodecRow};
use super::objective::Objective;
use super::plan::{Codec, PhotoCodec, Plan, Precision};
use super::second_look::SecondLook;
use crate::ElementType;
use crate::bundle::{AllowedTwice, Calibration, Cut, Manifest};

/// The photo's pixels as they are: exact, and the best there is where the link is fast and the device
/// is not.
const UNCODED: Plan = Plan::Photo(PhotoCodec::Ppm);

/// The device is soon done behind cuts that leave one part in so many of the operations to it, or less.
const SOON_DONE: u64 = 4;

/// A plan of the space, and what is known of it beforehand.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SpacePlan {
    /// The plan.
    pub plan: Plan,
    /// Mean bytes that calibration measured, where it did.
    pub bytes: Option<f64>,
    /// Upper bound of the loss of accuracy, in percentage points; none where nothing was calibrated.
    pub accuracy_drop_pp: Option<f64>,
    /// What is sent where the answer is in doubt, without which it would lose more; none of most plans.
    pub second_look: Option<SecondLook>,
}

impl SpacePlan {
    /// A plan of which nothing was measured.
    pub const fn unmeasured(plan: Plan) -> Self {
        Self {
            plan,
            bytes: None,
            accuracy_drop_pp: None,
            second_look: None,
        }
    }
}

/// Every plan for a bundle that was not calibrated: the device alone, the photo coded and uncoded, and
/// each inner cut that can be packed, in this order. Cuts whose tensors are not all f32 cannot; at cut 0 the photo
/// says the same in fewer bytes than the tensor made from it.
pub fn all_plans(
    manifest: &Manifest,
    precision: Precision,
    codec: Codec,
    photo: PhotoCodec,
) -> Vec<SpacePlan> {
    let splits = inner_cuts(manifest).map(|cut| Plan::Split {
        cut: cut.index,
        precision,
        codec,
    });
    [Plan::Device, Plan::Photo(photo), UNCODED]
        .into_iter()
        .chain(splits)
        .map(SpacePlan::unmeasured)
        .collect()
}

/// Every plan for a calibrated bundle that keeps the objective's limit of the loss of accuracy: the device
/// alone, then by cut each photo quality and each precision with each codec, unless another at the
/// same cut takes no more bytes and no longer to pack and to unpack, and what keeps the limit by a second look.
///
/// A cut that was not measured has no plans; the photo is lossless where no other keeps the limit.
pub fn calibrated_plans(
    manifest: &Manifest,
    calibration: &Calibration,
    objective: &Objective,
) -> Vec<SpacePlan> {
    let max_drop_pp = objective.accuracy_drop_pp();
    let exact = |plan| SpacePlan {
        accuracy_drop_pp: Some(0.0),
        ..SpacePlan::unmeasured(plan)
    };
    let measured = |cut: &Cut| {
        let ways = calibration.all_allowed(cut.index, max_drop_pp);
        let plans = ways.into_iter().map(|allowed| SpacePlan {
            plan: allowed.plan,
            bytes: Some(allowed.bytes_mean),
            accuracy_drop_pp: Some(allowed.max_drop_pp),
            second_look: None,
        });
        let mut plans = pareto(plans.collect(), cut.elements());
        let twice = second_looks(cut, calibration, objective);
        plans.extend(twice.iter().map(|way| SpacePlan {
            plan: way.first.plan,
            bytes: Some(way.first.bytes_mean),
            accuracy_drop_pp: Some(way.max_drop_pp()),
            second_look: Some(SecondLook::of(way)),
        }));
        plans
    };
    let mut first = manifest.cuts.first().map(measured).unwrap_or_default();
    if first.is_empty() {
        first.push(exact(Plan::Photo(PhotoCodec::WebPLossless)));
    }
    first.push(exact(UNCODED));
    let splits = inner_cuts(manifest).flat_map(measured);
    let device = exact(Plan::Device);
    [device].into_iter().chain(first).chain(splits).collect()
}

/// Whether all tensors that cross are f32.
pub fn can_be_packed(cut: &Cut) -> bool {
    cut.tensors
        .iter()
        .all(|tensor| tensor.element == ElementType::F32)
}

/// Ways of sending what crosses `cut` with a second look, no two of which begin with the same message.
///
/// The device computes what is in doubt rather than sending again where it is soon done. Where it is not, the frames of a
/// stream would wait for it, and the link for them: there it does not if frames a second are the objective.
fn second_looks(cut: &Cut, calibration: &Calibration, objective: &Objective) -> Vec<AllowedTwice> {
    let max_drop_pp = objective.accuracy_drop_pp();
    let sent = calibration.allowed_twice(cut.index, max_drop_pp);
    let computed = calibration.allowed_with_device(cut.index, max_drop_pp);
    let (mut looks, others) = if is_soon_done(cut) {
        (computed, sent)
    } else if objective.is_for_speed() {
        (sent, Vec::new())
    } else {
        (sent, computed)
    };
    for other in others {
        if looks.iter().all(|look| look.first.plan != other.first.plan) {
            looks.push(other);
        }
    }
    looks
}

/// Whether the device has little to compute behind `cut`.
fn is_soon_done(cut: &Cut) -> bool {
    let all = cut.flops_before.saturating_add(cut.flops_after);
    cut.flops_after <= all / SOON_DONE
}

fn inner_cuts(manifest: &Manifest) -> impl Iterator<Item = &Cut> {
    let last = manifest.last_cut();
    let cuts = manifest.cuts.iter();
    cuts.filter(move |cut| cut.index > 0 && cut.index < last && can_be_packed(cut))
}

/// The plans of one cut that no other beats: fewer bytes cost time to code, and the other way round.
/// Of those that are equal in everything the first stays.
fn pareto(mut plans: Vec<SpacePlan>, elements: usize) -> Vec<SpacePlan> {
    let costs = |plan: &SpacePlan| {
        let times = coding::reference(CodecRow::of(&plan.plan), elements);
        [
            plan.bytes.unwrap_or(f64::INFINITY),
            times.pack_ms,
            times.unpack_ms,
        ]
    };
    plans.sort_by(|a, b| {
        let both = costs(a).into_iter().zip(costs(b));
        both.fold(std::cmp::Ordering::Equal, |order, (a, b)| {
            order.then(a.total_cmp(&b))
        })
    });
    let mut kept: Vec<SpacePlan> = Vec::new();
    for plan in plans {
        let beaten = |by: &SpacePlan| {
            let mut both = costs(by).into_iter().zip(costs(&plan));
            both.all(|(by, its)| by <= its)
        };
        if !kept.iter().any(beaten) {
            kept.push(plan);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::bundle::{CalibrationRow, CodecBytes, Sent};
    use crate::calibrate::Doubt;
    use crate::schedule::fixtures::{flips, manifest, table};
    use crate::schedule::{Goal, Levels, Metric, Quantisation};

    fn within(max_drop_pp: f64) -> Objective {
        let mut objective = Objective::default();
        objective.limits.accuracy_drop_pp = Some(max_drop_pp);
        objective
    }

    #[test]
    fn every_inner_cut_that_can_be_packed_is_a_plan() {
        let (precision, codec) = (Precision::Levels(Levels::EIGHT_BITS), Codec::Zstd);
        let photo = PhotoCodec::Jpeg(90);
        let split = |cut| Plan::Split {
            cut,
            precision,
            codec,
        };
        let plans = |manifest: &Manifest| -> Vec<Plan> {
            let plans = all_plans(manifest, precision, codec, photo);
            plans.iter().map(|row| row.plan).collect()
        };
        let mut manifest = manifest();
        let all = [
            Plan::Device,
            Plan::Photo(photo),
            UNCODED,
            split(1),
            split(2),
        ];
        assert_eq!(plans(&manifest), all);
        manifest.cuts[1].tensors[0].element = ElementType::I64;
        assert!(!plans(&manifest).contains(&split(1)));
    }

    #[test]
    fn a_calibrated_bundle_sends_nothing_above_the_limit() {
        let table = table(
            (0..3)
                .flat_map(|cut| [(4, 3.0), (16, 0.8), (64, 0.3)].map(|(l, pp)| row(cut, l, pp)))
                .chain([raw(1)])
                .collect(),
        );
        for limit in [0.0, 0.2, 0.5, 1.0, 5.0] {
            let plans = calibrated_plans(&manifest(), &table, &within(limit));
            assert!(
                plans
                    .iter()
                    .all(|row| row.accuracy_drop_pp.unwrap() <= limit)
            );
            // With one codec the coarsest precision beats all finer ones.
            let coarsest = [(3.0, 4), (0.8, 16), (0.3, 64)];
            let expected = coarsest.iter().find(|(pp, _)| *pp <= limit);
            for row in &plans {
                let Plan::Split { cut, precision, .. } = row.plan else {
                    continue;
                };
                let allowed = table.allowed(cut, limit).unwrap();
                assert_eq!(row.bytes, Some(allowed.bytes_mean));
                let found = match precision {
                    Precision::Levels(levels) => Some(levels.get()),
                    Precision::Raw => None,
                };
                assert_eq!(found, expected.map(|(_, levels)| *levels), "at {limit}");
            }
            // Below every bound cut 1 has fp32, the others have nothing; the photo is lossless.
            assert_eq!(plans.len(), if limit < 0.3 { 4 } else { 5 }, "{plans:?}");
            let lossless = Plan::Photo(PhotoCodec::WebPLossless);
            let photo = plans.iter().any(|row| row.plan == lossless);
            assert_eq!(photo, limit < 0.3, "{plans:?}");
        }
    }

    #[test]
    fn a_faster_codec_with_more_bytes_is_a_plan_and_a_slower_one_is_not() {
        let mut both = row(1, 64, 0.3);
        both.bytes = [
            ("raw", 4_000.0),
            ("lz4", 1_000.0),
            ("zstd", 1_200.0),
            ("context", 600.0),
        ]
        .map(|(codec, mean)| CodecBytes {
            codec: codec.to_owned(),
            mean,
            p95: 1,
        })
        .to_vec();
        let plans = calibrated_plans(&manifest(), &table(vec![both]), &within(1.0));
        let codecs: Vec<Codec> = plans
            .iter()
            .filter_map(|row| match row.plan {
                Plan::Split { codec, .. } => Some(codec),
                _ => None,
            })
            .collect();
        assert_eq!(codecs, [Codec::Context, Codec::Lz4, Codec::Raw]);
    }

    #[test]
    fn second_looks_begin_with_messages_of_their_own() {
        let doubt = |share, max_drop_pp| Doubt {
            lead: 1.0,
            share,
            flips_pp: 0.1,
            max_drop_pp,
        };
        let rows = (1..3).flat_map(|cut| {
            let with = |row: CalibrationRow, doubts: &[Doubt]| CalibrationRow {
                doubts: doubts.to_vec(),
                ..row
            };
            [
                with(row(cut, 4, 9.0), &[doubt(0.1, 2.0), doubt(0.3, 0.9)]),
                with(row(cut, 16, 3.0), &[doubt(0.1, 0.5)]),
                row(cut, 256, 0.3),
            ]
        });
        let mut manifest = manifest();
        // Cut 1 is early, and behind cut 2 the device is soon done.
        manifest.cuts[2].flops_before = 100_000_000;
        manifest.cuts[2].flops_after = 20_000_000;
        let table = table(rows.collect());
        let looks = |metric: Metric| -> Vec<(usize, u32, bool)> {
            let mut objective = within(1.0);
            objective.goal = Goal::InOrder(vec![metric]);
            let plans = calibrated_plans(&manifest, &table, &objective);
            let all: HashSet<Plan> = plans.iter().map(|row| row.plan).collect();
            assert_eq!(all.len(), plans.len(), "{plans:?}");
            assert!(plans.iter().all(|row| row.accuracy_drop_pp <= Some(1.0)));
            let looks = plans.iter().filter_map(|row| {
                let look = row.second_look?;
                match row.plan {
                    Plan::Split {
                        cut,
                        precision: Precision::Levels(levels),
                        ..
                    } => Some((cut, levels.get(), look.plan == Plan::Device)),
                    _ => None,
                }
            });
            looks.collect()
        };
        let late = [(2, 16, true), (2, 4, true)];
        let in_stream = [(1, 16, false)];
        assert_eq!(looks(Metric::Throughput), [&in_stream[..], &late].concat());
        let alone = [(1, 16, false), (1, 4, true)];
        assert_eq!(looks(Metric::Latency), [&alone[..], &late].concat());
    }

    fn row(cut: usize, levels: u32, max_drop_pp: f64) -> CalibrationRow {
        CalibrationRow {
            cut,
            sent: Sent::Packed(
                Quantisation::Plain,
                Precision::Levels(Levels::new(levels).unwrap()),
            ),
            images: 100,
            bytes: vec![CodecBytes {
                codec: "zstd".to_owned(),
                mean: 10.0 * f64::from(levels),
                p95: 1,
            }],
            fidelity: flips(max_drop_pp),
            doubts: Vec::new(),
        }
    }

    fn raw(cut: usize) -> CalibrationRow {
        CalibrationRow {
            sent: Sent::Packed(Quantisation::Plain, Precision::Raw),
            images: 12,
            ..row(cut, 1000, 100.0)
        }
    }
}
