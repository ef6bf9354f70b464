//! What a client may use, over a socket.

use std::sync::atomic::Ordering;

use crate::common::{
    ABRACADABRA, ABRACADABRA_HASH, HASH, PACKED, SESAME, SESAME_HASH, TestServer, assert_error,
    keys_file, start,
};
use reqwest::{RequestBuilder, Response};

/// Sends until it is told to wait: how many were answered before, and how long it was told.
async fn exhaust(mut request: impl FnMut() -> RequestBuilder) -> (usize, u64) {
    for sent in 0..1000 {
        let answer = request().send().await.unwrap();
        if answer.status() == 429 {
            return (sent, wait(answer).await);
        }
        assert_eq!(answer.status(), 200);
    }
    panic!("there is no end of it");
}

async fn wait(answer: Response) -> u64 {
    let header = answer.headers()["retry-after"].to_str().unwrap().to_owned();
    let text = assert_error(answer, 429, "overloaded").await;
    assert!(text.contains("finish on the device"), "{text}");
    header.parse().unwrap()
}

fn list(server: &TestServer, token: &str) -> RequestBuilder {
    server.get("/v1/models").bearer_auth(token)
}

#[tokio::test]
async fn every_client_has_a_budget_and_some_their_own() {
    let file = keys_file();
    let lines = format!("a {SESAME_HASH}\nb {ABRACADABRA_HASH} requests_per_s=0.01\n");
    std::fs::write(file.path(), lines).unwrap();
    let server = start(|config| {
        config.keys = Some(file.path().into());
        // Slow enough that no test machine sees it refilled.
        config.client_requests_per_s = Some(0.02);
    })
    .await;
    let (sent, told) = exhaust(|| list(&server, SESAME)).await;
    assert_eq!(sent, 1);
    assert!((20..=50).contains(&told), "{told}");
    let (sent, told) = exhaust(|| list(&server, ABRACADABRA)).await;
    assert_eq!(sent, 1);
    assert!((70..=100).contains(&told), "{told}");
    // Strangers are told so, and health is asked as often as anybody likes.
    let stranger = list(&server, "stranger").send().await.unwrap();
    assert_error(stranger, 401, "unauthorized").await;
    for _ in 0..10 {
        let live = server.get("/v2/health/live").send().await.unwrap();
        assert_eq!(live.status(), 200);
    }
}

#[tokio::test]
async fn without_keys_the_budget_is_the_addresss() {
    let server = start(|config| config.client_requests_per_s = Some(0.01)).await;
    let (sent, _) = exhaust(|| server.get("/v1/models")).await;
    assert_eq!(sent, 1);
    let other = crate::common::client().get(server.url("/v1/models"));
    assert_eq!(
        other.send().await.unwrap().status(),
        429,
        "another connection"
    );
}

#[tokio::test]
async fn bytes_are_taken_from_the_headers_and_not_for_bodies_that_are_refused() {
    let server = start(|config| config.client_bytes_per_s = Some(0.1)).await;
    let infer = |bytes: usize| server.infer(vec![b'x'; bytes]);
    // Over the model's limit: not read, so not paid for.
    let limit = server.limit("max_photo_bytes").await;
    let huge = infer(limit + 1).send().await.unwrap();
    assert_error(huge, 413, "too_large").await;

    assert_eq!(infer(4).send().await.unwrap().status(), 200);
    let runs = server.runs.load(Ordering::SeqCst);
    // More than the windows hold: refused before it is read.
    let told = wait(infer(12 << 20).send().await.unwrap()).await;
    assert!((10..=40).contains(&told), "{told}");
    assert_eq!(server.runs.load(Ordering::SeqCst), runs);
    let fresh = server.client.get(server.url("/v1/models")).send().await;
    assert_eq!(fresh.unwrap().status(), 200, "no body, no bytes");
}

#[tokio::test]
async fn compute_is_charged_behind_the_run() {
    // The engine says that each run took 3 ms; a bucket has 4 seconds of the rate.
    let server = start(|config| config.client_compute_ms_per_s = Some(0.01)).await;
    let infer = || {
        let request = server.client.post(server.url("/v1/models/fake/infer"));
        let request = request.header("content-type", PACKED);
        request.header("dyno-bundle", HASH).body("echo")
    };
    let (sent, told) = exhaust(infer).await;
    assert_eq!(sent, 1);
    assert!(
        (30..=60).contains(&told),
        "a debt is a minute at most: {told}"
    );
}
