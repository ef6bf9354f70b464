//! A server with keys: who is let in, and what a stranger costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::num::NonZeroU16;

use common::{HASH, PACKED, PATIENCE, SESAME, TestServer, assert_error, keys_file, start, until};
use reqwest::RequestBuilder;

/// A server that knows the token `sesame`; it has read its file.
async fn guarded(places: u16) -> TestServer {
    let file = keys_file();
    start(|config| {
        config.keys = Some(file.path().into());
        config.max_in_flight = NonZeroU16::new(places);
    })
    .await
}

async fn assert_stranger(request: RequestBuilder) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    assert!(answer.headers().contains_key("dyno-request-id"));
    assert!(!answer.headers().contains_key("dyno-load"));
    let text = assert_error(answer, 401, "unauthorized").await;
    assert!(text.contains("authorization: Bearer"), "{text}");
}

/// A request to every path that needs a token, to one that there is not, and to one that another
/// method has.
fn everything(server: &TestServer) -> Vec<RequestBuilder> {
    let probe = server.client.post(server.url("/v1/probe")).body("probe");
    let mut all = vec![server.infer("echo"), probe];
    all.extend(
        [
            "/v1/models",
            "/v1/models/fake",
            "/v1/models/fake/bundle",
            "/v1/models/nobody",
            "/v1/probe",
            "/",
            "/v2/health",
            "/v2/health/live/",
            "/v2/health/%6cive",
            "/v2/health/../v2/models",
        ]
        .map(|path| server.get(path)),
    );
    all
}

#[tokio::test]
async fn the_right_token_opens_every_path() {
    let server = guarded(4).await;
    let mut statuses = Vec::new();
    for request in everything(&server) {
        let answer = request.bearer_auth(SESAME).send().await.unwrap();
        assert!(!answer.headers().contains_key("www-authenticate"));
        statuses.push(answer.status().as_u16());
    }
    let expected = [200, 204, 200, 200, 200, 404, 405, 404, 404, 404, 404, 404];
    assert_eq!(statuses, expected);
}

#[tokio::test]
async fn without_the_right_token_every_path_is_closed() {
    let server = guarded(4).await;
    for request in everything(&server) {
        assert_stranger(request).await;
    }
    for request in everything(&server) {
        assert_stranger(request.bearer_auth("abracadabra")).await;
    }
    let too_long = format!("Bearer {}", "x".repeat(4097));
    let longest = format!("Bearer {}", "x".repeat(4096));
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "sesame",
        "Basic sesame",
        "Bearersesame",
        "Bearer sesame sesame",
        "Bearer sesame,",
        "Bearer Sesame",
        &longest,
        &too_long,
    ] {
        assert_stranger(server.infer("echo").header("authorization", header)).await;
    }
    let twice = server.infer("echo").bearer_auth(SESAME);
    assert_stranger(twice.header("authorization", "Bearer sesame")).await;
    let in_the_path = server.get("/v1/models?access_token=sesame");
    assert_stranger(in_the_path).await;
    assert_eq!(server.runs.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let server = guarded(4).await;
    for header in ["bearer sesame", "BEARER sesame", "Bearer   sesame"] {
        let request = server.infer("echo").header("authorization", header);
        assert_eq!(request.send().await.unwrap().status(), 200, "{header}");
    }
}

#[tokio::test]
async fn health_needs_no_token() {
    let server = guarded(4).await;
    for path in ["/v2/health/live", "/v2/health/ready"] {
        assert_eq!(server.get(path).send().await.unwrap().status(), 200);
        let wrong = server.get(path).bearer_auth("abracadabra");
        assert_eq!(wrong.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_stranger_is_refused_from_the_headers_and_takes_no_place() {
    let mut server = guarded(1).await;
    let first = tokio::spawn(server.infer("wait").bearer_auth(SESAME).send());
    server.heard("entered").await;

    // The only place is taken, and not a byte of the body is ever sent.
    let tcp = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let request = http::Request::post(server.url("/v1/models/fake/infer"))
        .header("content-type", PACKED)
        .header("dyno-bundle", HASH)
        .header("content-length", i64::MAX.to_string())
        .header("authorization", "Bearer abracadabra")
        .body(())
        .unwrap();
    let (answer, _body) = send.send_request(request, false).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
    assert_eq!(answer.unwrap().status(), 401);

    // More than the windows hold: the client hears of it in the middle of its upload.
    assert_stranger(server.infer(vec![0; 12 << 20])).await;
    let welcome = server.infer("echo").bearer_auth(SESAME);
    assert_error(welcome.send().await.unwrap(), 503, "overloaded").await;
    server.release();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    until(async || {
        let welcome = server.infer("echo").bearer_auth(SESAME);
        welcome.send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn without_keys_a_token_means_nothing() {
    let server = start(|_| {}).await;
    for header in ["Bearer sesame", "Basic x", ""] {
        let request = server.infer("echo").header("authorization", header);
        assert_eq!(request.send().await.unwrap().status(), 200, "{header}");
    }
}
