//! A link of a given rate and round trip, in this process: bytes pass through it in both
//! directions, the upward ones no faster than the rate.
//!
//! Right for warm, busy connections; it knows nothing of TCP's slow start, of idle restarts and of
//! loss, so what it shows is how plans change, not what a network would measure.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes that travel together: about one segment.
const PIECE_BYTES: usize = 1400;
/// Pieces on the link at once: its queue.
const MAX_PIECES: usize = 64;

/// How a link behaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkKind {
    /// What it stands for.
    pub(super) name: &'static str,
    /// Bits a second from phone to server.
    pub(super) rate_bps: f64,
    /// Round trip without queueing, in milliseconds.
    pub(super) rtt_ms: f64,
}

/// A running link; ends when dropped.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Link {
    /// Opens a link to `server` on a port of its own.
    pub(super) async fn open(kind: LinkKind, server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("cannot open a port for the link")?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, kind, server));
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    /// Where the phone connects to.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept(listener: TcpListener, kind: LinkKind, server: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((phone, _)) = listener.accept().await {
        // A server that is gone closes the phone's connection, as a network would.
        let Ok(server) = TcpStream::connect(server).await else {
            continue;
        };
        let _ = (phone.set_nodelay(true), server.set_nodelay(true));
        connections.spawn(carry(phone, server, kind));
    }
}

async fn carry(phone: TcpStream, server: TcpStream, kind: LinkKind) {
    let (mut from_phone, mut to_phone) = phone.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let one_way = Duration::from_secs_f64(kind.rtt_ms / 2e3);
    tokio::select! {
        () = pass(&mut from_phone, &mut to_server, Some(kind.rate_bps), one_way) => {}
        () = pass(&mut from_server, &mut to_phone, None, one_way) => {}
    }
}

/// Passes bytes on until one side closes.
async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    rate_bps: Option<f64>,
    delay: Duration,
) {
    let (pieces, mut inbox) = mpsc::channel::<(Instant, Vec<u8>)>(MAX_PIECES);
    let send = async move {
        let mut free_at = Instant::now();
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            let busy = rate_bps.map_or(0.0, |rate| n as f64 * 8.0 / rate);
            free_at = free_at.max(Instant::now()) + Duration::from_secs_f64(busy);
            if pieces
                .send((free_at + delay, buffer[..n].to_vec()))
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let deliver = async move {
        while let Some((at, piece)) = inbox.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(send, deliver);
}
