//! The tails of real models, several activations together: the same answers as alone, and one copy
//! of the weights whatever cuts are in use.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping"
)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyno_core::bundle::{Bundle, Draft, WriteOptions};
use dyno_core::pixels::PreprocessFile;
use dyno_core::runtime::{Activation, Cancel, Stack, TailOptions, TailStore};

/// Activations in a batch.
const BATCH: usize = 4;
/// What two orders of summing may differ by, as a share of the largest output.
const MAX_DIFFERENCE: f32 = 1e-3;

#[test]
fn tails_of_the_shipped_model_agree_together_and_alone() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/shapes12.onnx");
    check(&model, 1);
}

#[test]
fn tails_of_squeezenet_agree_together_and_alone() {
    real("squeezenet1.1.onnx", 4);
}

#[test]
fn tails_of_mobilenet_v2_agree_together_and_alone() {
    real("mobilenetv2.onnx", 6);
}

#[test]
fn tails_of_resnet_18_agree_together_and_alone() {
    real("resnet18_pqf.onnx", 4);
}

#[test]
fn tails_of_yolox_nano_agree_together_and_alone() {
    real("yolox_nano.onnx", 20);
}

#[test]
fn tails_of_deeplab_v3_agree_together_and_alone() {
    real("deeplabv3_mobilenetv2_voc.onnx", 26);
}

fn real(file: &str, every: usize) {
    let Some(data) = std::env::var_os("DYNO_TEST_DATA") else {
        eprintln!("skipped: DYNO_TEST_DATA does not point to the test data");
        return;
    };
    check(&PathBuf::from(data).join("models").join(file), every);
}

fn check(model: &Path, every: usize) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = prepare(model, &folder.path().join("model"));
    let last = bundle.manifest().last_cut();
    let options = TailOptions {
        threads: 1,
        idle_sessions: usize::MAX,
    };
    let tails = TailStore::new(bundle.clone(), options).unwrap();
    for from in (0..last).step_by(every) {
        tails.prepare(from, last).unwrap();
        assert!(
            tails.takes_batches(from, last).unwrap(),
            "the tail behind cut {from} takes several activations"
        );
    }
    // One copy, or a little more: blocks pad the channels, and some weights lie in two layouts.
    let file = std::fs::metadata(bundle.folder().join("weights.bin")).unwrap();
    let copies = tails.weights_bytes() as f64 / file.len() as f64;
    assert!(copies < 1.6, "{copies:.2} copies of the weights");
    // What comes now needs nothing of the bundle's files.
    tails.seal();
    std::fs::remove_dir_all(bundle.folder()).unwrap();

    for from in (0..last).step_by(every) {
        let inputs = stack(&bundle, from, 0..BATCH);
        let together = tails.run(&inputs, last, &Cancel::new()).unwrap();
        assert_eq!(together.outputs.len(), BATCH);
        for (seed, output) in together.outputs.into_iter().enumerate() {
            let alone = stack(&bundle, from, seed..seed + 1);
            let alone = tails.run(&alone, last, &Cancel::new()).unwrap();
            let alone = alone.outputs.into_iter().next().unwrap();
            assert_close(output, alone, from);
        }
    }
}

fn assert_close(one: Activation, other: Activation, from: usize) {
    let (one, other) = (one.into_tensors().unwrap(), other.into_tensors().unwrap());
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one.shape(), other.shape());
        let (Some(one), Some(other)) = (one.as_f32(), other.as_f32()) else {
            continue;
        };
        let largest = other.iter().fold(0f32, |m, x| m.max(x.abs()));
        let worst = one.iter().zip(other).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0f32, f32::max);
        assert!(
            worst <= MAX_DIFFERENCE * largest,
            "cut {from}: {worst} of {largest}"
        );
    }
}

fn stack(bundle: &Bundle, cut: usize, seeds: Range<usize>) -> Stack {
    let mut stack = Stack::default();
    stack.begin(&bundle.manifest().cuts[cut]).unwrap();
    for seed in seeds {
        let fill = |tensors: &mut [&mut [f32]]| {
            for (i, x) in tensors.iter_mut().flat_map(|t| t.iter_mut().enumerate()) {
                *x = ((i * 7 + seed * 13 + 1) as f32 * 0.37).sin();
            }
            Ok(())
        };
        stack.push_with(fill).unwrap();
    }
    stack
}

fn prepare(model: &Path, out: &Path) -> Arc<Bundle> {
    let draft = Draft::read(model, None, &|_, _, _| {}).unwrap();
    let preprocess = PreprocessFile::default()
        .complete(&draft.input().shape)
        .unwrap();
    let options = WriteOptions {
        preprocess,
        labels: vec![],
        threads: 1,
        replace: false,
    };
    Arc::new(draft.write(out, &options, &|_, _, _| {}).unwrap())
}
