//! The port of metrics: what it says after known traffic, to whom, and that it cannot be worn out.

#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::common::{
    HASH, PATIENCE, TestServer, assert_error, cold, config, keys_file, start, until,
};
use dyno_server::{MetricsListen, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const OPEN_METRICS: &str = "application/openmetrics-text";

fn free() -> MetricsListen {
    MetricsListen::At("127.0.0.1:0".parse().unwrap())
}

async fn get(addr: SocketAddr, path: &str, accept: &str) -> reqwest::Response {
    crate::common::crypto();
    let client = reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap();
    let request = client.get(format!("http://{addr}{path}"));
    request.header("accept", accept).send().await.unwrap()
}

/// Every sample, by its name and labels as they are written.
async fn scrape(server: &TestServer) -> BTreeMap<String, f64> {
    let answer = get(server.metrics.unwrap(), "/metrics", OPEN_METRICS).await;
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn known_traffic_makes_known_numbers() {
    let keys = keys_file();
    let mut server = start(|config| {
        config.metrics_listen = free();
        config.keys = Some(keys.path().into());
        config.max_in_flight = std::num::NonZeroU16::new(2);
    })
    .await;
    let infer = |server: &TestServer, body: &'static str| {
        server.infer(body).bearer_auth(crate::common::SESAME)
    };
    assert_eq!(infer(&server, "echo").send().await.unwrap().status(), 200);
    assert_eq!(infer(&server, "echo").send().await.unwrap().status(), 200);
    assert_error(
        infer(&server, "broken").send().await.unwrap(),
        500,
        "runtime",
    )
    .await;
    let strange = server.url("/v1/models/stranger/infer");
    let strange = server
        .client
        .post(strange)
        .bearer_auth(crate::common::SESAME);
    assert_error(strange.send().await.unwrap(), 404, "not_found").await;
    let nowhere = server.get("/v1/nowhere").bearer_auth(crate::common::SESAME);
    assert_error(nowhere.send().await.unwrap(), 404, "not_found").await;
    for (header, count) in [("Bearer wrong", 2), ("Basic x", 1)] {
        for _ in 0..count {
            let request = server.infer("echo").header("authorization", header);
            assert_eq!(request.send().await.unwrap().status(), 401);
        }
    }
    assert_eq!(server.infer("echo").send().await.unwrap().status(), 401);

    // One that runs, one that waits for it, and one for which there is no room.
    let running = tokio::spawn(infer(&server, "wait").send());
    server.heard("entered").await;
    let waiting = tokio::spawn(infer(&server, "echo").send());
    until(async || scrape(&server).await["dyno_queue_depth"] == 1.0).await;
    let busy = scrape(&server).await;
    assert_eq!(
        (busy["dyno_in_flight"], busy["dyno_in_flight_limit"]),
        (2.0, 2.0)
    );
    assert_error(
        infer(&server, "echo").send().await.unwrap(),
        503,
        "overloaded",
    )
    .await;
    running.abort();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    until(async || scrape(&server).await["dyno_in_flight"] == 0.0).await;

    let numbers = scrape(&server).await;
    for (series, value) in expected() {
        assert_eq!(numbers.get(&series), Some(&value), "{series}: {numbers:#?}");
    }
    assert!(!numbers.keys().any(|series| series.contains("stranger")));

    server.shut_down();
    let end = &mut server.end;
    let ended = tokio::time::timeout(PATIENCE, end).await;
    assert!(ended.unwrap().unwrap().is_ok());
}

/// What the traffic above leaves.
fn expected() -> Vec<(String, f64)> {
    let route = r#"route="/v1/models/{model}/infer""#;
    let request = |model: &str, code: &str, reason: &str| {
        format!(r#"dyno_requests_total{{{route},model="{model}",code="{code}",reason="{reason}"}}"#)
    };
    vec![
        (request("fake", "200", ""), 3.0),
        (request("fake", "500", "runtime"), 1.0),
        (request("fake", "503", "overloaded"), 1.0),
        (request("fake", "", "cancelled"), 1.0),
        (request("", "404", "not_found"), 1.0),
        (request("", "401", "unauthorized"), 4.0),
        (
            r#"dyno_requests_total{route="",model="",code="404",reason="not_found"}"#.into(),
            1.0,
        ),
        (r#"dyno_client_cancelled_total{model="fake"}"#.into(), 1.0),
        (
            format!(r#"dyno_request_seconds_count{{{route},model="fake"}}"#),
            6.0,
        ),
        (r#"dyno_infer_seconds_count{model="fake"}"#.into(), 3.0),
        (
            r#"dyno_infer_seconds_bucket{le="0.002",model="fake"}"#.into(),
            0.0,
        ),
        (
            r#"dyno_infer_seconds_bucket{le="0.004",model="fake"}"#.into(),
            3.0,
        ),
        (
            r#"dyno_body_receive_seconds_count{model="fake"}"#.into(),
            3.0,
        ),
        (r#"dyno_unpack_seconds_count{model="fake"}"#.into(), 3.0),
        (r#"dyno_queue_seconds_count{model="fake"}"#.into(), 3.0),
        (
            r#"dyno_unpacked_bytes_sum{model="fake"}"#.into(),
            3.0 * 32.0,
        ),
        (r#"dyno_executions_total{model="fake"}"#.into(), 3.0),
        (r#"dyno_inferences_total{model="fake"}"#.into(), 3.0),
        (
            r#"dyno_batch_size_bucket{le="1.0",model="fake"}"#.into(),
            3.0,
        ),
        (r#"dyno_shed_total{reason="in_flight"}"#.into(), 1.0),
        (r#"dyno_auth_failures_total{reason="unknown"}"#.into(), 2.0),
        (
            r#"dyno_auth_failures_total{reason="malformed"}"#.into(),
            1.0,
        ),
        (r#"dyno_auth_failures_total{reason="missing"}"#.into(), 1.0),
        (
            format!(r#"dyno_model_info{{model="fake",hash="{HASH}"}}"#),
            1.0,
        ),
        (
            format!(r#"dyno_model_info{{model="maps",hash="{HASH}"}}"#),
            1.0,
        ),
        (
            format!(
                r#"dyno_build_info{{version="{}"}}"#,
                env!("CARGO_PKG_VERSION")
            ),
            1.0,
        ),
        (r#"dyno_reloads_total{what="keys"}"#.into(), 0.0),
        (r#"dyno_reload_failures_total{what="keys"}"#.into(), 0.0),
        ("dyno_ready".into(), 1.0),
        ("dyno_h2_connections".into(), 1.0),
        ("dyno_queue_depth".into(), 0.0),
    ]
}

#[tokio::test]
async fn connections_that_come_to_nothing_are_counted() {
    let server = start(|config| {
        config.metrics_listen = free();
        config.max_connections_per_address = std::num::NonZeroU16::new(3).unwrap();
        config.handshake_timeout = std::time::Duration::from_millis(200);
    })
    .await;
    let count = async |reason: &str| {
        let numbers = scrape(&server).await;
        let series = format!(r#"dyno_connections_refused_total{{reason="{reason}"}}"#);
        numbers.get(&series).copied().unwrap_or(0.0)
    };
    let mut http1 = TcpStream::connect(server.addr).await.unwrap();
    http1.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    until(async || count("not_http2").await == 1.0).await;
    drop(http1);
    let _silent = TcpStream::connect(server.addr).await.unwrap();
    until(async || count("handshake_timeout").await == 1.0).await;
    let mut held = Vec::new();
    until(async || {
        held.push(TcpStream::connect(server.addr).await.unwrap());
        count("max_connections_per_address").await > 0.0
    })
    .await;

    // A frame on stream 0 that may only come on a stream: a connection error (RFC 9113 §6.1).
    drop(held);
    let goaways = r#"dyno_h2_goaway_total{reason="protocol_error"}"#;
    until(async || {
        let mut rude = TcpStream::connect(server.addr).await.unwrap();
        let sent = rude
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0")
            .await;
        let mut rest = Vec::new();
        let _ = rude.read_to_end(&mut rest).await;
        sent.is_ok() && scrape(&server).await.get(goaways) >= Some(&1.0)
    })
    .await;
}

#[tokio::test]
async fn the_public_port_has_no_metrics_and_the_metrics_port_no_models() {
    let server = start(|config| config.metrics_listen = free()).await;
    for path in [
        "/metrics",
        "/status.json",
        "/",
        "/docs",
        "/openapi.json",
        "/admin",
    ] {
        assert_error(server.get(path).send().await.unwrap(), 404, "not_found").await;
    }
    let metrics = server.metrics.unwrap();
    for path in [
        "/v1/models",
        "/v1/models/fake/bundle",
        "/metrics/",
        "/v1/probe",
    ] {
        assert_eq!(get(metrics, path, "*/*").await.status(), 404, "{path}");
    }
    let plain = get(metrics, "/metrics", "text/plain").await;
    let media = plain.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(media.starts_with("text/plain; version=0.0.4"), "{media}");
    assert!(!plain.text().await.unwrap().contains("# EOF"));
    let open = get(metrics, "/metrics", OPEN_METRICS).await;
    let media = open.headers()["content-type"].to_str().unwrap();
    assert!(media.starts_with("application/openmetrics-text; version=1.0.0"));
}

#[tokio::test]
async fn health_is_there_without_tls_or_token_before_the_models_are_warm() {
    let mut config = config();
    config.metrics_listen = free();
    let (model, warm) = cold("cold");
    let server = Server::with_models(config, vec![model]).await.unwrap();
    let metrics = server.metrics_addr().unwrap();
    let running = tokio::spawn(server.run(std::future::pending()));
    assert_eq!(get(metrics, "/v2/health/live", "*/*").await.status(), 200);
    assert_eq!(get(metrics, "/v2/health/ready", "*/*").await.status(), 503);
    warm.send(Ok(())).unwrap();
    until(async || get(metrics, "/v2/health/ready", "*/*").await.status() == 200).await;
    running.abort();
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_reason_to_stop_only_if_it_was_asked_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut asked = config();
    asked.metrics_listen = MetricsListen::At(taken.local_addr().unwrap());
    let error = Server::with_models(asked, vec![cold("cold").0]).await;
    assert!(error.unwrap_err().to_string().contains("for metrics"));

    // Whether or not somebody has the usual address already, the second cannot have it.
    let mut servers = Vec::new();
    for _ in 0..2 {
        let mut usual = config();
        usual.metrics_listen = MetricsListen::IfFree;
        let server = Server::with_models(usual, vec![cold("cold").0]).await;
        servers.push(server.unwrap());
    }
    assert_eq!(servers[1].metrics_addr(), None);
}

#[tokio::test]
async fn idle_connections_to_the_metrics_port_are_few_and_do_not_stay() {
    let server = start(|config| config.metrics_listen = free()).await;
    let metrics = server.metrics.unwrap();
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(metrics).await.unwrap();
        // Those beyond the limit may be gone before they say a word.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nx: ").await;
        idle.push(stream);
    }
    server.assert_well().await;
    for mut stream in idle {
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer);
        // Closed by the server, with or without a word; nothing of its numbers.
        let _ = tokio::time::timeout(PATIENCE, closed).await.unwrap();
        assert!(!String::from_utf8_lossy(&answer).contains("dyno_"));
    }
    assert_eq!(get(metrics, "/metrics", "*/*").await.status(), 200);
}

#[tokio::test]
async fn the_status_page_runs_nothing_but_its_own_script() {
    let server = start(|config| config.metrics_listen = free()).await;
    let metrics = server.metrics.unwrap();
    let page = get(metrics, "/", "text/html").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    let page = page.text().await.unwrap();
    assert!(policy.starts_with("default-src 'none'; connect-src 'self'"));
    for (directive, element) in [("script-src", "script"), ("style-src", "style")] {
        let from = page.find(&format!("<{element}>")).unwrap() + element.len() + 2;
        let to = page.find(&format!("</{element}>")).unwrap();
        let hash = <sha2::Sha256 as sha2::Digest>::digest(&page[from..to]);
        let hash = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, hash);
        let allowed = format!("{directive} 'sha256-{hash}'");
        assert!(policy.contains(&allowed), "{policy}");
    }

    server.infer("echo").send().await.unwrap();
    let status = get(metrics, "/status.json", "*/*").await;
    assert_eq!(status.headers()["cache-control"], "no-store");
    let status = crate::common::json(status).await;
    assert_eq!(status["state"], "ready");
    assert_eq!(status["in_flight_limit"], 4);
    assert_eq!(status["models"][0]["name"], "fake");
    assert_eq!(status["models"][0]["hash"], HASH);
    until(async || {
        let status = get(metrics, "/status.json", "*/*").await;
        let status = crate::common::json(status).await;
        let samples = status["samples"].as_array().unwrap();
        samples
            .iter()
            .any(|sample| sample["batch"] == 1.0 && sample["p99_ms"].is_number())
    })
    .await;
}

#[tokio::test]
async fn the_documentation_lists_every_name_and_no_other() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/server.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let documented: BTreeSet<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split(['`', '{']).next())
        .filter(|name| name.starts_with("dyno_") || name.starts_with("process_"))
        .filter(|name| cfg!(feature = "otlp") || !name.starts_with("dyno_spans_"))
        .collect();
    let server = start(|config| config.metrics_listen = free()).await;
    let text = get(server.metrics.unwrap(), "/metrics", "text/plain").await;
    let text = text.text().await.unwrap();
    let said: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(documented, said);
}
