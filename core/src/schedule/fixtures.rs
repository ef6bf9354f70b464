//! A small bundle for the tests of estimates and plans.

use crate::bundle::{
    BUNDLE_FORMAT, BundleHash, CALIBRATION_FORMAT, Calibration, CalibrationRow, Cut, Manifest,
    Provenance,
};
use crate::calibrate::{FlipRate, Judgement, Measure};
use crate::pack::Shaping;
use crate::pixels::{Colour, Fit, Layout, Preprocess};
use crate::{ElementType, TensorSpec};

/// 64×64 photos, ten classes, cuts 0 to 3; activations shrink from 16,384 to 4,096 elements.
pub(crate) fn manifest() -> Manifest {
    let rows = [
        ("", vec![1, 3, 64, 64], 0),
        ("conv1", vec![1, 16, 32, 32], 40_000_000),
        ("conv2", vec![1, 16, 16, 16], 80_000_000),
        ("fc", vec![1, 10], 120_000_000),
    ];
    let spec = |name: &str, shape: &[usize]| TensorSpec {
        name: name.to_owned(),
        element: ElementType::F32,
        shape: shape.to_vec(),
    };
    let cuts: Vec<Cut> = rows
        .iter()
        .enumerate()
        .map(|(index, (after, shape, flops))| Cut {
            index,
            after: (*after).to_owned(),
            tensors: vec![spec(after, shape)],
            flops_before: *flops,
            flops_after: 120_000_000 - flops,
        })
        .collect();
    Manifest {
        format: BUNDLE_FORMAT,
        model: "fixture".to_owned(),
        hash: BundleHash::parse(&"0".repeat(64)).expect("64 hex digits"),
        input: cuts[0].tensors[0].clone(),
        outputs: cuts[3].tensors.clone(),
        preprocess: Preprocess {
            height: 64,
            width: 64,
            fit: Fit::Stretch,
            colour: Colour::Rgb,
            layout: Layout::Nchw,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        labels: (0..10).map(|i| format!("class {i}")).collect(),
        cuts,
        files: Vec::new(),
        provenance: Provenance::default(),
    }
}

/// A table of `rows` that 100 photos were measured for.
pub(crate) fn table(rows: Vec<CalibrationRow>) -> Calibration {
    Calibration {
        format: CALIBRATION_FORMAT,
        images: 100,
        with_truth: 0,
        measure: Measure::Agreement,
        shaping: Shaping::default(),
        rows,
    }
}

/// At most so many percentage points of the answers of 100 photos change.
pub(crate) fn flips(max_pp: f64) -> Judgement {
    let rate = FlipRate {
        seen: 1,
        images: 100,
        estimate: max_pp / 200.0,
        lower: 0.0,
        upper: max_pp / 100.0,
    };
    Judgement::of_flips(&rate, None)
}
