//! What attackers write for whoever reads the log (row 26), and a log that nobody can write (row 32).

use std::fs::File;
use std::process::Command;

use dyno_core::schedule::{Codec, Levels, Precision};

use crate::bundle::{bundles, packed, small_cut};
use crate::child::Child;
use crate::raw::{END_STREAM, Raw, get, headers};

/// Row 26: a line break, colours, ten kilobytes, in every place that a client can write to.
#[tokio::test]
async fn what_a_client_writes_is_not_in_the_log() {
    for format in ["text", "json"] {
        let server = Child::start(&["--log-format", format]).await;
        let long = "marker".repeat(10_000 / 6);
        let nasty = [
            "marker\u{1b}[2J\u{1b}[31mred",
            "marker\" status=200 injected=\"",
            "marker%0d%0a2026-01-01T00:00:00Z ERROR injected",
            "marker\u{202e}",
            &long,
        ];
        for value in nasty {
            for name in [
                "dyno-request-id",
                "x-request-id",
                "traceparent",
                "tracestate",
                "user-agent",
                "forwarded",
                "x-forwarded-for",
                "authorization",
                "cookie",
                "content-type",
                "dyno-bundle",
                "accept",
            ] {
                let fields = [&get("/v1/models")[..], &[(name, value)]].concat();
                Raw::ask(server.addr, &[headers(1, END_STREAM, &fields)]).await;
                let mut post = fields.clone();
                post[0].1 = "POST";
                post[3].1 = "/v1/models/shapes12/infer";
                Raw::ask(server.addr, &[headers(1, END_STREAM, &post)]).await;
            }
            for place in ["/v1/models/", "/v1/models?token=", "/"] {
                let path = format!("{place}{}", value.replace(['\u{1b}', '"', ' '], "%1b"));
                Raw::ask(server.addr, &[headers(1, END_STREAM, &get(&path))]).await;
            }
            let method = [
                (":method", "MARKER"),
                (":scheme", "http"),
                (":path", "/v1/models"),
            ];
            Raw::ask(server.addr, &[headers(1, END_STREAM, &method)]).await;
            server.assert_live().await;
        }
        // Every request has its line, and a known one is the last.
        let known = server.client.get(server.url("/v1/probe")).send();
        assert_eq!(known.await.unwrap().status(), 405);
        server.logs(|log| log.contains("/v1/probe")).await;
        let said = server.log();
        assert!(said.lines().count() > 100);
        assert!(
            !said.contains("marker") && !said.contains("injected"),
            "{said}"
        );
        assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'));
        let longest = said.lines().map(str::len).max().unwrap();
        assert!(longest < 1024, "{longest}");
    }
}

/// Row 26: an error says no value again, in its body or its headers.
#[tokio::test]
async fn what_a_client_writes_is_not_in_the_answer() {
    let server = Child::start(&[]).await;
    for name in [
        "content-type",
        "content-encoding",
        "dyno-bundle",
        "dyno-photo",
        "dyno-deadline-ms",
        "accept",
        "authorization",
        "x-request-id",
    ] {
        let request = server.infer().header(name, "marker<script>").body("x");
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_client_error(), "{name}");
        for (_, value) in answer.headers() {
            assert!(
                !value.to_str().unwrap().contains("marker"),
                "{name}: {value:?}"
            );
        }
        let text = answer.text().await.unwrap();
        assert!(!text.contains("marker"), "{name}: {text}");
    }
}

fn child() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dyno-server"));
    command.arg("--bundles").arg(bundles());
    command
}

async fn assert_serves(server: &Child) {
    let body = packed(
        small_cut(),
        Precision::Levels(Levels::EIGHT_BITS),
        Codec::Raw,
    );
    for _ in 0..20 {
        assert_eq!(server.packed(body.clone()).await.status(), 200);
        // An error of the server's own has a line of its own.
        assert_eq!(server.packed(b"rubbish".to_vec()).await.status(), 400);
    }
    server.assert_live().await;
}

/// Row 32: the disk of the log is full.
#[tokio::test]
async fn a_log_that_is_full_does_not_keep_it_from_serving() {
    let mut command = child();
    command.stderr(File::options().write(true).open("/dev/full").unwrap());
    let server = Child::spawn_logging(command, tempfile::NamedTempFile::new().unwrap()).await;
    assert_serves(&server).await;
}

/// Row 32: nobody reads the log any more.
#[tokio::test]
async fn a_log_that_is_closed_does_not_keep_it_from_serving() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = child();
    command.stderr(writer);
    let server = Child::spawn_logging(command, tempfile::NamedTempFile::new().unwrap()).await;
    drop(reader);
    assert_serves(&server).await;
}

/// Row 32: nobody reads the log, and nobody has closed it either.
#[tokio::test]
async fn a_log_that_nobody_reads_does_not_keep_it_from_serving() {
    const LINES_TO_FILL_A_PIPE_AND_MORE: usize = 6_000;
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = child();
    command.stderr(writer);
    let server = Child::spawn_logging(command, tempfile::NamedTempFile::new().unwrap()).await;
    let live = server.url("/v2/health/live");
    for _ in 0..LINES_TO_FILL_A_PIPE_AND_MORE / 50 {
        let requests = (0..50).map(|_| server.client.get(&live).send());
        for answer in futures_util::future::join_all(requests).await {
            assert_eq!(answer.unwrap().status(), 200);
        }
    }
    assert_serves(&server).await;
    // Read at last, the log says what it lacks.
    let read = std::thread::spawn(move || std::io::read_to_string(&mut reader).unwrap());
    let missing = "lines of this log are missing";
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    server.assert_live().await;
    assert_eq!(server.terminate().await.code(), Some(0));
    let log = read.join().unwrap();
    assert!(log.contains(missing), "{} lines", log.lines().count());
}

/// Row 32: nor does such a log keep it from ending.
#[tokio::test]
async fn a_log_that_nobody_reads_does_not_keep_it_from_ending() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = child();
    command.stderr(writer);
    let server = Child::spawn_logging(command, tempfile::NamedTempFile::new().unwrap()).await;
    for _ in 0..1000 {
        server.status("/v2/health/live").await;
    }
    assert_eq!(server.terminate().await.code(), Some(0));
    drop(reader);
}
