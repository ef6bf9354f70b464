//! Bodies that are not as long as they say, or too long (rows 5 and 6).

use dyno_core::schedule::{Codec, Precision};
use reqwest::Response;

use crate::bundle::{MODEL, large_cut, manifest, packed};
use crate::child::Child;
use crate::common::{PACKED, assert_error};
use crate::raw::{DATA, END_STREAM, PROTOCOL_ERROR, Raw, frame, headers};

/// HEADERS of an inference with these lengths.
fn head(lengths: &[&str]) -> Vec<u8> {
    let path = format!("/v1/models/{MODEL}/infer");
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", &path),
        ("content-type", PACKED),
        ("dyno-bundle", manifest().hash.as_str()),
    ];
    fields.extend(lengths.iter().map(|length| ("content-length", *length)));
    headers(1, 0, &fields)
}

fn data(flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, 1, bytes)
}

/// Row 5: a length that is none, or that is not true.
#[tokio::test]
async fn a_length_that_is_not_true_ends_the_request() {
    let server = Child::start(&[]).await;
    server
        .endures(3, async || {
            for (lengths, status) in [
                // None at all.
                (&[][..], Some(411)),
                // More than there may be, decided before a byte of the body.
                (&["99999999999"], Some(413)),
                (&["9223372036854775807"], Some(413)),
                (&["9223372036854775808"], Some(413)),
                // Not a number of bytes: HTTP/2 itself is broken.
                (&["18446744073709551615"], None),
                (&["18446744073709551616"], None),
                (&["-1"], None),
                (&["4, 4"], None),
                (&["0x4"], None),
                (&["4.0"], None),
                (&["four"], None),
            ] {
                let seen = Raw::ask(server.addr, &[head(lengths), data(0, b"body")]).await;
                let malformed = seen.resets == [PROTOCOL_ERROR];
                assert_eq!(seen.status, status, "{lengths:?}: {seen:?}");
                assert_eq!(malformed, status.is_none(), "{lengths:?}: {seen:?}");
                server.assert_live().await;
            }
            for (lengths, body) in [(["8"], &b"body"[..]), (["2"], b"body"), (["0"], b"body")] {
                let frames = [head(&lengths), data(END_STREAM, body)];
                let seen = Raw::ask(server.addr, &frames).await;
                let refused = seen.status == Some(400) || seen.resets.contains(&PROTOCOL_ERROR);
                assert!(refused, "{lengths:?}: {seen:?}");
                server.assert_live().await;
            }
        })
        .await;
}

/// Row 5: two lengths, the same or not.
#[tokio::test]
async fn two_lengths_are_refused() {
    let server = Child::start(&[]).await;
    for lengths in [["4", "4"], ["4", "5"]] {
        let frames = [head(&lengths), data(END_STREAM, b"body")];
        let seen = Raw::ask(server.addr, &frames).await;
        let refused = seen.status == Some(400) || seen.resets == [PROTOCOL_ERROR];
        assert!(refused, "{lengths:?}: {seen:?}");
        server.assert_live().await;
    }
}

/// Row 5: memory is taken as bytes come, not as they are promised.
#[tokio::test]
async fn promised_bytes_take_no_memory() {
    let server = Child::start(&["--max-in-flight", "100", "--body-idle-timeout", "60s"]).await;
    let path = format!("/v1/models/{MODEL}/infer");
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path.as_str()),
        ("content-type", "image/png"),
        ("content-length", "16777216"),
    ];
    let before = server.held();
    let mut raw = Raw::connect(server.addr).await;
    for stream in 0..90 {
        raw.send(headers(2 * stream + 1, 0, &fields)).await;
        raw.send(frame(DATA, 0, 2 * stream + 1, b"\x89PNG")).await;
    }
    let busy = format!("in-flight={}", 90 + 1);
    crate::common::until(async || {
        let probe = server.client.post(server.url("/v1/probe")).body("probe");
        let load = probe.send().await.unwrap().headers()["dyno-load"].clone();
        load.to_str().unwrap().starts_with(&busy)
    })
    .await;
    let during = server.held();
    drop(raw);
    // 90 photos of 16 MiB would be 1.4 GiB; what is set aside is address space until it is written.
    assert!(
        during.rss_kib < before.rss_kib + (32 << 10),
        "{before:?} {during:?}"
    );
    server.assert_back(before).await;
    server.assert_live().await;
}

/// Row 6: around the longest valid message of the model, which is taken.
#[tokio::test]
async fn the_longest_message_is_taken_and_no_byte_more() {
    let server = Child::start(&[]).await;
    let whole = packed(large_cut(), Precision::Raw, Codec::Raw);
    let url = server.url(&format!("/v1/models/{MODEL}"));
    let model = crate::common::json(server.client.get(url).send().await.unwrap()).await;
    assert_eq!(model["limits"]["max_activation_bytes"], whole.len());

    let short = whole[..whole.len() - 1].to_vec();
    let long = [&whole[..], &[0]].concat();
    server
        .endures(3, async || {
            assert_eq!(server.packed(whole.clone()).await.status(), 200);
            assert_error(
                server.packed(short.clone()).await,
                400,
                "invalid_activation",
            )
            .await;
            assert_error(server.packed(Vec::new()).await, 400, "invalid_activation").await;
            assert_too_large(server.packed(long.clone()).await).await;
            server.assert_live().await;
            // The answer comes from the headers, and may end the upload before its end.
            let huge = server.infer().body(vec![0; 10 * whole.len()]).send().await;
            if let Ok(answer) = huge {
                assert_too_large(answer).await;
            }
        })
        .await;
}

async fn assert_too_large(answer: Response) {
    assert_error(answer, 413, "too_large").await;
}
