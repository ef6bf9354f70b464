//! A server with keys: whose token is right gets what it asks for, and nobody else does.

use std::path::Path;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::fixture::{MODEL, assert_right, bundle, bundles, folder, hash, infer, photos, samples};
use crate::http;
use crate::processes::{Run, Server, dyno, wait_until};

/// A server's file of keys, the right token and a wrong one.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        let folder = folder();
        let hash = Sha256::digest("sesame");
        let digits: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = digits.concat();
        for (file, text) in [
            ("keys", format!("# ours\nphone {hex}\n")),
            ("right", "sesame\n".into()),
            ("wrong", "abracadabra\n".into()),
        ] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn server(&self) -> Server {
        let server = Server::start_with(bundles(), &["--keys", &self.file("keys")]);
        wait_until(|| http::get(&server.url("/v2/health/ready")).status == 200);
        server
    }
}

#[test]
fn the_right_token_is_let_in() {
    let keys = Keys::new();
    let server = keys.server();
    assert_eq!(http::get(&server.url("/v1/models")).status, 401);
    let (base, right) = (server.base(), keys.file("right"));
    let flags = ["--server", &base, "--token-file", &right];
    let flags = [&flags[..], &["--mode", "ONLY_CLOUD", "--cut", "9"]].concat();
    let lines = infer(&flags, &photos(3)).ok().json_lines();
    assert_right(&lines, &samples()[..3]);
    assert!(
        lines.iter().all(|line| line["ran_on"] == "split"),
        "{lines:?}"
    );
}

#[test]
fn a_wrong_token_or_none_leaves_it_to_the_device() {
    let keys = Keys::new();
    let server = keys.server();
    let (base, wrong) = (server.base(), keys.file("wrong"));
    let nothing = ["--server", &base];
    let wrong = ["--server", &base, "--token-file", &wrong];
    for flags in [&nothing[..], &wrong] {
        let auto = [flags, &["--cut", "9"]].concat();
        let run = infer(&auto, &photos(3)).ok();
        let lines = run.json_lines();
        assert_right(&lines, &samples()[..3]);
        for line in &lines {
            assert_eq!(line["ran_on"], "device", "{line}");
            assert_eq!(line["fallback"]["kind"], "unauthorized", "{line}");
        }
        assert_silent(&run);

        let only_cloud = [flags, &["--mode", "ONLY_CLOUD"]].concat();
        let run = infer(&only_cloud, &photos(1));
        assert_eq!(run.json_lines()[0]["kind"], "unauthorized", "{run:?}");
        assert_silent(&run);
        run.complaint(1);
    }
    server.signal("TERM");
    let (_, log) = server.end();
    assert!(!log.contains("abracadabra"), "{log}");
}

#[test]
fn a_bundle_is_fetched_with_the_right_token_only() {
    let keys = Keys::new();
    let server = keys.server();
    let base = server.base();
    let folder = folder();
    let out = folder.path().join("fetched");
    let wrong = fetch(&base, &["--token-file", &keys.file("wrong")], &out);
    assert_silent(&wrong);
    for refused in [wrong, fetch(&base, &[], &out)] {
        let complaint = refused.complaint(1);
        assert!(complaint.contains("401"), "{complaint}");
        assert!(!out.exists());
    }
    fetch(&base, &["--token-file", &keys.file("right")], &out).ok();
    assert_eq!(hash(&out), hash(&bundle()));
}

#[test]
fn a_file_without_a_token_is_refused_before_anything_is_sent() {
    let keys = Keys::new();
    std::fs::write(keys.file("two"), "sesame\nabracadabra\n").unwrap();
    for file in [keys.file("two"), keys.file("missing")] {
        let flags = ["--server", "http://127.0.0.1:1", "--token-file", &file];
        let run = infer(&flags, &photos(1));
        assert_silent(&run);
        let complaint = run.complaint(1);
        assert!(complaint.contains(&file), "{complaint}");
    }
}

fn fetch(base: &str, flags: &[&str], out: &Path) -> Run {
    let out = out.to_str().unwrap();
    let fixed = ["fetch", "--server", base, MODEL, "--out", out];
    dyno([&fixed[..], flags].concat())
}

#[track_caller]
fn assert_silent(run: &Run) {
    for secret in ["sesame", "abracadabra"] {
        let told = run.stdout.contains(secret) || run.stderr.contains(secret);
        assert!(!told, "{run:?}");
    }
}
