//! Floods of frames and broken streams (rows 7 and 17 to 20).

use std::net::SocketAddr;
use std::time::Duration;

use crate::bundle::{MODEL, manifest};
use crate::child::Child;
use crate::common::{PACKED, start};
use crate::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PRIORITY,
    RST_STREAM, Raw, SETTINGS, Seen, WINDOW_UPDATE, block, frame, get, headers,
};

/// Frames of a flood, if nobody stops it.
const MANY: usize = 100_000;
/// What frames that wait to be read may take.
const FRAMES_KIB: u64 = 48 << 10;
/// Setting of how many bytes of an answer the client wants.
const INITIAL_WINDOW_SIZE: u16 = 4;

fn photo_head(stream: u32, length: &str) -> Vec<u8> {
    let path = format!("/v1/models/{MODEL}/infer");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path.as_str()),
        ("content-type", "image/png"),
        ("content-length", length),
    ];
    headers(stream, 0, &fields)
}

/// Row 7: a body in a million pieces is read, and is no photo.
#[tokio::test]
async fn a_million_frames_of_one_byte_are_read_or_refused() {
    let server = Child::start(&["--body-timeout", "60s", "--max-deadline", "60s"]).await;
    let one = frame(DATA, 0, 1, b"x");
    let pieces = 1_000_000;
    let before = server.held();
    let mut raw = Raw::connect(server.addr).await;
    raw.send(photo_head(1, &pieces.to_string())).await;
    // Who reads them all has to see an end, too.
    raw.flood(&one, pieces - 1).await;
    raw.send(frame(DATA, END_STREAM, 1, b"x")).await;
    let seen = raw.answer().await;
    // What it costs while it lasts: as much as the frames that wait to be read, which are bounded.
    server.assert_peak(before, FRAMES_KIB);
    match (seen.goaway, seen.status) {
        (Some(code), _) => assert_eq!(code, ENHANCE_YOUR_CALM),
        (None, status) => {
            assert_eq!(status, Some(400), "{seen:?}");
            assert_eq!(seen.kind(), "invalid_image");
        }
    }
    drop(raw);
    server.assert_live().await;
    server.assert_back(before).await;
}

/// Row 7: frames without any byte.
#[tokio::test]
async fn empty_frames_are_not_counted_for_ever() {
    let server = Child::start(&[]).await;
    server
        .endures(5, async || {
            let mut raw = Raw::connect(server.addr).await;
            raw.send(photo_head(1, "1000")).await;
            let sent = raw.flood(&frame(DATA, 0, 1, b""), MANY).await;
            let seen = raw.until(Seen::is_over).await;
            assert_eq!(seen.goaway, Some(ENHANCE_YOUR_CALM), "{sent}: {seen:?}");
        })
        .await;
}

/// Row 7: padding counts as what it is.
#[tokio::test]
async fn frames_of_padding_are_no_body() {
    const PADDED: u8 = 8;
    let server = Child::start(&[]).await;
    server
        .endures(3, async || {
            let padding = [&[255][..], &[0; 255]].concat();
            let mut raw = Raw::connect(server.addr).await;
            raw.send(photo_head(1, "1000")).await;
            raw.flood(&frame(DATA, PADDED, 1, &padding), MANY).await;
            let seen = raw.answer().await;
            assert!(seen.status.is_none_or(|status| status == 408), "{seen:?}");
        })
        .await;
}

/// Row 17: requests that are taken back as soon as they are made.
#[tokio::test]
async fn a_rapid_reset_ends_the_connection_and_runs_nothing() {
    let server = Child::start(&[]).await;
    server
        .endures(5, async || {
            let mut raw = Raw::connect(server.addr).await;
            let mut sent = 0;
            for stream in (1..20_000).step_by(2) {
                let cancel = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
                let request = headers(stream, END_STREAM, &get("/v1/models"));
                if !raw.send([request, cancel].concat()).await {
                    break;
                }
                sent += 1;
            }
            // All 10,000 are taken if the server keeps up with them; they never pile up.
            let seen = if sent == 10_000 && !raw.seen().is_over() {
                raw.send(headers(20_001, END_STREAM, &get("/v2/health/live")))
                    .await;
                raw.answer().await
            } else {
                raw.until(Seen::is_over).await
            };
            assert!(
                seen.goaway == Some(ENHANCE_YOUR_CALM) || seen.status == Some(200),
                "{sent}: {seen:?}"
            );
        })
        .await;
}

/// Row 17, in one piece: more resets than the server can have looked at.
#[tokio::test]
async fn resets_that_come_before_their_requests_are_seen_end_the_connection() {
    let server = Child::start(&[]).await;
    let burst: Vec<u8> = (1..2_000)
        .step_by(2)
        .flat_map(|stream| {
            let cancel = frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
            [photo_head(stream, "1000"), cancel].concat()
        })
        .collect();
    server
        .endures(10, async || {
            let mut raw = Raw::connect(server.addr).await;
            raw.send(&burst).await;
            let seen = raw.until(Seen::is_over).await;
            assert_eq!(seen.goaway, Some(ENHANCE_YOUR_CALM), "{seen:?}");
        })
        .await;
}

/// Frames for a stream that has begun, which the server answers with a reset.
type Fault<'a> = &'a dyn Fn(u32) -> Vec<u8>;

/// Makes the server reset one stream after another by itself.
async fn made_you_reset(addr: SocketAddr, fault: impl Fn(u32) -> Vec<u8>) -> Seen {
    let mut raw = Raw::connect(addr).await;
    for stream in (1..10_000).step_by(2) {
        if !raw
            .send([photo_head(stream, "10"), fault(stream)].concat())
            .await
        {
            break;
        }
    }
    raw.until(Seen::is_over).await
}

/// Row 18: `MadeYouReset` in each of its forms, until the server's own resets run out.
#[tokio::test]
async fn a_server_that_is_made_to_reset_ends_the_connection() {
    let server = Child::start(&[]).await;
    let no_window = |stream| frame(WINDOW_UPDATE, 0, stream, &0u32.to_be_bytes());
    let huge_window = |stream| frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes());
    let too_long = |stream| frame(DATA, END_STREAM, stream, b"more than ten bytes");
    let itself = |stream: u32| {
        frame(
            PRIORITY,
            0,
            stream,
            &[&stream.to_be_bytes()[..], &[1]].concat(),
        )
    };
    let faults: [(&str, Fault<'_>); 4] = [
        ("a window of 0", &no_window),
        ("a window above 2^31", &huge_window),
        ("a body that is longer than its length", &too_long),
        ("a stream that depends on itself", &itself),
    ];
    server
        .endures(2, async || {
            for (name, fault) in faults {
                let seen = made_you_reset(server.addr, fault).await;
                assert!(seen.goaway.is_some() || seen.closed, "{name}: {seen:?}");
                assert!(seen.resets.len() <= 1024, "{name}: {}", seen.resets.len());
                server.assert_live().await;
            }
        })
        .await;
}

/// Row 18: data behind the end of a stream.
#[tokio::test]
async fn data_behind_the_end_is_the_connections_end_or_the_streams() {
    let server = Child::start(&[]).await;
    server
        .endures(5, async || {
            let mut raw = Raw::connect(server.addr).await;
            raw.send(headers(1, END_STREAM, &get("/v2/health/live")))
                .await;
            raw.flood(&frame(DATA, 0, 1, &[0; 1000]), MANY).await;
            let seen = raw
                .until(|seen| seen.is_over() || !seen.resets.is_empty())
                .await;
            assert!(seen.is_over() || !seen.resets.is_empty(), "{seen:?}");
        })
        .await;
}

/// Row 19: a header list that never ends.
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let server = Child::start(&[]).await;
    let fields = block(&get("/v1/models"));
    for piece in [
        frame(CONTINUATION, 0, 1, b""),
        frame(CONTINUATION, 0, 1, &block(&[("a", "b")])),
        frame(
            CONTINUATION,
            0,
            1,
            &block(&[("x-filler", "y".repeat(16_000))]),
        ),
    ] {
        server
            .endures(5, async || {
                let mut raw = Raw::connect(server.addr).await;
                raw.send(frame(HEADERS, END_STREAM, 1, &fields)).await;
                raw.flood(&piece, MANY).await;
                let seen = raw.until(Seen::is_over).await;
                assert!(seen.goaway.is_some(), "{seen:?}");
                assert_eq!(seen.answers, 0);
            })
            .await;
    }
}

/// Row 19: one megabyte in one header, and in ten thousand.
#[tokio::test]
async fn a_huge_header_list_is_431_or_the_connections_end() {
    let server = Child::start(&[]).await;
    let one: Vec<(String, String)> = vec![("x-huge".into(), "y".repeat(1 << 20))];
    let many: Vec<(String, String)> = (0..10_000)
        .map(|i| (format!("x-{i}"), "y".repeat(100)))
        .collect();
    // Short on the wire, long when unpacked: one entry of the table again and again.
    let indexed = [
        &[0x40][..],
        &block(&[("x-bomb", "z".repeat(4000))])[1..],
        &[0xbe; 15_000][..],
    ]
    .concat();
    let blocks = [block(&one), block(&many), indexed];
    server
        .endures(3, async || {
            for more in &blocks {
                let list = [block(&get("/v1/models")), more.clone()].concat();
                let mut raw = Raw::connect(server.addr).await;
                let mut pieces = list.chunks(16_000).peekable();
                let mut kind = HEADERS;
                while let Some(piece) = pieces.next() {
                    let end = if pieces.peek().is_none() {
                        END_HEADERS
                    } else {
                        0
                    };
                    let stream = if kind == HEADERS { END_STREAM } else { 0 };
                    if !raw.send(frame(kind, end | stream, 1, piece)).await {
                        break;
                    }
                    kind = CONTINUATION;
                }
                let seen = raw.answer().await;
                assert!(seen.status == Some(431) || seen.is_over(), "{seen:?}");
                server.assert_live().await;
            }
        })
        .await;
}

/// Row 20: frames that want nothing. The server answers them and keeps none of them.
#[tokio::test]
async fn floods_of_settings_pings_and_priorities_pile_up_nowhere() {
    let server = Child::start(&[]).await;
    let priority = frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]);
    for (piece, acknowledged) in [
        (frame(SETTINGS, 0, 0, b""), true),
        (
            frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255].repeat(500)),
            true,
        ),
        (frame(PING, 0, 0, b"12345678"), true),
        (frame(PING, ACK, 0, b"12345678"), false),
        (priority, false),
        (frame(0xfa, 0, 0, b"of a type that nobody knows"), false),
    ] {
        server
            .endures(2, async || {
                let mut raw = Raw::connect(server.addr).await;
                let sent = raw.flood(&piece, MANY / 10).await;
                if sent == MANY / 10 {
                    // It has kept up, and the connection is as good as before.
                    raw.send(headers(1, END_STREAM, &get("/v2/health/live")))
                        .await;
                    let seen = raw.answer().await;
                    assert!(seen.status == Some(200) || seen.is_over(), "{seen:?}");
                    if acknowledged && !seen.is_over() {
                        assert!(seen.acks >= sent, "{} of {sent}", seen.acks);
                    }
                }
            })
            .await;
    }
}

/// Row 20: acknowledgements that are never taken. The server stops to read instead of keeping them.
#[tokio::test]
async fn a_client_that_floods_and_never_reads_is_not_read_either() {
    use tokio::io::AsyncWriteExt as _;

    let server = Child::start(&[]).await;
    let piece = frame(PING, 0, 0, b"12345678").repeat(1000);
    server
        .endures(3, async || {
            let mut stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
            stream.write_all(crate::raw::PREFACE).await.unwrap();
            stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
            let stuck = async { while stream.write_all(&piece).await.is_ok() {} };
            // Until the kernel's buffers of both directions are full.
            let stuck = tokio::time::timeout(Duration::from_secs(2), stuck).await;
            assert!(stuck.is_err(), "neither closed nor read for ever");
        })
        .await;
}

/// Row 20: a window of 0 for ever, on every stream that there may be.
#[tokio::test]
async fn answers_that_are_never_taken_are_given_up() {
    let server = Child::start(&["--answer-idle-timeout", "300ms"]).await;
    server
        .endures(3, async || {
            let mut raw = Raw::connect_with(server.addr, &[(INITIAL_WINDOW_SIZE, 0)]).await;
            for stream in 0..100 {
                raw.send(headers(2 * stream + 1, END_STREAM, &get("/v1/models")))
                    .await;
            }
            let seen = raw
                .until(|seen| seen.is_over() || seen.resets.len() == 100)
                .await;
            assert!(seen.is_over() || seen.resets.len() == 100, "{seen:?}");
            assert_eq!(seen.body.len(), 0);
        })
        .await;
}

/// Row 20: a client that does not answer pings is closed; time is the test's.
#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_closed() {
    let server = start(|_| {}).await;
    let began = tokio::time::Instant::now();
    let raw = Raw::connect(server.addr).await;
    let seen = raw.until_closed().await;
    assert!(seen.closed, "{seen:?}");
    // The interval and the time to answer.
    assert!(began.elapsed() >= Duration::from_secs(20 + 10));
    assert!(began.elapsed() <= Duration::from_secs(20 + 10 + 1));
}

/// Frames that are no frames, and streams that may not be: the connection ends, or the stream.
#[tokio::test]
async fn frames_that_break_the_protocol_end_it() {
    let server = Child::start(&[]).await;
    let live = headers(1, END_STREAM, &get("/v2/health/live"));
    let with = |more: &[(&str, &str)]| {
        let fields = [&get("/v2/health/live")[..], more].concat();
        headers(1, END_STREAM, &fields)
    };
    let broken = [
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("data on a stream that is idle", frame(DATA, 0, 1, b"x")),
        ("an even stream", headers(2, END_STREAM, &get("/"))),
        (
            "streams going back",
            [headers(5, 0, &get("/")), live.clone()].concat(),
        ),
        (
            "a reset of an idle stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
        ),
        ("a push", frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        (
            "an acknowledgement of nothing",
            frame(SETTINGS, ACK, 0, b"").repeat(2),
        ),
        (
            "a window above 2^31",
            frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes()),
        ),
        ("a ping of seven bytes", frame(PING, 0, 0, b"1234567")),
        (
            "a frame above the largest",
            frame(DATA, 0, 1, &vec![0; (16 << 10) + 1]),
        ),
        (
            "a header block of rubbish",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 64]),
        ),
        (
            "no header at all",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, b""),
        ),
        ("an upper-case header", with(&[("X-Upper", "x")])),
        (
            "a line break in a header",
            with(&[("x-split", "a\r\nb: c")]),
        ),
        ("a null in a header", with(&[("x-null", "a\0b")])),
        ("a header for one hop", with(&[("connection", "close")])),
        (
            "a transfer encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("te that is not trailers", with(&[("te", "gzip")])),
        ("a pseudo-header behind others", with(&[(":method", "GET")])),
        ("a pseudo-header of answers", with(&[(":status", "200")])),
        (
            "an unknown pseudo-header",
            with(&[(":protocol-of-mine", "x")]),
        ),
        ("no path", headers(1, END_STREAM, &get("/")[..3])),
    ];
    server
        .endures(2, async || {
            for (name, frames) in &broken {
                let seen = Raw::ask(server.addr, std::slice::from_ref(frames)).await;
                let refused = seen.is_over() || !seen.resets.is_empty() || seen.status == Some(400);
                assert!(refused, "{name}: {seen:?}");
                assert_ne!(seen.status, Some(200), "{name}: {seen:?}");
                server.assert_live().await;
            }
        })
        .await;
}

/// The limit on streams holds: one more is refused, the others go on.
#[tokio::test]
async fn a_stream_too_many_is_refused() {
    const REFUSED_STREAM: u32 = 7;
    let server = Child::start(&["--max-in-flight", "200"]).await;
    server
        .endures(3, async || {
            let mut raw = Raw::connect(server.addr).await;
            let hash = manifest().hash.as_str();
            let path = format!("/v1/models/{MODEL}/infer");
            for stream in 0..150 {
                let fields = [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", path.as_str()),
                    ("content-type", PACKED),
                    ("dyno-bundle", hash),
                    ("content-length", "10"),
                ];
                raw.send(headers(2 * stream + 1, 0, &fields)).await;
            }
            let seen = raw
                .until(|seen| seen.is_over() || seen.resets.len() == 50)
                .await;
            let all_refused = seen.resets.iter().all(|code| *code == REFUSED_STREAM);
            assert!(seen.is_over() || all_refused, "{seen:?}");
        })
        .await;
}

/// Trailers are not headers: those that say what only headers may end their stream.
#[tokio::test]
async fn trailers_that_are_headers_reset_their_stream() {
    let server = Child::start(&[]).await;
    for fields in [&[(":method", "GET")][..], &[("connection", "close")]] {
        let frames = [
            photo_head(1, "4"),
            frame(DATA, 0, 1, b"body"),
            headers(1, END_STREAM, fields),
        ];
        let seen = Raw::ask(server.addr, &frames).await;
        let refused = seen.is_over() || !seen.resets.is_empty() || seen.status == Some(400);
        assert!(refused, "{fields:?}: {seen:?}");
        server.assert_live().await;
    }
}
