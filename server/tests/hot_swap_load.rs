//! A model that is replaced under load: no request is lost, no answer mixes versions, and nothing of
//! the versions that have gone is left. A program of its own, because it looks at its own memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::bed::{Bed, MODEL, answer, bundle, close};
use common::shapes::{put, versions};
use common::until;
use dyno_server::Config;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_lose_no_request_and_mix_no_versions() {
    const SWAPS: usize = 8;
    const CLIENTS: usize = 4;
    /// More than what one more version in memory takes, less than what a version for each swap would.
    const MEMORY: usize = 64 << 20;
    const THREADS: usize = 8;

    let [first, second] = versions();
    let bundles = [
        ("first", bundle(0)),
        ("second", bundle(1)),
        (MODEL, bundle(0)),
    ];
    // With more, every session has threads of its own, and the second one of a cut comes with the load.
    let alone = |config: &mut Config| config.threads = NonZeroU16::new(1);
    let bed = Arc::new(Bed::start(&bundles, alone).await);
    let expected = Arc::new([
        bed.expected("first", first).await,
        bed.expected("second", second).await,
    ]);
    for (a, b) in expected[0].iter().zip(&expected[1]) {
        assert!(!close(a, b), "the versions cannot be told apart");
    }

    let mut swap = 0;
    let mut one_more = async || {
        swap += 1;
        let next = swap % 2;
        put(bundle(next), &bed.place(MODEL));
        bed.reloader.reload();
        bed.until_hash(MODEL, Some(&versions()[next].hash)).await;
    };
    one_more().await;
    one_more().await;
    // Both versions with all their tails.
    bed.expected(MODEL, first).await;
    for which in 0..second.packed.len() {
        answer(bed.packed(MODEL, second, which).await, &second.hash).await;
    }
    let (memory, threads) = (status("VmRSS") << 10, status("Threads"));

    let stop = Arc::new(AtomicBool::new(false));
    let seen: Arc<[AtomicUsize; 2]> = Arc::default();
    let hammers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (bed, expected) = (Arc::clone(&bed), Arc::clone(&expected));
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut turn = number;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    hammer(&bed, &expected, &seen, turn).await;
                }
            })
        })
        .collect();
    for _ in 0..SWAPS {
        one_more().await;
        // Some requests of each kind with every version.
        let before = [0, 1].map(|v| seen[v].load(Ordering::Relaxed));
        until(async || (0..2).all(|v| seen[v].load(Ordering::Relaxed) > before[v] + CLIENTS)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for hammer in hammers {
        hammer.await.unwrap();
    }
    let (memory_now, threads_now) = (status("VmRSS") << 10, status("Threads"));
    println!(
        "{} and {} answers over {SWAPS} swaps; {memory} to {memory_now} bytes, {threads} to \
         {threads_now} threads",
        seen[0].load(Ordering::Relaxed),
        seen[1].load(Ordering::Relaxed)
    );
    assert!(memory_now < memory + MEMORY, "{memory} -> {memory_now}");
    assert!(
        threads_now <= threads + THREADS,
        "{threads} -> {threads_now}"
    );
}

/// One request, whose answer must be the one of the version that the answer names.
async fn hammer(bed: &Bed, expected: &[Vec<Vec<f32>>; 2], seen: &[AtomicUsize; 2], turn: usize) {
    let kinds = expected[0].len();
    let kind = turn % kinds;
    let asks = (turn / kinds) % 2;
    let response = match kind {
        0 => bed.photo(MODEL, None).await,
        packed => bed.packed(MODEL, &versions()[asks], packed - 1).await,
    };
    assert_eq!(response.status(), 200, "{response:?}");
    let hash = response.headers()["dyno-bundle"]
        .to_str()
        .unwrap()
        .to_owned();
    let ran = versions()
        .iter()
        .position(|version| version.hash == hash)
        .unwrap();
    assert!(
        kind == 0 || ran == asks,
        "a packed activation runs on its own version"
    );
    let outputs = answer(response, &hash).await;
    assert!(
        close(&outputs, &expected[ran][kind]),
        "{outputs:?} is not of {hash}"
    );
    seen[ran].fetch_add(1, Ordering::Relaxed);
}

/// A number of `/proc/self/status`.
fn status(field: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
