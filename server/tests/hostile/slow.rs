//! Clients that take their time (row 21). Time is the test's: nobody waits for it.

use std::time::Duration;

use dyno_server::Config;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::common::{HASH, PACKED, PATIENCE, TestServer, start};
use crate::raw::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, PREFACE, Raw, SETTINGS, Seen, block, closes, frame,
    get, headers,
};

/// Longer than any limit of the server.
const LONG: Duration = Duration::from_mins(5);

async fn server() -> TestServer {
    start(|config| {
        config.handshake_timeout = Duration::from_secs(5);
        config.body_idle_timeout = Duration::from_secs(5);
        config.body_timeout = Duration::from_secs(30);
        config.max_deadline = Duration::from_mins(1);
    })
    .await
}

/// Sends bytes one by one, a second apart, until the server closes; how long that took.
async fn drip(server: &TestServer, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let closed = tokio::spawn(async move {
        let mut said = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut said).await;
    });
    for byte in bytes {
        if writer.write_all(&[*byte]).await.is_err() || closed.is_finished() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    tokio::time::timeout(LONG, closed).await.unwrap().unwrap();
    began.elapsed()
}

fn about(elapsed: Duration, seconds: u64) {
    let expected = Duration::from_secs(seconds);
    assert!(elapsed >= expected, "{elapsed:?} instead of {expected:?}");
    // A step of whoever drips, and one of the timer.
    assert!(
        elapsed <= expected + Duration::from_secs(2),
        "{elapsed:?} instead of {expected:?}"
    );
}

/// Row 21: nothing at all, half a preface, a preface byte by byte.
#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_begin_is_closed() {
    let server = server().await;
    for begun in [&b""[..], &PREFACE[..12]] {
        let began = Instant::now();
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(begun).await.unwrap();
        closes(stream, LONG).await;
        about(began.elapsed(), 5);
    }
    about(drip(&server, PREFACE).await, 5);
    // HTTP/1.1 is known by its first byte.
    assert!(drip(&server, b"GET / HTTP/1.1").await < Duration::from_secs(2));
    server.assert_well().await;
}

/// Row 21: a `ClientHello` that comes byte by byte.
#[tokio::test(start_paused = true)]
async fn a_tls_handshake_in_drops_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let cert = folder.path().join("cert.pem");
    let key = folder.path().join("key.pem");
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = start(|config: &mut Config| {
        config.tls_cert = Some(cert);
        config.tls_key = Some(key);
        config.handshake_timeout = Duration::from_secs(5);
    })
    .await;
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.resize(100, 7);
    about(drip(&server, &hello).await, 5);
}

/// Row 21: a request's headers that never end. The connection goes with the pings it does not answer.
#[tokio::test(start_paused = true)]
async fn headers_in_drops_end_with_the_connection() {
    let server = server().await;
    let began = Instant::now();
    let mut raw = Raw::connect(server.addr).await;
    raw.send(frame(HEADERS, 0, 1, &block(&get("/v1/models"))))
        .await;
    let drop = frame(CONTINUATION, 0, 1, &block(&[("a", "b")]));
    while raw.send(&drop).await && !raw.seen().is_over() {
        assert!(began.elapsed() < LONG, "headers go on for ever");
        sleep(Duration::from_secs(2)).await;
    }
    server.assert_well().await;
}

/// Row 21: the same with silence in the middle, which costs the same.
#[tokio::test(start_paused = true)]
async fn headers_that_stop_end_with_the_connection() {
    let server = server().await;
    let began = Instant::now();
    let mut raw = Raw::connect(server.addr).await;
    raw.send(frame(HEADERS, 0, 1, &block(&get("/v1/models"))))
        .await;
    let seen = tokio::time::timeout(LONG, raw.until_closed())
        .await
        .unwrap();
    assert!(seen.closed);
    about(began.elapsed(), 30);
    // Half of a frame is no more than that.
    let began = Instant::now();
    let mut raw = Raw::connect(server.addr).await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &[0; 100])[..20])
        .await;
    let seen = tokio::time::timeout(LONG, raw.until_closed())
        .await
        .unwrap();
    assert!(seen.closed);
    about(began.elapsed(), 30);
    server.assert_well().await;
}

fn head(length: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1/models/fake/infer"),
        ("content-type", PACKED),
        ("dyno-bundle", HASH),
        ("content-length", length),
    ];
    headers(1, 0, &fields)
}

/// A body whose pieces come as often as that; the answer, and when it came.
async fn dripping_body(server: &TestServer, piece: &[u8], every: Duration) -> (Seen, Duration) {
    let began = Instant::now();
    let mut raw = Raw::connect(server.addr).await;
    raw.send(head("100")).await;
    let piece = frame(DATA, 0, 1, piece);
    let done = |seen: &Seen| seen.status.is_some() || seen.is_over();
    while !done(&raw.seen()) {
        assert!(began.elapsed() < LONG, "the body goes on for ever");
        raw.send(&piece).await;
        // Wakes at once when the answer comes.
        let _ = tokio::time::timeout(every, raw.until(done)).await;
    }
    let when = began.elapsed();
    (raw.answer().await, when)
}

/// Row 21: one byte a second is never idle, and ends at the limit of the whole.
#[tokio::test(start_paused = true)]
async fn a_body_in_drops_is_408_at_the_limit_of_the_whole() {
    let server = server().await;
    let (seen, when) = dripping_body(&server, b"x", Duration::from_secs(1)).await;
    assert_eq!(seen.status, Some(408), "{seen:?}");
    about(when, 30);
    server.assert_well().await;
}

/// Row 21: silence in a body ends it sooner, and so does a deadline of the server.
#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_is_408_at_the_limit_of_the_pause() {
    let server = server().await;
    let (seen, when) = dripping_body(&server, b"x", Duration::from_secs(100)).await;
    assert_eq!(seen.status, Some(408), "{seen:?}");
    assert_eq!(seen.kind(), "deadline_exceeded");
    about(when, 5);
    // A frame without a byte is no piece of a body.
    let (seen, when) = dripping_body(&server, b"", Duration::from_secs(1)).await;
    assert_eq!(seen.status, Some(408), "{seen:?}");
    about(when, 5);
    server.assert_well().await;
}

/// Row 21: settings that are never acknowledged, and nothing ever asked.
#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_is_pinged_away() {
    let server = server().await;
    let began = Instant::now();
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
    closes(stream, LONG).await;
    about(began.elapsed(), 30);
    assert!(began.elapsed() < PATIENCE + Duration::from_secs(2));
}
