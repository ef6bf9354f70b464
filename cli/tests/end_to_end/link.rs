//! `dyno bench upload` and `dyno bench link`: what holds over an emulated link however busy this
//! machine is. Times have lower bounds only, and an order.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fixture::{bundle, folder, models};
use crate::processes::{Run, Stream, dyno, json, wait_until};

/// The link of the tests: what it carries takes this long at least, whatever TCP does.
const RATE_BPS: f64 = 20e6;
const RTT_MS: f64 = 100.0;
const BYTES: f64 = 256_000.0;

#[test]
fn slow_start_is_the_kernels() {
    let Some(report) = upload("--bytes 256000 --rounds 2 --idle-ms 2000") else {
        return;
    };
    assert_eq!(report["link"]["congestion"], "reno");
    let least = |name: &str| {
        let rounds = report["rounds"].as_array().unwrap().iter();
        let times = rounds.map(|round| round[name].as_f64().unwrap());
        times.fold(f64::INFINITY, f64::min)
    };
    let (fresh_ms, warm_ms, idle_ms) = (least("fresh_ms"), least("warm_ms"), least("idle_ms"));
    let floor_ms = RTT_MS + BYTES * 8e3 / RATE_BPS;
    assert!(warm_ms >= floor_ms, "{warm_ms} ms is faster than the link");
    assert!(fresh_ms > warm_ms + RTT_MS, "{report:#}");
    assert!(idle_ms > warm_ms + RTT_MS, "{report:#}");
}

#[test]
fn an_outage_is_waited_for_and_what_it_took_is_sent_again() {
    let Some(report) = upload("--bytes 100000 --rounds 1 --idle-ms 0 --outage 0:1500") else {
        return;
    };
    let round = &report["rounds"][0];
    assert!(round["fresh_ms"].as_f64().unwrap() >= 1_500.0, "{round:#}");
    assert!(
        round["carried"]["up"]["out"].as_u64().unwrap() > 0,
        "{round:#}"
    );
}

#[test]
fn what_overflows_or_gets_lost_is_sent_again() {
    let Some(report) = upload("--bytes 100000 --rounds 1 --idle-ms 0 --queue-kb 15 --loss 0.01")
    else {
        return;
    };
    let up = &report["rounds"][0]["carried"]["up"];
    assert!(up["overflowed"].as_u64().unwrap() > 0, "{up:#}");
    assert!(up["bytes"].as_f64().unwrap() > 100_000.0, "{up:#}");
}

#[test]
fn client_and_server_work_over_it() {
    let folder = folder();
    let log = folder.path().join("calls.jsonl");
    let policies = "dyno,device_only,server_jpeg,split:5:256:zstd";
    let flags = "--json --calls 6 --limit 3 --pause-ms 10 --device-slowdown 20 --rate-mbit 20";
    let mut arguments = link(flags, &log);
    arguments.extend(["--policy".into(), policies.into()]);
    let Some(report) = possible(dyno(arguments)) else {
        return;
    };
    for name in policies.split(',') {
        let row = &report["policies"][name];
        assert_eq!(row["answered"], 1.0, "{name}: {row:#}");
        assert_eq!(row["calls"], 6, "{name}: {row:#}");
        for times in ["mean", "p50", "p95", "p99"] {
            assert!(row["latency_ms"][times].as_f64().unwrap() > 0.0, "{name}");
        }
        for number in ["throughput_fps", "bytes_mean", "server_ms_mean"] {
            assert!(row[number].is_number(), "{name}: {row:#}");
        }
        let carried = &report["carried"][name];
        assert_eq!(
            carried.is_null(),
            name == "device_only",
            "{name}: {carried:#}"
        );
    }
    let calls: Vec<Value> = std::fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(json)
        .collect();
    assert_eq!(calls.len(), 4 * 6);
    let split = calls.iter().find(|call| call["ran_on"] == "split").unwrap();
    for number in [
        "start_ms",
        "latency_ms",
        "bytes",
        "network_ms",
        "receive_ms",
    ] {
        assert!(split[number].is_number(), "{split:#}");
    }
    assert_eq!(split["plan"], "split at 5, 256 levels, zstd");
    assert!(!Path::new("/sys/class/net/dyno0").exists(), "left behind");
}

/// Otherwise the client would take every link for slower than it is (`docs/adr/0034-small-bodies-tell-the-rate.md`).
#[test]
fn the_servers_clock_starts_before_the_body() {
    const BPS: f64 = 250e3;
    let folder = folder();
    let log = folder.path().join("calls.jsonl");
    let flags =
        "--json --policy split:5:256:raw --calls 3 --limit 1 --pause-ms 10 --rate-mbit 0.25";
    if possible(dyno(link(flags, &log))).is_none() {
        return;
    }
    for call in std::fs::read_to_string(log).unwrap().lines().map(json) {
        let (bytes, receive_ms) = (call["bytes"].as_f64(), call["receive_ms"].as_f64());
        let least_ms = bytes.unwrap() * 8e3 / BPS;
        assert!(receive_ms.unwrap() >= least_ms, "{least_ms} ms: {call:#}");
    }
}

#[test]
fn a_signal_leaves_nothing_behind() {
    if upload("--bytes 1 --rounds 1 --idle-ms 0").is_none() {
        return;
    }
    let folder = folder();
    let log = folder.path().join("calls.jsonl");
    let run = Stream::start(link(
        "--policy server_jpeg --calls 100000 --rate-mbit 20",
        &log,
    ));
    wait_until(|| std::fs::read_to_string(&log).is_ok_and(|calls| calls.contains('\n')));
    let servers = children(run.id());
    assert_eq!(servers.len(), 1, "one server");
    run.signal("INT");
    let (_, status) = run.finish();
    assert_eq!(status.code(), Some(1));
    wait_until(|| !servers[0].exists());
}

/// `dyno bench upload --json` over the link of the tests; none where this machine has no links.
fn upload(flags: &str) -> Option<Value> {
    let link = format!("bench upload --json --rate-mbit 20 --rtt-ms {RTT_MS}");
    possible(dyno(
        [&link, flags].into_iter().flat_map(str::split_whitespace),
    ))
}

fn link(flags: &str, log: &Path) -> Vec<OsString> {
    let (bundle, samples) = (bundle(), models().join("samples"));
    let mut arguments: Vec<OsString> = ["bench", "link", "--bundle"].map(OsString::from).into();
    arguments.push(bundle.into());
    arguments.extend(["--images".into(), samples.into()]);
    arguments.extend(["--calls-out".into(), log.into()]);
    arguments.extend(flags.split_whitespace().map(OsString::from));
    arguments
}

/// What a run printed, unless it could not make a link here: it says so then.
fn possible(run: Run) -> Option<Value> {
    let why_not = [
        "cannot make a network namespace",
        "cannot open a TUN device",
    ];
    if run.code != Some(0) && why_not.iter().any(|words| run.stderr.contains(words)) {
        println!("skipped: an emulated link, because of this: {}", run.stderr);
        return None;
    }
    Some(run.ok().json())
}

/// The folders in /proc of a process's children.
fn children(parent: u32) -> Vec<PathBuf> {
    let is_child = |folder: &PathBuf| {
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let mut lines = status.lines();
        lines.any(|line| line == format!("PPid:\t{parent}"))
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    let folders = processes.filter_map(|entry| Some(entry.ok()?.path()));
    folders.filter(is_child).collect()
}
