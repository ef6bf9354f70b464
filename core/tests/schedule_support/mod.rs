//! A planner with as many plans as a calibrated `MobileNetV2` has.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a module of a test and of a benchmark, each of which uses its own part"
)]

use dyno_core::bundle::{BUNDLE_FORMAT, BundleHash, Cut, Manifest, Profile, Provenance};
use dyno_core::pixels::{Colour, Fit, Layout, Preprocess};
use dyno_core::schedule::{
    Codec, Estimates, Levels, LinkPrior, Objective, PhotoCodec, Plan, Planner, Precision,
    SecondLook, SpacePlan,
};
use dyno_core::{ElementType, TensorSpec};

/// Plans among which it chooses: the device, the photo, and five ways at each of 96 inner cuts, two of which have second looks.
pub const PLANS: usize = 482;
const LAST_CUT: usize = 97;

/// A planner for `objective` that has nothing learnt yet.
pub fn planner(objective: Objective) -> Planner {
    let manifest = manifest();
    let profile = Profile {
        machine: "made up".into(),
        threads: 1,
        head_ms: (0..=LAST_CUT).map(|cut| cut as f64 * 0.3).collect(),
        measured: (0..=LAST_CUT).collect(),
    };
    let estimates = Estimates::new(&manifest, Some(&profile), LinkPrior::MOBILE, 4.0);
    let ways = [
        (16, Codec::Context),
        (24, Codec::Context),
        (24, Codec::Zstd),
        (32, Codec::Lz4),
        (256, Codec::Raw),
    ];
    let splits = (1..LAST_CUT).flat_map(|cut| {
        let plans = ways.map(|(levels, codec)| Plan::Split {
            cut,
            precision: Precision::Levels(Levels::new(levels).unwrap()),
            codec,
        });
        let mut rows = plans.map(SpacePlan::unmeasured);
        let finer = plans[2];
        let bytes = estimates.sizes.bytes(&finer) as f64;
        // The coarsest is sent again more finely, the next one is finished by the device.
        rows[0].second_look = Some(SecondLook::new(1.0, 0.15, finer, bytes));
        rows[1].second_look = Some(SecondLook::new(0.5, 0.3, Plan::Device, 0.0));
        rows
    });
    let whole = [Plan::Device, Plan::Photo(PhotoCodec::Jpeg(90))];
    let plans: Vec<SpacePlan> = whole
        .map(SpacePlan::unmeasured)
        .into_iter()
        .chain(splits)
        .collect();
    assert_eq!(plans.len(), PLANS);
    Planner::new(&plans, estimates, objective)
}

fn manifest() -> Manifest {
    let spec = |name: &str, shape: &[usize]| TensorSpec {
        name: name.to_owned(),
        element: ElementType::F32,
        shape: shape.to_vec(),
    };
    let cuts: Vec<Cut> = (0..=LAST_CUT)
        .map(|index| Cut {
            index,
            after: format!("node{index}"),
            tensors: vec![spec(&format!("x{index}"), &[1, 3, 224, 224 - 2 * index])],
            flops_before: index as u64,
            flops_after: (LAST_CUT - index) as u64,
        })
        .collect();
    Manifest {
        format: BUNDLE_FORMAT,
        model: "made up".into(),
        hash: BundleHash::parse(&"cd".repeat(32)).unwrap(),
        input: cuts[0].tensors[0].clone(),
        outputs: cuts[LAST_CUT].tensors.clone(),
        preprocess: Preprocess {
            height: 224,
            width: 224,
            fit: Fit::Stretch,
            colour: Colour::Rgb,
            layout: Layout::Nchw,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        labels: Vec::new(),
        cuts,
        files: Vec::new(),
        provenance: Provenance::default(),
    }
}
