//! What the machine can run out of (row 32); the log is in `logs.rs`.

use std::process::Command;

use tokio::net::TcpStream;

use crate::bundle::bundles;
use crate::child::Child;
use crate::common::until;

/// Row 32: no file descriptor is left. The server rests, and goes on when there are some.
#[tokio::test]
async fn without_file_descriptors_it_rests_and_goes_on() {
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n 48; exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_dyno-server"))
        .arg("--bundles")
        .arg(bundles())
        .args(["--max-connections-per-address", "1000"]);
    let server = Child::spawn(command).await;
    // A connection that it has keeps its place.
    let live = server.url("/v2/health/live");
    assert_eq!(server.client.get(&live).send().await.unwrap().status(), 200);
    let base = server.held();
    for _ in 0..2 {
        let mut held = Vec::new();
        for _ in 0..200 {
            held.push(TcpStream::connect(server.addr).await.unwrap());
        }
        until(async || server.log().contains("cannot accept a connection")).await;
        assert_eq!(server.client.get(&live).send().await.unwrap().status(), 200);
        drop(held);
        until(async || server.status("/v2/health/live").await == Some(200)).await;
        server.assert_back(base).await;
    }
    // Rests of 200 ms: the log says so a few times, not thousands.
    let said = server.log().matches("cannot accept a connection").count();
    assert!(said < 200, "{said}");
}
