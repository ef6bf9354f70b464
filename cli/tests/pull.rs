//! `dyno pull` as people call it. Downloads themselves are tested in the crate, where a file of
//! one's own can be pinned.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

fn pull(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dyno"))
        .arg("pull")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_list_is_for_people_or_json() {
    let table = pull(&["--list"]);
    assert!(table.status.success());
    assert!(text(&table.stdout).contains("mobilenetv2-12"));

    let json = pull(&["--list", "--json"]);
    let models: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    for model in models.as_array().unwrap() {
        assert_eq!(model["sha256"].as_str().unwrap().len(), 64);
        let addresses = model["addresses"].as_array().unwrap();
        let official = "https://github.com/onnx/models/raw/main/validated/vision/";
        assert!(addresses[0].as_str().unwrap().starts_with(official));
    }
}

#[test]
fn an_unknown_name_is_refused_with_the_known_ones() {
    let output = pull(&["alexnet"]);
    assert!(!output.status.success());
    let message = text(&output.stderr);
    assert!(
        message.contains("'alexnet'") && message.contains("resnet50-v1-12"),
        "{message}"
    );
}

#[test]
fn a_mirror_that_serves_something_else_leaves_nothing_in_the_cache() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/models/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let body = "version https://git-lfs.github.com/spec/v1\n";
        let length_header = format!("Content-Length: {}\r\n", body.len());
        write!(
            stream,
            "HTTP/1.1 200 OK\r\n{length_header}Connection: close\r\n\r\n{body}"
        )
        .unwrap();
        text(&request[..length])
    });
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().to_str().unwrap();
    let output = pull(&["squeezenet1.0-12", "--cache", folder, "--base-url", &base]);
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let message = text(&output.stderr);
    assert!(
        message.contains("offers 43 bytes instead of the pinned 4952956"),
        "{message}"
    );
    assert!(
        server
            .join()
            .unwrap()
            .starts_with("GET /models/squeezenet1.0-12.onnx HTTP/1.1")
    );
    assert!(!cache.path().join("squeezenet1.0-12.onnx").exists());
}
