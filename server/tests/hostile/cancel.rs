//! Clients that go away (row 24); `server/tests/limits.rs` shows each step with an engine that waits.

use std::time::Duration;

use crate::bundle::{MODEL, manifest, photo};
use crate::child::Child;
use crate::common::{PACKED, until};
use crate::raw::{DATA, END_STREAM, RST_STREAM, Raw, frame, headers};

const PLACES: u32 = 4;

fn head(stream: u32, media: &str, length: usize) -> Vec<u8> {
    let path = format!("/v1/models/{MODEL}/infer");
    let length = length.to_string();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path.as_str()),
        ("content-type", media),
        ("dyno-bundle", manifest().hash.as_str()),
        ("content-length", length.as_str()),
    ];
    headers(stream, 0, &fields)
}

async fn load(server: &Child) -> String {
    let probe = server.client.post(server.url("/v1/probe")).body("probe");
    let answer = probe.send().await.unwrap();
    let load = answer.headers().get("dyno-load");
    load.map_or(String::new(), |load| load.to_str().unwrap().to_owned())
}

/// Row 24: in the upload, in the queue and while the tail runs; with the stream, and with the connection.
#[tokio::test]
async fn clients_that_go_away_leave_their_places() {
    let places = PLACES.to_string();
    let server = Child::start(&["--max-in-flight", &places]).await;
    let photo = photo();
    server
        .endures(10, async || {
            // In the upload: all places, and the connection goes.
            let mut raw = Raw::connect(server.addr).await;
            for stream in 0..PLACES {
                raw.send(head(2 * stream + 1, PACKED, 1000)).await;
                raw.send(frame(DATA, 0, 2 * stream + 1, &[0; 500])).await;
            }
            drop(raw);
            until(async || load(&server).await.starts_with("in-flight=1,")).await;

            // With whole bodies, reset or cut off at about every step behind them.
            for wait in 0..8 {
                let mut raw = Raw::connect(server.addr).await;
                for stream in 0..PLACES {
                    let stream = 2 * stream + 1;
                    raw.send(head(stream, "image/jpeg", photo.len())).await;
                    for piece in photo.chunks(16 << 10) {
                        raw.send(frame(DATA, 0, stream, piece)).await;
                    }
                    raw.send(frame(DATA, END_STREAM, stream, b"")).await;
                }
                tokio::time::sleep(Duration::from_millis(wait)).await;
                if wait % 2 == 0 {
                    for stream in 0..PLACES {
                        raw.send(frame(RST_STREAM, 0, 2 * stream + 1, &8u32.to_be_bytes()))
                            .await;
                    }
                }
                drop(raw);
                until(async || load(&server).await.starts_with("in-flight=1,")).await;
            }
        })
        .await;
    assert_eq!(server.photo("image/jpeg", photo).await.status(), 200);
    // They are counted.
    server.logs(|log| log.contains("cancelled")).await;
}
