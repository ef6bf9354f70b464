//! Head here, tail on a real server: every cut, precision and codec gives the device's answer.

use serde_json::Value;

use crate::fixture::{assert_right, bundles, infer, photos, samples, top};
use crate::processes::Server;

/// Photos of a comparison.
const PHOTOS: usize = 3;
/// Precisions from coarse to fine.
const LEVELS: [&str; 5] = ["2", "16", "256", "65536", "raw"];

#[test]
fn every_precision_and_codec_at_cuts_early_and_late() {
    let server = Server::start(bundles());
    let device = on_device();
    // One tensor, two tensors (a skip connection), few elements.
    for cut in ["1", "10", "24"] {
        for codec in ["raw", "lz4", "zstd"] {
            let mut before = 0;
            for levels in LEVELS {
                let flags = ["--cut", cut, "--levels", levels, "--codec", codec];
                let lines = on_server(&server, &flags);
                for (line, expected) in lines.iter().zip(&device) {
                    assert_eq!(line["ran_on"], "split", "{line}");
                    assert_eq!(line["cut"], cut.parse::<u64>().unwrap());
                    assert_eq!(line["codec"], codec);
                    assert_eq!(line["levels"].as_u64(), levels.parse().ok());
                    assert!(line.get("fallback").is_none(), "{line}");
                    assert_close(line, expected, tolerance(levels));
                }
                let bytes = lines.iter().map(|l| l["bytes_up"].as_u64().unwrap()).sum();
                assert!(
                    bytes > before,
                    "{flags:?}: {bytes} bytes, {before} with fewer levels"
                );
                before = bytes;
            }
        }
    }
}

#[test]
fn at_cut_0_the_whole_model_runs_on_the_server() {
    let server = Server::start(bundles());
    let device = on_device();
    for (flags, tolerance) in [
        (
            &["--cut", "0", "--levels", "raw", "--codec", "lz4"][..],
            1e-5,
        ),
        (&["--cut", "0", "--codec", "png"], 1e-4),
        (&["--codec", "webp-lossless"], 1e-4),
        (&["--codec", "jpeg"], 0.2),
        (&["--cut", "0", "--codec", "jpeg:95"], 0.2),
        (&["--codec", "webp"], 0.2),
        (&["--cut", "0", "--codec", "webp:95"], 0.2),
    ] {
        for (line, expected) in on_server(&server, flags).iter().zip(&device) {
            assert_eq!(line["ran_on"], "server", "{line}");
            assert_eq!(line["cut"], 0);
            assert!(line["bytes_up"].as_u64().unwrap() > 0, "{line}");
            assert!(line["ms"]["server"].as_f64().unwrap() > 0.0, "{line}");
            assert_close(line, expected, tolerance);
        }
    }
}

#[test]
fn every_sample_is_right_when_split() {
    let server = Server::start(bundles());
    let base = server.base();
    let flags = ["--server", &base, "--mode", "ONLY_CLOUD", "--cut", "17"];
    let lines = infer(&flags, &photos(20)).ok().json_lines();
    assert_right(&lines, &samples());
    assert!(lines.iter().all(|line| line["ran_on"] == "split"));
}

#[test]
fn each_mode_runs_where_it_says() {
    let server = Server::start(bundles());
    let base = server.base();
    for (mode, where_it_may) in [
        ("AUTO", &["device", "split", "server"][..]),
        ("PREFER_ON_DEVICE", &["device"]),
        ("ONLY_ON_DEVICE", &["device"]),
        // Late answers, on a machine that is busy with other tests, are finished here.
        ("PREFER_CLOUD", &["server", "device"]),
        ("ONLY_CLOUD", &["server"]),
    ] {
        let run = infer(&["--server", &base, "--mode", mode], &photos(5)).ok();
        let lines = run.json_lines();
        assert_right(&lines, &samples()[..5]);
        let ran_on: Vec<&str> = lines
            .iter()
            .map(|l| l["ran_on"].as_str().unwrap())
            .collect();
        assert!(
            ran_on.iter().all(|on| where_it_may.contains(on)),
            "{mode}: {ran_on:?}"
        );
        assert!(
            ran_on.contains(&where_it_may[0]) || mode == "AUTO",
            "{mode}: {ran_on:?}"
        );
        for (line, on) in lines.iter().zip(ran_on) {
            let sent = line["bytes_up"].as_u64().unwrap() > 0;
            let fell_back = line.get("fallback").is_some();
            assert!(sent || on == "device", "{line}");
            assert!(!sent || on != "device" || fell_back, "{line}");
        }
    }
}

fn on_device() -> Vec<Value> {
    infer(&["--top", "12"], &photos(PHOTOS)).ok().json_lines()
}

/// With a mode in which nothing but the server answers: no deadline is short on a busy machine.
fn on_server(server: &Server, flags: &[&str]) -> Vec<Value> {
    let base = server.base();
    let mut all = vec!["--server", &base, "--mode", "ONLY_CLOUD", "--top", "12"];
    all.extend(flags);
    let lines = infer(&all, &photos(PHOTOS)).ok().json_lines();
    assert_eq!(lines.len(), PHOTOS);
    lines
}

/// How far a score may be from the device's; 16 levels and fewer are not held to an answer.
fn tolerance(levels: &str) -> f64 {
    match levels {
        "raw" => 1e-5,
        "65536" => 1e-3,
        "256" => 0.05,
        _ => 1.0,
    }
}

/// The same classes with scores that differ by no more than `tolerance`.
#[track_caller]
fn assert_close(line: &Value, expected: &Value, tolerance: f64) {
    if tolerance < 1.0 {
        assert_eq!(top(line).0, top(expected).0, "{line}\n{expected}");
    }
    let scores = |line: &Value| {
        let mut scores = [f64::NAN; 12];
        for label in line["top"].as_array().unwrap() {
            let index = usize::try_from(label["index"].as_u64().unwrap()).unwrap();
            scores[index] = label["score"].as_f64().unwrap();
        }
        scores
    };
    for (found, expected) in scores(line).iter().zip(scores(expected)) {
        assert!(
            (found - expected).abs() <= tolerance,
            "{found} for {expected}: {line}"
        );
    }
}
