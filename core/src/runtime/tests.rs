//! Spans and executors on a small real model.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::bundle::{Bundle, Draft, WriteOptions};
use crate::graph::testing::typical;
use crate::pixels::PreprocessFile;
use crate::{Tensor, TensorData};

/// Looks, a millisecond apart, before a test gives up waiting.
const MAX_LOOKS: usize = 20_000;

pub(super) fn bundle(folder: &tempfile::TempDir) -> Arc<Bundle> {
    bundle_of(&typical(), folder)
}

pub(super) fn bundle_of(model: &[u8], folder: &tempfile::TempDir) -> Arc<Bundle> {
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, model).unwrap();
    let draft = Draft::read(&file, None, &|_, _, _| {}).unwrap();
    let preprocess = PreprocessFile::default()
        .complete(&draft.input().shape)
        .unwrap();
    let options = WriteOptions {
        preprocess,
        labels: vec![],
        threads: 1,
        replace: false,
    };
    Arc::new(
        draft
            .write(&folder.path().join("bundle"), &options, &|_, _, _| {})
            .unwrap(),
    )
}

fn input(bundle: &Bundle) -> Activation {
    let input = &bundle.manifest().input;
    let data = (0..input.elements())
        .map(|i| (i as f32 * 0.11).cos())
        .collect();
    Activation::new(
        0,
        vec![Tensor::new(input.shape.clone(), TensorData::F32(data)).unwrap()],
    )
}

fn answer(run: SpanRun) -> Vec<Tensor> {
    run.output.into_tensors().unwrap()
}

#[test]
fn a_store_keeps_as_many_spans_as_it_may_and_records_their_times() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(&folder);
    let last = bundle.manifest().last_cut();
    let store = SpanStore::new(
        bundle.clone(),
        SpanOptions {
            threads: 1,
            capacity: 2,
        },
    )
    .unwrap();
    for to in [1, 2, last, 2] {
        store.run(input(&bundle), to, &Cancel::new()).unwrap();
    }
    assert!(!store.contains(0, 1));
    let times = store.times();
    let of = |to| times.iter().find(|(_, t, _)| *t == to).unwrap().2;
    assert_eq!((times.len(), of(2).runs, of(last).runs), (2, 2, 1));
    assert!(of(2).mean_ms > 0.0);
    for (from, to) in [(2, 1), (1, 1), (0, last + 1)] {
        assert!(store.build(from, to).is_err(), "a span from {from} to {to}");
    }
    assert_eq!(
        store.times().len(),
        2,
        "a span that cannot be built takes no place"
    );
}

#[test]
fn threads_that_want_the_same_span_build_it_once_and_agree() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(&folder);
    let last = bundle.manifest().last_cut();
    let store = SpanStore::new(
        bundle.clone(),
        SpanOptions {
            threads: 1,
            capacity: 2,
        },
    )
    .unwrap();
    let answers: Vec<Vec<Tensor>> = std::thread::scope(|scope| {
        let run = || answer(store.run(input(&bundle), last, &Cancel::new()).unwrap());
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(store.times(), [(0, last, store.times()[0].2)]);
    assert_eq!(store.times()[0].2.runs, 4);
}

#[test]
fn an_executor_moves_to_another_cut_and_answers_all_the_while() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(&folder);
    let last = bundle.manifest().last_cut();
    let executor = DeviceExecutor::new(bundle.clone(), 1).unwrap();
    let whole = answer(executor.run(input(&bundle), last, &Cancel::new()).unwrap());
    assert_eq!(executor.ready_cuts(), [0, last]);

    executor.request(3);
    let mut runs = 0;
    while !executor.ready_cuts().contains(&3) {
        let same = answer(executor.run(input(&bundle), last, &Cancel::new()).unwrap());
        assert_eq!(same, whole);
        runs += 1;
        assert!(runs < 100_000, "the spans of cut 3 are never ready");
    }
    let chained = answer(executor.run(input(&bundle), last, &Cancel::new()).unwrap());
    let close = |a: &Tensor, b: &Tensor| {
        let pairs = a.as_f32().unwrap().iter().zip(b.as_f32().unwrap());
        pairs.fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) < 1e-5
    };
    assert!(chained.iter().zip(&whole).all(|(a, b)| close(a, b)));
    let held = || -> Vec<(usize, usize)> {
        executor
            .spans()
            .times()
            .iter()
            .map(|&(from, to, _)| (from, to))
            .collect()
    };
    wait_until("the whole model's span is dropped", || {
        held() == [(0, 3), (3, last)]
    });
}

/// Waits for the executor's own thread.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..MAX_LOOKS {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it never happens that {what}");
}

#[test]
fn a_head_run_before_the_cut_moved_still_finds_its_tail() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(&folder);
    let last = bundle.manifest().last_cut();
    let executor = DeviceExecutor::new(bundle.clone(), 1).unwrap();
    executor.prepare(2).unwrap();
    let head = executor.run(input(&bundle), 2, &Cancel::new()).unwrap();
    executor.prepare(4).unwrap();
    assert!(
        executor.spans().contains(2, last),
        "the old tail waits for the next inference"
    );
    executor.run(head.output, last, &Cancel::new()).unwrap();
    executor.run(input(&bundle), last, &Cancel::new()).unwrap();
    wait_until("the old tail is dropped", || {
        !executor.spans().contains(2, last)
    });
}

#[test]
fn a_cancelled_inference_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(&folder);
    let executor = DeviceExecutor::new(bundle.clone(), 1).unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    let error = executor
        .run(input(&bundle), bundle.manifest().last_cut(), &cancel)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(executor.spans().times().is_empty());
}

#[test]
fn cancelling_ends_a_run_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(&folder);
    let last = bundle.manifest().last_cut();
    let store = SpanStore::new(
        bundle.clone(),
        SpanOptions {
            threads: 1,
            capacity: 1,
        },
    )
    .unwrap();
    store.build(0, last).unwrap();
    // A run takes microseconds, so the cancel of some round falls into one.
    let cancelled = (0..200u64).any(|round| {
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| store.run(input(&bundle), last, &cancel));
            std::thread::sleep(Duration::from_micros(20 * (round % 50)));
            cancel.cancel();
            match running.join().unwrap() {
                Ok(_) => false,
                Err(error) => error.kind() == ErrorKind::Cancelled,
            }
        })
    });
    assert!(cancelled);
    store.run(input(&bundle), last, &Cancel::new()).unwrap();
}

#[test]
fn a_dropped_executor_leaves_no_builder_behind() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(&folder);
    for _ in 0..20 {
        let executor = DeviceExecutor::new(bundle.clone(), 1).unwrap();
        executor.request(3);
        drop(executor);
        assert_eq!(Arc::strong_count(&bundle), 1, "somebody still holds it");
    }
}
