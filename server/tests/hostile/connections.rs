//! More connections than there may be (row 22).

use std::net::SocketAddr;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::child::Child;
use crate::common::until;
use crate::raw::{END_STREAM, PREFACE, SETTINGS, frame, get, headers};

/// Connections that are opened at once: fewer than the kernel queues, which drops the others without a word
/// to anybody.
const WAVE: usize = 500;
const WAVES: usize = 4;

/// Row 22: one address takes what one address may have, and others do not notice.
#[tokio::test]
async fn one_address_cannot_crowd_out_others() {
    let flags = [
        "--max-connections",
        "100",
        "--max-connections-per-address",
        "10",
    ];
    let server = Child::start(&flags).await;
    server
        .endures(2, async || {
            let mut held = Vec::new();
            for _ in 0..WAVES {
                for _ in 0..WAVE {
                    if let Ok(stream) = TcpStream::connect(server.addr).await {
                        held.push(stream);
                    }
                }
                // Those beyond the limit hear that there is no room, as soon as it is their turn.
                until(async || {
                    held.retain(is_open);
                    held.len() <= 10
                })
                .await;
            }
            assert_eq!(live_from(&server, "127.0.0.2:0").await, Some(200));
            drop(held);
            until(async || live_from(&server, "127.0.0.1:0").await == Some(200)).await;
        })
        .await;
    server.logs(|log| log.contains("there are too many")).await;
}

/// Row 22: all places taken from many addresses.
#[tokio::test]
async fn all_places_taken_is_refused_and_free_again() {
    let flags = [
        "--max-connections",
        "20",
        "--max-connections-per-address",
        "10",
    ];
    let server = Child::start(&flags).await;
    server
        .endures(2, async || {
            let mut held = Vec::new();
            for host in 2..10 {
                for _ in 0..10 {
                    let from = SocketAddr::from(([127, 0, 0, host], 0));
                    held.extend(connect_from(&server, from).await);
                }
            }
            until(async || live_from(&server, "127.0.0.99:0").await.is_none()).await;
            drop(held);
            until(async || live_from(&server, "127.0.0.99:0").await == Some(200)).await;
            until(async || server.status("/v2/health/live").await == Some(200)).await;
        })
        .await;
}

/// Whether the other side has neither closed the connection nor reset it.
fn is_open(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn connect_from(server: &Child, from: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from).unwrap();
    socket.connect(server.addr).await.ok()
}

/// The status of a health check from another address of this machine.
async fn live_from(server: &Child, from: &str) -> Option<u16> {
    use tokio::io::AsyncWriteExt as _;

    let mut stream = connect_from(server, from.parse().unwrap()).await?;
    let live = headers(1, END_STREAM, &get("/v2/health/live"));
    let request = [PREFACE, &frame(SETTINGS, 0, 0, b""), &live].concat();
    stream.write_all(&request).await.ok()?;
    let mut said = Vec::new();
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece).await {
            Ok(read @ 1..) => said.extend(&piece[..read]),
            Ok(0) | Err(_) => return None,
        }
        let text = String::from_utf8_lossy(&said);
        if text.contains(r#"{"live":true}"#) {
            return Some(200);
        }
    }
}
