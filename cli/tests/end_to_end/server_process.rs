//! The server's process: how it starts with bundles that are broken, and how it ends.

use std::net::TcpStream;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fixture::{MODEL, bundle, bundles, copy, folder, photos};
use crate::http::{self, Answer};
use crate::processes::{Server, refused_server, wait_until};

/// Requests whose second half comes when the test says so.
const HELD: usize = 5;
/// Nothing runs out while a request is held.
const PATIENT: [&str; 8] = [
    "--max-deadline",
    "60m",
    "--body-timeout",
    "60m",
    "--body-idle-timeout",
    "60m",
    "--drain-timeout",
    "60m",
];

#[test]
fn with_nothing_under_way_a_signal_ends_it_well() {
    for signal in ["TERM", "INT"] {
        let server = Server::start_with(bundles(), &PATIENT);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let idle = http::client();
        let live = runtime.block_on(http::send(idle.get(server.url("/v2/health/live"))));
        assert_eq!(live.status, 200);
        server.signal(signal);
        let (code, log) = server.end();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn a_signal_while_models_warm_up_ends_it_well() {
    let folder = folder();
    for name in ["a", "b", "c", "d", "e", "f"] {
        copy(&bundle(), &folder.path().join(name));
    }
    // More than once: a crash at the end of the process depends on where the builder stands.
    for _ in 0..4 {
        let server = Server::start_with(folder.path(), &[]);
        server.signal("TERM");
        let (code, log) = server.end();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn requests_under_way_are_answered_before_it_ends() {
    let server = Server::start_with(bundles(), &PATIENT);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (release, held) = hold(&runtime, &server, HELD);
    server.signal("TERM");
    wait_until(|| TcpStream::connect(server.address).is_err());
    release.send(true).unwrap();
    for answer in held {
        let answer = runtime.block_on(answer).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["top"][0]["label"], "cross");
    }
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Server::start_with(bundles(), &PATIENT);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_release, _held) = hold(&runtime, &server, 1);
    server.signal("TERM");
    wait_until(|| TcpStream::connect(server.address).is_err());
    server.signal("TERM");
    let (code, log) = server.end();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("second signal"), "{log}");
}

#[test]
fn a_broken_bundle_is_left_out_and_named() {
    let folder = folder();
    copy(&bundle(), &folder.path().join(MODEL));
    break_bundle(&folder.path().join("broken"));
    let server = Server::start(folder.path());
    let models = http::get(&server.url("/v1/models")).json();
    assert_eq!(models["models"].as_array().unwrap().len(), 1);
    assert_eq!(models["models"][0]["model"], MODEL);
    assert_eq!(http::get(&server.url("/v1/models/broken")).status, 404);
    server.signal("TERM");
    let (code, log) = server.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("broken") && log.contains("weights.bin"),
        "{log}"
    );

    let (code, log) = refused_server(folder.path(), &["--strict"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("broken"), "{log}");
}

#[test]
fn without_a_bundle_that_works_it_does_not_start() {
    let folder = folder();
    let (code, log) = refused_server(folder.path(), &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("dyno prepare"), "{log}");

    break_bundle(&folder.path().join("broken"));
    let (code, log) = refused_server(folder.path(), &[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("broken: ") && log.contains("weights.bin"),
        "{log}"
    );
}

fn break_bundle(folder: &std::path::Path) {
    copy(&bundle(), folder);
    let weights = folder.join("weights.bin");
    let content = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &content[..content.len() - 1]).unwrap();
}

/// Photos of which the server has half, and what sends the other.
fn hold(
    runtime: &tokio::runtime::Runtime,
    server: &Server,
    count: usize,
) -> (watch::Sender<bool>, Vec<JoinHandle<Answer>>) {
    let photo = std::fs::read(&photos(1)[0]).unwrap();
    let (release, released) = watch::channel(false);
    let infer = server.url("/v1/models/shapes12/infer");
    let client = http::client();
    let request = |body: reqwest::Body| {
        let post = client.post(&infer).header("content-type", "image/jpeg");
        post.header("content-length", photo.len()).body(body)
    };
    let hold_one = |_| {
        let (first, second) = photo.split_at(photo.len() / 2);
        let (first, second) = (first.to_vec(), second.to_vec());
        let mut released = released.clone();
        let second = async move {
            released.wait_for(|released| *released).await.unwrap();
            second
        };
        let halves = futures_util::stream::iter([first]).chain(futures_util::stream::once(second));
        let body = reqwest::Body::wrap_stream(halves.map(Ok::<_, std::io::Error>));
        runtime.spawn(http::send(request(body)))
    };
    let held = (0..count).map(hold_one).collect();
    // A whole photo tells by the load in its answer how many are under way with it.
    let expected = format!("in-flight={},", count + 1);
    wait_until(|| {
        let answer = runtime.block_on(http::send(request(photo.clone().into())));
        let load = answer.headers.get("dyno-load");
        load.is_some_and(|load| load.to_str().unwrap().starts_with(&expected))
    });
    (release, held)
}
