//! Models' names and paths, as bytes that URL libraries would not send (row 4).

use crate::child::Child;
use crate::raw::{END_STREAM, PROTOCOL_ERROR, Raw, get, headers};

/// Row 4: they are keys of a map and nothing else.
#[tokio::test]
async fn a_path_never_becomes_a_file() {
    let server = Child::start(&[]).await;
    let long = format!("/v1/models/{}", "n".repeat(300));
    let longer = format!("/v1/models/{}", "%2e".repeat(4000));
    let paths = [
        "/v1/models/../../etc/passwd",
        "/v1/models/../../../../../../etc/passwd/bundle",
        "/../../etc/passwd",
        "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/models/..%2f..%2fetc%2fpasswd/bundle",
        "/v1/models/shapes12/../shapes12",
        "/v1/models/shapes12/bundle/../../../../Cargo.toml",
        "/v1/models/shapes12%2f..%2fshapes12",
        "/v1/models/shapes12%2fweights.bin",
        "/v1/models/shapes12%00",
        "/v1/models/%00",
        "/v1/models/shapes12%20",
        "/v1/models/%20shapes12",
        "/v1/models/%09",
        "/v1/models/SHAPES12",
        "/v1/models/sh%D0%B0pes12",
        "/v1/models/shapes12%E2%80%AE",
        "/v1/models/%ff%fe",
        "/v1/models/%c0%ae%c0%ae",
        "/v1/models/%",
        "/v1/models/%zz",
        "/v1/models/shapes12/versions/-1",
        "/v1/models/shapes12/versions/99999999999999999999",
        "/v1/models/shapes12/versions/-1/infer",
        "/v1/models/C:%5cWindows",
        "/v1/models/con",
        "//v1//models",
        "/v1/models/.",
        "/v1/models/..",
        &long,
        &longer,
    ];
    server
        .endures(2, async || {
            for path in paths {
                let seen = Raw::ask(server.addr, &[headers(1, END_STREAM, &get(path))]).await;
                assert_eq!(seen.status, Some(404), "{path}: {seen:?}");
                assert_eq!(seen.kind(), "not_found", "{path}");
                let text = String::from_utf8(seen.body).unwrap();
                assert!(
                    !text.contains("passwd") && !text.contains("nnn"),
                    "nothing of the path is said again: {text}"
                );
            }
            server.assert_live().await;
        })
        .await;
}

/// Row 4: bytes that no URL has.
#[tokio::test]
async fn a_path_that_is_none_resets_its_stream() {
    let server = Child::start(&[]).await;
    let paths = [
        "/v1/models/a b",
        "/v1/models/\0",
        "/v1/models/\r\nx: y",
        "/v1/models/\u{1b}[31m",
        "etc/passwd",
        "",
    ];
    server
        .endures(2, async || {
            for path in paths {
                let seen = Raw::ask(server.addr, &[headers(1, END_STREAM, &get(path))]).await;
                let refused =
                    seen.resets == [PROTOCOL_ERROR] || seen.goaway == Some(PROTOCOL_ERROR);
                let answered = matches!(seen.status, Some(400 | 404));
                assert!(refused || answered, "{path:?}: {seen:?}");
                server.assert_live().await;
            }
        })
        .await;
}
