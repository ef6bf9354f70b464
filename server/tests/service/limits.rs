//! Bodies, deadlines and load: what is refused, when, and that the place is free again afterwards.

use std::num::NonZeroU16;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::{HASH, PACKED, PATIENCE, TestServer, assert_error, start, until};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::Request;

/// A connection that sends frames as told, without the care of a real client.
async fn raw(server: &TestServer) -> SendRequest<Bytes> {
    let tcp = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    send.ready().await.unwrap()
}

fn head(server: &TestServer, length: Option<&str>) -> Request<()> {
    let mut request = Request::post(server.url("/v1/models/fake/infer"))
        .header("content-type", PACKED)
        .header("dyno-bundle", HASH);
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    request.body(()).unwrap()
}

/// Sends the headers, and not yet any body.
async fn begin(
    server: &TestServer,
    length: Option<&str>,
) -> (ResponseFuture, SendStream<Bytes>, SendRequest<Bytes>) {
    let mut send = raw(server).await;
    let (answer, body) = send.send_request(head(server, length), false).unwrap();
    (answer, body, send)
}

async fn status_and_kind(answer: ResponseFuture) -> (u16, String) {
    let answer = tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap()
        .unwrap();
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    let error: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    (status, error["kind"].as_str().unwrap().into())
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_from_its_headers() {
    let server = start(|_| {}).await;
    let limit = server.limit("max_activation_bytes").await;
    for length in [(limit + 1).to_string(), i64::MAX.to_string()] {
        // Not a byte of the body is ever sent.
        let (answer, _body, _send) = begin(&server, Some(&length)).await;
        assert_eq!(
            status_and_kind(answer).await,
            (413, "too_large".into()),
            "{length}"
        );
    }
    let whole = server.infer(vec![0; limit]).send().await.unwrap();
    assert_eq!(whole.status(), 200, "exactly the limit is taken");
    // More than the windows hold: the client hears of it in the middle of its upload.
    let flood = server.infer(vec![0; 12 << 20]).send().await.unwrap();
    assert_error(flood, 413, "too_large").await;
    let photo = |bytes: usize, staged: bool| {
        let request = server
            .bare(vec![0; bytes])
            .header("content-type", "image/png");
        if staged {
            request.header("dyno-photo", "staged")
        } else {
            request
        }
    };
    let staged = server.limit("max_staged_photo_bytes").await;
    assert_eq!(photo(staged, true).send().await.unwrap().status(), 200);
    assert_error(
        photo(staged + 1, true).send().await.unwrap(),
        413,
        "too_large",
    )
    .await;
    assert_eq!(photo(staged + 1, false).send().await.unwrap().status(), 200);
    server.assert_well().await;
}

#[tokio::test]
async fn a_body_without_a_length_is_411() {
    let server = start(|_| {}).await;
    let (answer, _body, _send) = begin(&server, None).await;
    assert_eq!(
        status_and_kind(answer).await,
        (411, "invalid_argument".into())
    );
}

#[tokio::test]
async fn a_body_of_another_length_than_promised_is_refused_by_the_protocol() {
    let server = start(|_| {}).await;
    for (promised, sent) in [("5", &b"echo"[..]), ("3", b"echo"), ("x", b"echo")] {
        let (answer, mut body, _send) = begin(&server, Some(promised)).await;
        // The stream may be reset already.
        let _ = body.send_data(Bytes::from_static(sent), true);
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
        match answer {
            Ok(answer) => assert_eq!(answer.status(), 400),
            Err(error) => assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR)),
        }
    }
    server.assert_well().await;
}

#[tokio::test]
async fn a_body_in_pieces_of_one_byte_is_put_together() {
    let server = start(|_| {}).await;
    let pieces = server.limit("max_activation_bytes").await;
    let (answer, mut body, _send) = begin(&server, Some(&pieces.to_string())).await;
    for left in (0..pieces).rev() {
        body.send_data(Bytes::from_static(b"x"), left == 0).unwrap();
    }
    let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
    assert_eq!(answer.unwrap().status(), 200);
}

/// What an answer says of the time to receive the body.
fn receive_ms(answer: &http::Response<h2::RecvStream>) -> f64 {
    let timing = answer.headers()["server-timing"].to_str().unwrap();
    let receive = timing.split(", ").next().unwrap();
    let ms = receive.strip_prefix("receive;dur=").unwrap();
    ms.parse().unwrap()
}

#[tokio::test]
async fn the_time_to_receive_counts_from_the_headers() {
    let server = start(|config| config.max_in_flight = NonZeroU16::new(1)).await;
    let before = std::time::Instant::now();
    let (answer, mut body, _send) = begin(&server, Some("4")).await;
    // Once another is refused for want of room, the headers have come.
    until(async || server.infer("echo").send().await.unwrap().status() == 503).await;
    let waiting = std::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let waited_ms = waiting.elapsed().as_secs_f64() * 1e3;
    // In one piece, which says nothing of how long it took.
    body.send_data(Bytes::from_static(b"echo"), true).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let receive_ms = receive_ms(&answer.unwrap().unwrap());
    let all_ms = before.elapsed().as_secs_f64() * 1e3;
    // The header has whole microseconds.
    assert!(receive_ms >= waited_ms - 1e-3, "{receive_ms} {waited_ms}");
    assert!(receive_ms <= all_ms + 1e-3, "{receive_ms} {all_ms}");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408() {
    for slow in [
        |config: &mut dyno_server::Config| config.body_idle_timeout = Duration::from_millis(20),
        |config: &mut dyno_server::Config| config.body_timeout = Duration::from_millis(20),
        |config: &mut dyno_server::Config| config.max_deadline = Duration::from_millis(20),
    ] {
        let server = start(slow).await;
        let (answer, mut body, _send) = begin(&server, Some("4")).await;
        body.send_data(Bytes::from_static(b"ec"), false).unwrap();
        assert_eq!(
            status_and_kind(answer).await,
            (408, "deadline_exceeded".into())
        );
    }
}

#[tokio::test]
async fn a_run_that_outlasts_its_deadline_is_504_and_stopped() {
    let mut server = start(|_| {}).await;
    let request = server.infer("wait").header("dyno-deadline-ms", "500");
    let answer = request.send().await.unwrap();
    assert_error(answer, 504, "deadline_exceeded").await;
    server.heard("entered").await;
    server.heard("cancelled").await;
    server.assert_well().await;
}

#[tokio::test]
async fn the_server_caps_deadlines() {
    let mut server = start(|config| config.max_deadline = Duration::from_millis(500)).await;
    let request = server
        .infer("wait")
        .header("dyno-deadline-ms", u32::MAX.to_string());
    assert_error(request.send().await.unwrap(), 504, "deadline_exceeded").await;
    server.heard("entered").await;
    server.heard("cancelled").await;
    for bad in ["0", "-1", "+1", "1.5", "soon", "4294967296", ""] {
        let answer = server.infer("echo").header("dyno-deadline-ms", bad);
        assert_error(answer.send().await.unwrap(), 400, "invalid_argument").await;
    }
}

#[tokio::test]
async fn a_request_whose_deadline_passes_in_the_queue_is_never_run() {
    let mut server = start(|_| {}).await;
    let first = tokio::spawn(server.infer("wait").send());
    server.heard("entered").await;
    let queued = server.infer("echo").header("dyno-deadline-ms", "500");
    assert_error(queued.send().await.unwrap(), 504, "deadline_exceeded").await;
    server.release();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(server.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_full_server_says_so_before_it_reads_and_takes_more_when_it_has_room() {
    let mut server = start(|config| config.max_in_flight = NonZeroU16::new(1)).await;
    let first = tokio::spawn(server.infer("wait").send());
    server.heard("entered").await;
    // Headers only: the answer does not wait for the body.
    let (answer, _body, _send) = begin(&server, Some("4")).await;
    let answer = tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.headers()["dyno-load"], "in-flight=1, capacity=1");
    let refused = server.infer("echo").send().await.unwrap();
    assert_error(refused, 503, "overloaded").await;
    let ready = server.get("/v2/health/ready").send().await.unwrap();
    assert_eq!(ready.status(), 200, "health does not need a place");
    server.release();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    server.assert_well().await;
}

#[tokio::test]
async fn a_client_that_goes_away_during_the_run_stops_it() {
    let mut server = start(|config| config.max_in_flight = NonZeroU16::new(2)).await;
    let waiting = tokio::spawn(server.infer("wait").send());
    server.heard("entered").await;
    waiting.abort();
    server.heard("cancelled").await;
    server.assert_well().await;
}

#[tokio::test]
async fn a_client_that_goes_away_during_its_upload_leaves_its_place() {
    let server = start(|config| config.max_in_flight = NonZeroU16::new(1)).await;
    let status = async || server.infer("echo").send().await.unwrap().status();
    let (_answer, mut body, _send) = begin(&server, Some("4")).await;
    body.send_data(Bytes::from_static(b"ec"), false).unwrap();
    until(async || status().await == 503).await;
    body.send_reset(Reason::CANCEL);
    until(async || status().await == 200).await;
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_queue_is_never_run() {
    let mut server = start(|config| config.max_in_flight = NonZeroU16::new(2)).await;
    let first = tokio::spawn(server.infer("wait").send());
    server.heard("entered").await;
    let (_answer, mut body, _send) = begin(&server, Some("4")).await;
    body.send_data(Bytes::from_static(b"echo"), true).unwrap();
    // Both places are taken: the second request is in the queue, or on its way there.
    let probe = async || {
        server
            .infer("bad activation")
            .header("dyno-deadline-ms", "1")
    };
    until(async || probe().await.send().await.unwrap().status() == 503).await;
    body.send_reset(Reason::CANCEL);
    until(async || probe().await.send().await.unwrap().status() != 503).await;
    server.release();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(server.runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_probe_is_read_timed_and_forgotten() {
    let server = start(|_| {}).await;
    let probe = |bytes: usize| {
        server
            .client
            .post(server.url("/v1/probe"))
            .body(vec![7; bytes])
    };
    for bytes in [0, 1, 64 << 10] {
        let answer = probe(bytes).send().await.unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.headers()["dyno-load"], "in-flight=1, capacity=4");
        let timing = answer.headers()["server-timing"].to_str().unwrap();
        assert!(timing.starts_with("receive;dur="), "{timing}");
        assert!(answer.bytes().await.unwrap().is_empty());
    }
    let too_long = probe((64 << 10) + 1).send().await.unwrap();
    assert_error(too_long, 413, "too_large").await;
}

#[tokio::test]
async fn a_full_server_has_no_room_for_a_probe() {
    let server = start(|config| config.max_in_flight = NonZeroU16::new(1)).await;
    let (_answer, _body, _send) = begin(&server, Some("4")).await;
    let probe = || server.client.post(server.url("/v1/probe")).body("probe");
    until(async || probe().send().await.unwrap().status() == 503).await;
}
