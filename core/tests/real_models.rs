//! The five real models of `DYNO_TEST_DATA`: every cut computes what the whole model computes.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyno_core::bundle::{Bundle, Draft, Verification, WriteOptions, verify};
use dyno_core::pixels::{Colour, Fit, Layout, Preprocess};
use dyno_core::{Tensor, TensorData};

/// A model and what its cut table must offer.
struct Expected {
    file: &'static str,
    /// Fewest inner cuts.
    cuts: usize,
    /// Share of all operations that the deepest inner cut leaves behind.
    reach: f64,
}

#[test]
fn squeezenet_is_the_same_at_every_cut() {
    check(&Expected {
        file: "squeezenet1.1.onnx",
        cuts: 15,
        reach: 0.9,
    });
}

#[test]
fn mobilenet_v2_is_the_same_at_every_cut() {
    check(&Expected {
        file: "mobilenetv2.onnx",
        cuts: 15,
        reach: 0.9,
    });
}

#[test]
fn resnet_18_is_the_same_at_every_cut() {
    check(&Expected {
        file: "resnet18_pqf.onnx",
        cuts: 15,
        reach: 0.9,
    });
}

#[test]
fn deeplab_v3_is_the_same_at_every_cut() {
    check(&Expected {
        file: "deeplabv3_mobilenetv2_voc.onnx",
        cuts: 10,
        reach: 0.8,
    });
}

#[test]
fn yolox_nano_is_the_same_at_every_cut() {
    check(&Expected {
        file: "yolox_nano.onnx",
        cuts: 15,
        reach: 0.6,
    });
}

fn check(expected: &Expected) {
    let Some(models) = models() else {
        eprintln!("skipped: DYNO_TEST_DATA does not point to the test data");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let bundle = prepare(&models.join(expected.file), &folder.path().join("model"));
    let cuts = &bundle.manifest().cuts;
    let inner = &cuts[1..cuts.len() - 1];
    assert!(
        inner.len() >= expected.cuts,
        "{} inner cuts only",
        inner.len()
    );
    let total = cuts.last().unwrap().flops_before as f64;
    let reach = inner
        .iter()
        .map(|c| c.flops_before as f64 / total)
        .fold(0.0, f64::max);
    assert!(
        reach > expected.reach,
        "the deepest cut reaches {reach:.2} of the operations"
    );

    let verification = verify(&bundle, &[noise(&bundle)], 2, |_, _| {}).unwrap();
    assert!(verification.pass, "{}", show(&verification));
    assert_eq!(verification.cuts.len(), cuts.len());
}

fn models() -> Option<PathBuf> {
    let data = PathBuf::from(std::env::var_os("DYNO_TEST_DATA")?);
    Some(data.join("models")).filter(|models| models.is_dir())
}

fn prepare(model: &Path, folder: &Path) -> Arc<Bundle> {
    let draft = Draft::read(model, None, &|_, _, _| {}).unwrap();
    let shape = &draft.input().shape;
    let preprocess = Preprocess {
        height: shape[2],
        width: shape[3],
        fit: Fit::Crop { crop_fraction: 1.0 },
        colour: Colour::Rgb,
        layout: Layout::Nchw,
        mean: [0.5; 3],
        std: [0.25; 3],
    };
    let options = WriteOptions {
        preprocess,
        labels: Vec::new(),
        threads: 2,
        replace: false,
    };
    Arc::new(draft.write(folder, &options, &|_, _, _| {}).unwrap())
}

/// Smooth noise in the range of a normalised photo, the same on every run.
fn noise(bundle: &Bundle) -> Tensor {
    let input = &bundle.manifest().input;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let data = (0..input.elements()).map(|i| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let random = (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5;
        (i as f32 * 0.001).sin() + 0.3 * random
    });
    Tensor::new(input.shape.clone(), TensorData::F32(data.collect())).unwrap()
}

fn show(verification: &Verification) -> String {
    let bad = verification.cuts.iter().filter(|c| c.max_rel_error > 1e-4);
    let lines: Vec<String> = bad
        .map(|c| format!("{} {:?}: {}", c.index, c.tensors, c.max_rel_error))
        .collect();
    lines.join("\n")
}
