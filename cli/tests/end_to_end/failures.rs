//! Networks and servers that fail: every photo is answered all the same, and the line says why.

use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::Value;

use crate::fixture::{
    MODEL, Sample, assert_right, bundle, bundles, folder, infer, infer_arguments, keys, photos,
    prepare, samples,
};
use crate::processes::{Server, Stream};
use crate::relay::{Relay, Weather};

/// Lines that are read before the network fails.
const BEFORE: usize = 5;
/// Times that the samples are shown: their lines are far more than a pipe holds, so that most
/// are made after the failure, however late it is.
const ROUNDS: usize = 20;

#[test]
fn without_a_server_the_device_answers() {
    let base = nobody_listens();
    for flags in [&["--mode", "PREFER_CLOUD"][..], &["--cut", "9"]] {
        let flags = [&["--server", &base], flags].concat();
        let lines = infer(&flags, &photos(20)).ok().json_lines();
        assert_right(&lines, &samples());
        assert_fell_back(&lines[0], "unreachable");
    }
}

#[test]
fn only_cloud_without_a_server_is_an_error_for_each_image() {
    let base = nobody_listens();
    let flags = ["--server", &base, "--mode", "ONLY_CLOUD"];
    let run = infer(&flags, &photos(2));
    let lines = run.json_lines();
    assert_eq!(lines.len(), 2, "{run:?}");
    for (line, photo) in lines.iter().zip(photos(2)) {
        assert_eq!(keys(line), ["error", "image", "kind"]);
        assert_eq!(line["kind"], "unreachable");
        assert_eq!(line["image"], photo.display().to_string());
    }
    run.complaint(1);
}

#[test]
fn a_server_with_another_bundle_is_not_believed() {
    let folder = folder();
    prepare(&folder.path().join(MODEL), &["--mean", "0.1,0.2,0.3"]).ok();
    let server = Server::start(folder.path());
    let base = server.base();
    for flags in [&["--cut", "9"][..], &["--mode", "PREFER_CLOUD"]] {
        let flags = [&["--server", &base], flags].concat();
        let lines = infer(&flags, &photos(20)).ok().json_lines();
        assert_right(&lines, &samples());
        for line in &lines {
            assert_fell_back(line, "bundle_mismatch");
        }
        assert!(lines[0]["bytes_up"].as_u64().unwrap() > 0, "{}", lines[0]);
        assert_eq!(lines[1]["bytes_up"], 0, "it is not asked twice");
    }
    let run = infer(&["--server", &base, "--mode", "ONLY_CLOUD"], &photos(1));
    assert_eq!(run.json_lines()[0]["kind"], "bundle_mismatch");
    run.complaint(1);
}

#[test]
fn a_server_without_the_model_is_left_alone() {
    let folder = folder();
    prepare(&folder.path().join("another"), &[]).ok();
    let server = Server::start(folder.path());
    let lines = infer(&["--server", &server.base(), "--cut", "9"], &photos(20))
        .ok()
        .json_lines();
    assert_right(&lines, &samples());
    for line in &lines {
        assert_fell_back(line, "not_found");
    }
}

#[test]
fn a_server_that_accepts_and_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let lines = infer(&["--server", &base, "--cut", "9"], &photos(20))
        .ok()
        .json_lines();
    assert_right(&lines, &samples());
    // Which patience ends first, the connection's or the call's, is up to how fast this machine is today.
    let kind = &lines[0]["fallback"]["kind"];
    let kinds = ["unreachable", "deadline_exceeded"];
    let kind = kinds.into_iter().find(|known| kind == known);
    assert_fell_back(&lines[0], kind.unwrap_or("unreachable"));
}

#[test]
fn a_server_that_reads_and_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            let _ = connection.read(&mut [0; 1024]);
        }
    });
    let lines = infer(&["--server", &base, "--cut", "9"], &photos(20))
        .ok()
        .json_lines();
    assert_right(&lines, &samples());
    assert_fell_back(&lines[0], "unreachable");
}

#[test]
fn a_server_that_hangs_in_mid_stream_is_waited_for_until_the_deadline() {
    let server = Server::start(bundles());
    let relay = Relay::to(server.address);
    let lines = stream(&relay.base(), || relay.turns(Weather::Silence));
    assert_resumed_from_cut(&lines, "deadline_exceeded");
}

#[test]
fn a_server_that_dies_during_the_answer() {
    let server = Server::start(bundles());
    let relay = Relay::to(server.address);
    let lines = stream(&relay.base(), || relay.turns(Weather::HalfAnAnswer));
    assert_resumed_from_cut(&lines, "unreachable");
}

#[test]
fn a_server_that_is_killed_in_mid_stream() {
    let mut server = Server::start(bundles());
    let base = server.base();
    let lines = stream(&base, || server.crash());
    assert_resumed_from_cut(&lines, "unreachable");
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    let server = Server::start(bundles());
    let relay = Relay::to(server.address);
    relay.turns(Weather::HalfAnAnswer);
    // Seconds of photos: the server is left alone for up to two after it failed twice.
    let images: Vec<PathBuf> = (0..10).flat_map(|_| many(&samples())).collect();
    let base = relay.base();
    let flags = ["--server", &base, "--cut", "9"];
    let mut stream = Stream::start(infer_arguments(&bundle(), &flags, &images));
    let first = stream.next(1);
    assert_fell_back(&first[0], "unreachable");
    relay.turns(Weather::Fine);
    let (rest, status) = stream.finish();
    assert!(status.success());
    let split = rest.iter().filter(|line| line["ran_on"] == "split").count();
    assert!(split > 0, "never again");
}

/// One process answers many photos; the network fails after the first few.
fn stream(base: &str, fail: impl FnOnce()) -> Vec<Value> {
    let samples = samples();
    let images = many(&samples);
    let flags = ["--server", base, "--cut", "9"];
    let mut stream = Stream::start(infer_arguments(&bundle(), &flags, &images));
    let mut lines = stream.next(BEFORE);
    fail();
    let (rest, status) = stream.finish();
    lines.extend(rest);
    assert!(status.success(), "{status}");
    let shown: Vec<Sample> = samples.iter().cycle().take(images.len()).cloned().collect();
    assert_right(&lines, &shown);
    lines
}

fn many(samples: &[Sample]) -> Vec<PathBuf> {
    let files = samples.iter().map(|sample| sample.file.clone());
    std::iter::repeat_n(files, ROUNDS).flatten().collect()
}

/// Before the failure the server answered; then one call sent its activation in vain and went on
/// from the cut; the last ones did without.
#[track_caller]
fn assert_resumed_from_cut(lines: &[Value], kind: &str) {
    assert!(
        lines.iter().any(|line| line["ran_on"] == "split"),
        "{:?}",
        &lines[..BEFORE]
    );
    let resumed = lines
        .iter()
        .find(|line| line["bytes_up"].as_u64() > Some(0) && line["fallback"]["kind"] == kind);
    let resumed = resumed.unwrap_or_else(|| panic!("no call failed with {kind}"));
    assert_eq!(resumed["ran_on"], "device");
    assert_eq!(resumed["fallback"]["from_cut"], 9);
    assert_fell_back(lines.last().unwrap(), kind);
}

#[track_caller]
fn assert_fell_back(line: &Value, kind: &str) {
    assert_eq!(line["ran_on"], "device", "{line}");
    assert_eq!(line["fallback"]["kind"], kind, "{line}");
    assert!(line["fallback"]["error"].is_string(), "{line}");
}

/// The address of a port that was free a moment ago.
fn nobody_listens() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
