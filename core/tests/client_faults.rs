//! Many calls through every fault that `docs/faults.md` lists, over real sockets: each is answered,
//! with the right outputs, and nothing is left behind.
//!
//! A few hundred calls, unless `DYNO_FAULT_CALLS` says how many. How late calls were is printed
//! (`--nocapture`), and asserted only so coarsely that a busy machine does not fail it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "client/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dyno_core::Result;
use dyno_core::bundle::Profile;
use dyno_core::client::{
    Client, ClientConfig, ExecutionMode, HttpOptions, HttpTransport, Inference,
};
use dyno_core::runtime::{Activation, Cancel, Executor, SpanRun};
use dyno_core::schedule::{NetworkKind, Plan};
use support::chaos::{Chaos, Way};
use support::http::{Script, TestServer, Trouble};
use support::{LAST, assert_right, compute, config, manifest, profile, split, stage};

/// Calls unless told otherwise.
const CALLS: usize = 400;
/// What one node of the model takes on this device.
const NODE: Duration = Duration::from_millis(2);
/// How long a fault lasts, and how long nothing is wrong after it.
const FAULT: Duration = Duration::from_millis(150);
const PEACE: Duration = Duration::from_millis(100);
/// No call takes longer, whatever happens; the promise is far below.
const FOREVER: Duration = Duration::from_secs(5);
/// What the promise leaves for what no estimate knows.
const MARGIN_FACTOR: f64 = 1.1;
const MARGIN_MS: f64 = 20.0;

/// What is wrong for a while.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Way(Way),
    Server(Trouble),
    Network(NetworkKind),
}

const FAULTS: &[Fault] = &[
    Fault::Way(Way::Killed),
    Fault::Server(Trouble::Late(Duration::from_millis(60))),
    Fault::Way(Way::Restarted),
    Fault::Server(Trouble::Silent),
    Fault::Network(NetworkKind::Cellular),
    Fault::Way(Way::BlackHole),
    Fault::Network(NetworkKind::Wifi),
    Fault::Way(Way::Reset),
    Fault::Server(Trouble::Late(Duration::from_millis(1_500))),
    Fault::Way(Way::Noisy),
    Fault::Server(Trouble::Damaged),
    Fault::Server(Trouble::TooMany),
    Fault::Network(NetworkKind::Cellular),
    Fault::Server(Trouble::Truncated),
    Fault::Way(Way::Stalled),
    Fault::Server(Trouble::Broken),
    Fault::Network(NetworkKind::None),
    Fault::Server(Trouble::Portal),
    Fault::Server(Trouble::Full),
    Fault::Network(NetworkKind::Wifi),
];

/// A device that takes its time.
struct Unhurried;

impl Executor for Unhurried {
    fn ready_cuts(&self) -> Vec<usize> {
        (0..=LAST).collect()
    }

    fn request(&self, _cut: usize) {}

    fn prepare(&self, _cut: usize) -> Result<()> {
        Ok(())
    }

    fn run(&self, input: Activation, to: usize, cancel: &Cancel) -> Result<SpanRun> {
        let (from, started) = (input.cut, Instant::now());
        for _ in from..to {
            cancel.check()?;
            std::thread::sleep(NODE);
        }
        let input = input.into_tensors()?.remove(0);
        Ok(SpanRun {
            output: Activation::new(to, vec![compute(input, from, to)]),
            elapsed: started.elapsed(),
        })
    }
}

fn client_of(address: std::net::SocketAddr, config: ClientConfig) -> Client {
    let options = HttpOptions {
        connect_timeout: Duration::from_millis(300),
        ..HttpOptions::default()
    };
    let url = format!("http://{address}");
    let transport = HttpTransport::new(&url, manifest().outputs.clone(), options).unwrap();
    let node_ms = NODE.as_secs_f64() * 1e3;
    let profile = Profile {
        head_ms: (0..=LAST).map(|cut| cut as f64 * node_ms).collect(),
        ..profile()
    };
    let transport = Some(Arc::new(transport) as _);
    Client::from_parts(
        manifest(),
        Some(&profile),
        Arc::new(Unhurried),
        transport,
        config,
    )
    .unwrap()
}

/// One of each kind: an early and a late cut, the photo, and the planner's choice. They come back
/// to a server that failed sooner than phones do, so that they meet the next fault.
fn clients(address: std::net::SocketAddr) -> Vec<Client> {
    let base = || ClientConfig {
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(100),
        remote_deadline_max: Duration::from_secs(1),
        ..config()
    };
    let mut early = ClientConfig {
        plan: Some(split(1)),
        ..base()
    };
    early.objective.limits.latency_ms = Some(60.0);
    let late = ClientConfig {
        plan: Some(split(3)),
        ..base()
    };
    let photo = ClientConfig {
        mode: ExecutionMode::PreferCloud,
        ..base()
    };
    [early, late, photo, base()]
        .into_iter()
        .map(|config| client_of(address, config))
        .collect()
}

/// What became of the calls.
#[derive(Default)]
struct Tally {
    took_ms: Vec<f64>,
    /// How much later than promised; negative if earlier.
    late_ms: Vec<f64>,
    ended: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, inference: &Inference, took: Duration, limit_ms: f64) {
        assert_right(inference);
        assert!(took < FOREVER, "{took:?}: {inference:?}");
        let device_ms = NODE.as_secs_f64() * 1e3 * LAST as f64;
        let waited_ms = inference.resume_after_ms.unwrap_or(0.0);
        let promised_ms = limit_ms.max(waited_ms + device_ms * MARGIN_FACTOR + MARGIN_MS);
        let took_ms = took.as_secs_f64() * 1e3;
        self.took_ms.push(took_ms);
        self.late_ms.push(took_ms - promised_ms);
        let end = match &inference.fallback {
            Some(fallback) if inference.plan == Plan::Device => {
                format!("spared: {}", fallback.kind)
            }
            Some(fallback) => format!("resumed: {}", fallback.kind),
            None => format!("as planned: {}", inference.ran_on.as_str()),
        };
        *self.ended.entry(end).or_default() += 1;
    }

    fn print(&mut self) {
        self.took_ms.sort_by(f64::total_cmp);
        self.late_ms.sort_by(f64::total_cmp);
        let at = |values: &[f64], per_mille: usize| {
            let index = values.len() * per_mille / 1_000;
            values[index.min(values.len() - 1)]
        };
        let percentiles = [500, 900, 990, 999, 1_000];
        println!("{} calls, all right", self.took_ms.len());
        let took: Vec<_> = percentiles.map(|p| at(&self.took_ms, p)).into();
        println!("took (p50, p90, p99, p99.9, max): {took:.1?} ms");
        let late: Vec<_> = percentiles.map(|p| at(&self.late_ms, p)).into();
        println!("later than promised: {late:.1?} ms");
        let broken = self.late_ms.iter().filter(|late| **late > 0.0).count();
        println!("promises broken: {broken}");
        for (end, count) in &self.ended {
            println!("{count:6} {end}");
        }
    }
}

/// Calls until there were `calls` and every fault was there, with every client at once.
async fn storm(calls: usize) -> Tally {
    let trouble = Arc::new(Mutex::new(Trouble::None));
    let server = TestServer::start(Script::Live(trouble.clone())).await;
    let chaos = Chaos::start(server.address).await;
    let clients = clients(chaos.address);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (made, over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let workers: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(index, client)| {
            let limit_ms = if index == 0 { 60.0 } else { 0.0 };
            let (client, tally) = (client.clone(), tally.clone());
            let (made, over) = (made.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let staged = stage(&client);
                    let started = Instant::now();
                    let inference = client.infer(staged).await.unwrap();
                    let took = started.elapsed();
                    tally.lock().unwrap().count(&inference, took, limit_ms);
                    made.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            })
        })
        .collect();
    let mut rounds = 0;
    while rounds == 0 || made.load(Ordering::SeqCst) < calls {
        for &fault in FAULTS {
            match fault {
                Fault::Way(way) => chaos.set(way),
                Fault::Server(kind) => *trouble.lock().unwrap() = kind,
                Fault::Network(kind) => {
                    for client in &clients {
                        client.on_network_changed(kind, false);
                    }
                }
            }
            tokio::time::sleep(FAULT).await;
            chaos.set(Way::Clear);
            *trouble.lock().unwrap() = Trouble::None;
            tokio::time::sleep(PEACE).await;
        }
        rounds += 1;
    }
    over.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.unwrap();
    }
    drop(clients);
    let began = Instant::now();
    while chaos.open() > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{} connections of clients that are gone",
            chaos.open()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::mem::take(&mut *tally.lock().unwrap())
}

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: f64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib / 1024.0
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A storm in a runtime of its own, which ends with it.
fn weather(calls: usize) -> Tally {
    let runtime = runtime();
    let tally = runtime.block_on(storm(calls));
    runtime.shutdown_timeout(Duration::from_secs(10));
    tally
}

#[test]
fn every_call_is_answered_rightly_through_every_fault_and_nothing_is_left_behind() {
    let calls = std::env::var("DYNO_FAULT_CALLS").map_or(CALLS, |n| n.parse().unwrap());
    // The first runtime of a process opens what all of them share.
    drop(runtime());
    let (threads, files) = (entries("/proc/self/task"), entries("/proc/self/fd"));
    if calls > CALLS {
        // What a process allocates once is there before the long storm begins.
        weather(CALLS);
    }
    let before_mb = resident_mb();
    let mut tally = weather(calls);
    tally.print();
    let grown_mb = resident_mb() - before_mb;
    println!("resident memory grew by {grown_mb:.1} MB from {before_mb:.1} MB");
    assert!(tally.took_ms.len() >= calls);
    assert_eq!(entries("/proc/self/task"), threads, "threads");
    assert_eq!(entries("/proc/self/fd"), files, "open files");
    assert!(grown_mb < 64.0, "{grown_mb} MB");
    for end in [
        "as planned: split",
        "resumed: deadline_exceeded",
        "resumed: unreachable",
        "resumed: protocol",
    ] {
        assert!(tally.ended.contains_key(end), "no call was {end}");
    }
}
