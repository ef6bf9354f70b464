//! Other versions of HTTP, and methods and forms that are none of this server's (row 25).

use dyno_server::MetricsListen;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::child::Child;
use crate::common::{PATIENCE, start};
use crate::raw::{END_STREAM, PROTOCOL_ERROR, Raw, closes, headers};

/// Row 25: no HTTP/1 is spoken, so there is nothing to smuggle; every form of it hears the same.
#[tokio::test]
async fn http1_in_every_form_is_505_and_closed() {
    let server = Child::start(&[]).await;
    let attempts: [&[u8]; 15] = [
        b"GET /v2/health/live HTTP/1.0\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v2/health/live HTTP/0.9\r\n\r\n",
        b"GET /\r\n",
        b"GET http://example.org/ HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/probe HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"POST /v1/probe HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nprobe!",
        b"POST /v1/probe HTTP/1.1\ncontent-length: 5\n\nprobe",
        b"GET /v2/health/live HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABk\r\n\r\n",
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    server
        .endures(3, async || {
            for attempt in attempts {
                let mut stream = TcpStream::connect(server.addr).await.unwrap();
                stream.write_all(attempt).await.unwrap();
                stream.shutdown().await.unwrap();
                let said = closes(stream, PATIENCE).await;
                let text = String::from_utf8(said).unwrap();
                assert!(text.starts_with("HTTP/1.1 505 "), "{attempt:?}: {text}");
                assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "one answer");
                server.assert_live().await;
            }
        })
        .await;
}

/// Header fields, and the statuses that are right.
type Case = (Vec<(&'static str, &'static str)>, &'static [u16]);

/// Row 25: over HTTP/2, methods that have no place here and forms of a target.
#[tokio::test]
async fn other_methods_and_targets_are_client_errors() {
    let server = Child::start(&[]).await;
    let fields = |method, authority, path| {
        vec![
            (":method", method),
            (":scheme", "http"),
            (":authority", authority),
            (":path", path),
        ]
    };
    let live = "/v2/health/live";
    let mut cases: Vec<Case> = vec![
        (fields("TRACE", "localhost", live), &[405]),
        (fields("DELETE", "localhost", live), &[405]),
        (fields("PUT", "localhost", live), &[405]),
        (fields("BREW", "localhost", live), &[405]),
        (fields("get", "localhost", live), &[405]),
        (fields("OPTIONS", "localhost", "*"), &[400, 404, 405]),
        (
            fields("GET", "localhost", "http://example.org/v1/models"),
            &[400, 404],
        ),
        (fields("POST", "localhost", "/v1/models"), &[405]),
        (
            vec![(":method", "CONNECT"), (":authority", "example.org:443")],
            &[400, 404, 405],
        ),
        // No name of a host is looked at: there is one server.
        (fields("GET", "example.org", live), &[200]),
    ];
    let mut mismatched = fields("GET", "localhost", live);
    mismatched.push(("host", "example.org"));
    cases.push((mismatched, &[200, 400]));
    server
        .endures(3, async || {
            for (fields, statuses) in &cases {
                let seen = Raw::ask(server.addr, &[headers(1, END_STREAM, fields)]).await;
                match seen.status {
                    Some(status) => assert!(statuses.contains(&status), "{fields:?}: {seen:?}"),
                    None => assert_eq!(seen.resets, [PROTOCOL_ERROR], "{fields:?}: {seen:?}"),
                }
                server.assert_live().await;
            }
        })
        .await;
}

/// Row 25: the metrics port does speak HTTP/1.1; it takes one small request of a connection, and no body.
#[tokio::test]
async fn the_metrics_port_takes_one_small_request() {
    let free = MetricsListen::At("127.0.0.1:0".parse().unwrap());
    let server = start(|config| config.metrics_listen = free).await;
    let begin = "GET /v2/health/live HTTP/1.1\r\nhost: x\r\n";
    let post = format!("POST {}", &begin[4..]);
    let both = "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let huge = "y".repeat(1 << 20);
    for (attempt, status) in [
        (format!("{begin}x-huge: {huge}\r\n\r\n"), Some("431")),
        (
            format!("{begin}{}\r\n", "x: y\r\n".repeat(10_000)),
            Some("431"),
        ),
        (format!("GET /{huge} HTTP/1.1\r\n\r\n"), Some("431")),
        // One answer, whatever follows.
        (format!("{begin}\r\n{begin}\r\n"), Some("200")),
        (format!("{post}{both}{begin}\r\n"), None),
        (
            format!("{post}content-length: 5\r\ncontent-length: 6\r\n\r\nprobe!"),
            Some("400"),
        ),
        (
            format!("{post}content-length: 99999999999\r\n\r\n{huge}"),
            Some("405"),
        ),
        (
            format!("{post}transfer-encoding: gzip\r\n\r\n"),
            Some("400"),
        ),
        ("CONNECT example.org:443 HTTP/1.1\r\n\r\n".into(), None),
        ("GET / HTTP/1.1\nhost : x\n\n".into(), Some("400")),
        ("\0\0\0\0\r\n\r\n".into(), Some("400")),
    ] {
        let mut stream = TcpStream::connect(server.metrics.unwrap()).await.unwrap();
        // The server may have answered and closed before all of it is sent.
        let _ = stream.write_all(attempt.as_bytes()).await;
        let said = closes(stream, PATIENCE).await;
        let text = String::from_utf8(said).unwrap();
        let head = &attempt[..attempt.len().min(60)];
        assert!(text.matches("HTTP/1.1 ").count() <= 1, "{head:?}: {text}");
        // A server that closes on bytes it has not read may take its answer with them.
        let right = status.is_none_or(|status| text.get(9..12) == Some(status));
        assert!(right || text.is_empty(), "{head:?}: {text}");
        server.assert_well().await;
    }
}
