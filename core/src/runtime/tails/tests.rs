//! Spans that do not give several activations together what they give each alone.

use super::*;
use crate::graph::testing::ModelBuilder;
use crate::runtime::tests::bundle_of;

/// Activations of a batch.
const BATCH: usize = 3;

#[test]
fn where_activations_are_mixed_they_run_one_after_the_other() {
    // Each takes its share of what all of them have.
    let mixing = ModelBuilder::new(8)
        .conv("x", (3, 4), "c1")
        .node("Relu", &["c1"], "r1")
        .node("Softmax", &["r1"], "mixed")
        .int("axis", 0)
        .conv("mixed", (4, 4), "c2")
        .node("Relu", &["c2"], "r2")
        .conv("r2", (4, 2), "c3")
        .build(&["c3"]);
    check(&mixing);
}

#[test]
fn where_activations_become_one_they_run_one_after_the_other() {
    let merging = ModelBuilder::new(8)
        .conv("x", (3, 4), "c1")
        .node("Relu", &["c1"], "r1")
        .node("ReduceMax", &["r1"], "merged")
        .ints("axes", &[0])
        .conv("merged", (4, 4), "c2")
        .node("Relu", &["c2"], "r2")
        .conv("r2", (4, 2), "c3")
        .build(&["c3"]);
    check(&merging);
}

#[test]
fn weights_that_changed_after_the_bundle_was_opened_are_refused() {
    let model = ModelBuilder::new(8).conv("x", (3, 64), "c1").build(&["c1"]);
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle_of(&model, &folder);
    let path = bundle.folder().join(WEIGHTS_FILE);
    let mut weights = std::fs::read(&path).unwrap();
    weights[0] ^= 1;
    std::fs::write(&path, weights).unwrap();
    let options = TailOptions {
        threads: 1,
        idle_sessions: 1,
    };
    let refused = TailStore::new(bundle, options).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidBundle);
}

/// The first cut's tail mixes, the last one's does not; both give several what they give each alone.
fn check(model: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle_of(model, &folder);
    let last = bundle.manifest().last_cut();
    let options = TailOptions {
        threads: 1,
        idle_sessions: usize::MAX,
    };
    let tails = TailStore::new(bundle.clone(), options).unwrap();
    let takes: Vec<bool> = (0..last)
        .map(|from| tails.takes_batches(from, last).unwrap())
        .collect();
    assert_eq!((takes[0], takes[last - 1]), (false, true), "{takes:?}");
    for from in 0..last {
        let outputs = |seeds| {
            let run = tails.run(&stack(&bundle, from, seeds), last, &Cancel::new());
            let outputs = run.unwrap().outputs.into_iter();
            outputs.map(|one| one.into_tensors().unwrap()[0].as_f32().unwrap().to_vec())
        };
        for (seed, together) in outputs(0..BATCH).enumerate() {
            let alone = outputs(seed..seed + 1).next().unwrap();
            assert_eq!(together.len(), alone.len());
            let mut pairs = together.iter().zip(&alone);
            assert!(pairs.all(|(a, b)| (a - b).abs() <= 1e-4), "cut {from}");
        }
    }
}

fn stack(bundle: &Bundle, cut: usize, seeds: std::ops::Range<usize>) -> Stack {
    let mut stack = Stack::default();
    stack.begin(&bundle.manifest().cuts[cut]).unwrap();
    for seed in seeds {
        let fill = |places: &mut [&mut [f32]]| {
            for (i, x) in places.iter_mut().flat_map(|p| p.iter_mut().enumerate()) {
                *x = ((i * 7 + seed * 13 + 1) as f32 * 0.37).sin();
            }
            Ok(())
        };
        stack.push_with(fill).unwrap();
    }
    stack
}
