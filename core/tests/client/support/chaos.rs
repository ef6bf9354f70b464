//! A proxy between a client and a server that does to connections what networks and restarts do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Clear,
    /// They are closed, and nobody listens.
    Killed,
    /// They are closed, once; new ones are clear.
    Restarted,
    /// They are reset, as are new ones.
    Reset,
    /// Nothing moves until this ends.
    Stalled,
    /// What is sent is taken and lost: those that live now are dead for good, as are new ones.
    BlackHole,
    /// Every fourth piece from the server has a bit that is another.
    Noisy,
}

pub struct Chaos {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
    open: Arc<AtomicUsize>,
    sent_up: Arc<AtomicUsize>,
}

impl Chaos {
    /// A clear way to `server`.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let chaos = Self {
            address: listener.local_addr().unwrap(),
            way: watch::Sender::new(Way::Clear),
            open: Arc::default(),
            sent_up: Arc::default(),
        };
        tokio::spawn(listen(
            listener,
            chaos.address,
            server,
            chaos.way.subscribe(),
            (chaos.open.clone(), chaos.sent_up.clone()),
        ));
        chaos
    }

    /// Bytes that clients have sent through.
    pub fn sent_up(&self) -> usize {
        self.sent_up.load(Ordering::SeqCst)
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Connections of clients that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

async fn listen(
    mut listener: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    mut way: watch::Receiver<Way>,
    (open, sent_up): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    loop {
        if *way.borrow_and_update() == Way::Killed {
            drop(listener);
            while *way.borrow_and_update() == Way::Killed {
                if way.changed().await.is_err() {
                    return;
                }
            }
            listener = bind(address).await;
        }
        tokio::select! {
            changed = way.changed() => if changed.is_err() { return },
            accepted = listener.accept() => {
                let (client, _) = accepted.unwrap();
                client.set_nodelay(true).unwrap();
                let (way, open, sent_up) = (way.clone(), open.clone(), sent_up.clone());
                tokio::spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    relay(client, server, way, &sent_up).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        if socket.bind(address).is_ok() {
            return socket.listen(64).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Carries bytes both ways until one side, or the way, ends the connection.
async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    mut way: watch::Receiver<Way>,
    sent_up: &AtomicUsize,
) {
    if *way.borrow_and_update() == Way::Reset {
        client.set_zero_linger().unwrap();
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    server.set_nodelay(true).unwrap();
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    let (mut lost, mut pieces) = (false, 0_usize);
    loop {
        let now = *way.borrow_and_update();
        lost |= now == Way::BlackHole;
        tokio::select! {
            changed = way.changed() => {
                let next = *way.borrow();
                if changed.is_err() || matches!(next, Way::Killed | Way::Restarted) {
                    return;
                }
                if next == Way::Reset {
                    client.set_zero_linger().unwrap();
                    return;
                }
            }
            read = client.read(&mut up), if now != Way::Stalled => {
                let Ok(count @ 1..) = read else { return };
                sent_up.fetch_add(count, Ordering::SeqCst);
                if !lost && server.write_all(&up[..count]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down), if now != Way::Stalled => {
                let Ok(count @ 1..) = read else { return };
                pieces += 1;
                if now == Way::Noisy && pieces.is_multiple_of(4) {
                    down[pieces % count] ^= 1 << (pieces % 8);
                }
                if !lost && client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
