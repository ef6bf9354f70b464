//! The token: shown with every request, and what a client does whose token is not taken.

use std::sync::Arc;

use crate::support::http::{Body, LONG, Script, TestServer, full, request, right};
use crate::support::{Device, LAST, assert_right, config, manifest, split, stage};
use dyno_core::ErrorKind;
use dyno_core::client::{
    BodyKind, Client, ClientConfig, ExecutionMode, HttpOptions, HttpTransport, RanOn, Transport,
};
use http::Response;

fn transport(server: &TestServer, token: &str) -> HttpTransport {
    let options = HttpOptions {
        token: Some(token.parse().unwrap()),
        ..HttpOptions::default()
    };
    let url = format!("http://{}", server.address);
    HttpTransport::new(&url, manifest().outputs.clone(), options).unwrap()
}

/// As a server with keys answers a token that is none of them.
fn locked() -> Response<Body> {
    Response::builder()
        .status(401)
        .header("www-authenticate", "Bearer")
        .header("content-type", "application/json")
        .body(full(r#"{"error":"who asks?","kind":"unauthorized"}"#))
        .unwrap()
}

#[tokio::test]
async fn every_request_shows_the_token_on_every_connection() {
    let server = TestServer::start(Script::Answer(right)).await;
    let transport = transport(&server, "sesame");
    transport.warm_up().await.unwrap();
    transport.probe(1_000).await.unwrap();
    transport
        .infer(request(BodyKind::Packed, LONG))
        .await
        .unwrap();
    transport.network_changed();
    transport.warm_up().await.unwrap();
    assert_eq!(server.connections(), 2);
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.len(), 6, "two health checks for each warming up");
    for seen in seen.iter() {
        let shown: Vec<_> = seen.headers.get_all("authorization").iter().collect();
        assert_eq!(shown, ["Bearer sesame"], "{}", seen.path);
    }
    assert!(!format!("{transport:?}").contains("sesame"));
}

#[tokio::test]
async fn without_a_token_none_is_shown() {
    let server = TestServer::start(Script::Answer(right)).await;
    let transport = server.transport();
    transport.warm_up().await.unwrap();
    transport
        .infer(request(BodyKind::Packed, LONG))
        .await
        .unwrap();
    let seen = server.seen.lock().unwrap();
    let shows = |seen: &crate::support::http::Seen| seen.headers.contains_key("authorization");
    assert!(!seen.iter().any(shows));
}

/// A client whose server does not know its token.
async fn stranger(mode: ExecutionMode) -> (TestServer, Arc<Device>, Client) {
    let server = TestServer::start(Script::Answer(locked)).await;
    let device = Arc::new(Device::default());
    let mut config = ClientConfig {
        mode,
        plan: Some(split(2)),
        remote_deadline_max: LONG,
        ..config()
    };
    // A link so slow that no answer is late.
    config.link.rtt_ms = 20_000.0;
    let transport = Some(Arc::new(transport(&server, "sesame")) as Arc<dyn Transport>);
    let client = Client::from_parts(manifest(), None, device.clone(), transport, config).unwrap();
    (server, device, client)
}

#[tokio::test]
async fn where_the_token_is_not_taken_the_device_answers_and_asks_no_more() {
    let (server, device, client) = stranger(ExecutionMode::Auto).await;
    for call in 0..3 {
        let inference = client.infer(stage(&client)).await.unwrap();
        assert_right(&inference);
        assert_eq!(inference.ran_on, RanOn::Device);
        let fallback = inference.fallback.unwrap();
        assert_eq!(fallback.kind, ErrorKind::Unauthorized, "call {call}");
        assert!(!format!("{fallback:?}").contains("sesame"));
    }
    assert_eq!(
        device.runs.lock().unwrap()[..2],
        [(0, 2), (2, LAST)],
        "resumed from the cut"
    );
    assert_eq!(server.seen.lock().unwrap().len(), 1, "asked once");
}

#[tokio::test]
async fn where_only_the_server_may_answer_the_error_says_that_it_does_not_know_the_token() {
    let (server, device, client) = stranger(ExecutionMode::OnlyCloud).await;
    for _ in 0..3 {
        let error = client.infer(stage(&client)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(!format!("{error} {error:?}").contains("sesame"));
    }
    assert_eq!(device.node_runs()[2..], [0; LAST - 2]);
    // There is nobody else to ask.
    assert_eq!(server.seen.lock().unwrap().len(), 3, "asked by each call");
}
