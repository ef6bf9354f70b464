//! The accept loop and the life of a connection: TLS, HTTP/2 preface, limits, GOAWAY.
//!
//! Phones are spoken to in HTTP/2 and nothing else, so that there is one set of limits and no request
//! smuggling; `http1` is for the second door, that of the Open Inference Protocol. `axum::serve` is
//! not used: it sets no timer and hides HTTP/2's settings.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use dyno_core::{Error, ErrorKind, Result};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::drain::Lifecycle;
use crate::http1;
use crate::identity::{HASH_BYTES, Peer};
use crate::metrics::{Metrics, Refusal};
use crate::places::{Place, Places, subscriber};
use crate::registry::Registry;
use crate::routes::App;
use crate::stall;
use crate::tls::Tls;

/// Streams a connection may have open: a phone needs fewer than ten, a proxy shares one among many.
const MAX_STREAMS: u32 = 100;
/// Bytes of one answer that HTTP/2 keeps for a client that has no room for them now. They count as sent: a drain does not wait
/// for them.
const MAX_SENT_AHEAD: usize = 64 << 10;
/// Bytes of a request's headers.
const MAX_HEADER_LIST: u32 = 16 << 10;
/// Smallest receive window of a stream; the largest activation fits if it is not above
/// [`MAX_STREAM_WINDOW`], so that an upload never waits for a window update.
const MIN_STREAM_WINDOW: u32 = 2 << 20;
const MAX_STREAM_WINDOW: u32 = 16 << 20;
/// Streams' windows that a connection's window holds.
const STREAMS_PER_WINDOW: u32 = 4;
/// Pings that find out about phones that have gone without a word.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Rest after an accept that failed for want of file descriptors or memory: trying again at once
/// would spin until a connection ends.
const ACCEPT_REST: Duration = Duration::from_millis(200);
/// How an HTTP/2 connection starts (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a request in another protocol that are read and forgotten.
const REFUSED_BYTES: u64 = 64 << 10;
/// What anyone else hears: a word for people whose curl lacks an option.
const HTTP2_ONLY: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    connection: close\r\ncontent-type: text/plain\r\ncontent-length: 71\r\n\r\n\
    This server speaks HTTP/2 only; with curl, add --http2-prior-knowledge\n";

/// The bound addresses; their connections share places and limits.
pub(crate) struct Listener {
    main: Door,
    /// For programs that speak the Open Inference Protocol, if there is to be one.
    oip: Option<Door>,
    places: Places,
}

/// A bound address.
struct Door {
    tcp: TcpListener,
    tls: Option<Tls>,
    shared: Arc<Shared>,
}

/// What every connection needs.
struct Shared {
    tracked: Tracked,
    /// Their largest activation decides a connection's windows.
    models: Arc<Registry>,
    /// Whether HTTP/1.1 is spoken as well.
    http1: bool,
    router: Router,
    lifecycle: Arc<Lifecycle>,
    metrics: Arc<Metrics>,
    requests: TaskTracker,
    handshake_timeout: Duration,
    /// With a client that takes nothing of its answer.
    patience: Duration,
}

/// A connection just accepted.
pub(crate) struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    place: Place,
    shared: Arc<Shared>,
}

impl Listener {
    pub(crate) async fn bind(
        config: &Config,
        tls: Option<Tls>,
        app: &App,
        router: Router,
        oip_router: Router,
    ) -> Result<Self> {
        let requests = TaskTracker::new();
        let shared = |router, http1| {
            Arc::new(Shared {
                tracked: Tracked {
                    requests: requests.clone(),
                    patience: config.answer_idle_timeout,
                },
                models: Arc::clone(&app.models),
                http1,
                router,
                lifecycle: Arc::clone(&app.lifecycle),
                metrics: Arc::clone(&app.metrics),
                requests: requests.clone(),
                handshake_timeout: config.handshake_timeout,
                patience: config.answer_idle_timeout,
            })
        };
        let oip = match config.oip_listen {
            None => None,
            Some(address) => {
                Some(Door::bind(address, tls.clone(), shared(oip_router, true)).await?)
            }
        };
        Ok(Self {
            main: Door::bind(config.listen, tls, shared(router, false)).await?,
            oip,
            places: Places::new(
                config.max_connections.get().into(),
                config.max_connections_per_address.get().into(),
            ),
        })
    }

    /// The address that phones use.
    pub(crate) fn local_addr(&self) -> Result<SocketAddr> {
        self.main.local_addr()
    }

    /// The address of the Open Inference Protocol.
    pub(crate) fn oip_addr(&self) -> Result<Option<SocketAddr>> {
        self.oip.as_ref().map(Door::local_addr).transpose()
    }

    /// The next connection that there is a place for; others are closed as they come, which a
    /// client takes as "finish on the device" at once. Dropping the future loses no connection.
    pub(crate) async fn accept(&self) -> Accepted {
        loop {
            let (door, accepted) = match &self.oip {
                None => (&self.main, self.main.tcp.accept().await),
                Some(oip) => tokio::select! {
                    accepted = self.main.tcp.accept() => (&self.main, accepted),
                    accepted = oip.tcp.accept() => (oip, accepted),
                },
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    if !is_the_peers(&error) {
                        door.shared.metrics.refused(Refusal::Accept);
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                    continue;
                }
            };
            match self.places.take(peer.ip()) {
                Ok(place) => {
                    return Accepted {
                        stream,
                        peer,
                        tls: door.tls.clone(),
                        place,
                        shared: Arc::clone(&door.shared),
                    };
                }
                Err(refusal) => {
                    door.shared.metrics.refused(refusal);
                    let reason = refusal.as_str();
                    tracing::warn!(%peer, reason, "closed a new connection: there are too many");
                }
            }
        }
    }

    /// What answers the requests of every connection.
    #[cfg(feature = "internals")]
    pub(crate) fn router(&self) -> Router {
        self.main.shared.router.clone()
    }

    /// Gives the addresses back; returns the requests still under way.
    pub(crate) fn close(self) -> TaskTracker {
        self.main.shared.requests.clone()
    }
}

impl Door {
    async fn bind(address: SocketAddr, tls: Option<Tls>, shared: Arc<Shared>) -> Result<Self> {
        let tcp = TcpListener::bind(address).await.map_err(|error| {
            Error::with_source(ErrorKind::Io, format!("cannot listen on {address}"), error)
        })?;
        Ok(Self { tcp, tls, shared })
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.tcp
            .local_addr()
            .map_err(|error| Error::with_source(ErrorKind::Io, "the socket has no address", error))
    }
}

impl Accepted {
    /// Serves the connection on a task of its own; forgets those that have ended.
    pub(crate) fn spawn_on(self, connections: &mut JoinSet<()>) {
        while connections.try_join_next().is_some() {}
        let leave = self.shared.lifecycle.leave();
        connections.spawn(async move {
            let peer = self.peer;
            if let Err(error) = self.serve(leave).await {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }

    async fn serve(self, leave: impl Future<Output = ()>) -> std::io::Result<()> {
        let Self {
            stream,
            peer,
            tls,
            place,
            shared,
        } = self;
        let mut peer = Peer {
            address: subscriber(peer.ip()),
            certificate: None,
        };
        // Answers are small and waited for.
        stream.set_nodelay(true)?;
        let patience = tokio::time::sleep(shared.handshake_timeout);
        let result = match tls {
            None => serve(stream, peer, patience, leave, &shared).await,
            Some(tls) => {
                let mut patience = pin!(patience);
                let stream = tokio::select! {
                    stream = tls.acceptor(shared.http1).accept(stream) => {
                        stream.inspect_err(|_| shared.metrics.refused(Refusal::Tls))?
                    }
                    () = &mut patience => return Err(timed_out(&shared.metrics)),
                };
                peer.certificate = certificate(&stream);
                serve(stream, peer, patience, leave, &shared).await
            }
        };
        drop(place);
        result
    }
}

/// Reads the preface until `patience` ends, then serves HTTP/2 until the peer or `leave` ends it.
async fn serve<S>(
    stream: S,
    peer: Peer,
    patience: impl Future<Output = ()>,
    leave: impl Future<Output = ()>,
    shared: &Shared,
) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut patience = pin!(patience);
    let other = tokio::select! {
        read = read_preface(&mut reader) => read?,
        () = &mut patience => return Err(timed_out(&shared.metrics)),
    };
    if other.is_some() && !shared.http1 {
        shared.metrics.refused(Refusal::NotHttp2);
        // One that stays although it was told off is refused once.
        tokio::select! {
            told = tell_off(&mut reader, &mut writer) => told?,
            () = patience => {}
        }
        return Err(std::io::Error::other("the peer does not speak HTTP/2"));
    }
    let _counted = shared.metrics.connection();
    if let Some(begun) = other {
        let reader = std::io::Cursor::new(begun).chain(reader);
        let connection = http1::serve(reader, writer, peer, shared.router.clone(), leave);
        let connection = shared.requests.track_future(connection);
        return stall::carry(connection, shared.patience)
            .await
            .unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into()));
    }

    let stream = tokio::io::join(PREFACE.chain(reader), writer);
    let router = TowerToHyperService::new(shared.router.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    // For each connection: a model that came later may be larger.
    let http = http(shared.tracked.clone(), stream_window(&shared.models));
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = leave => {
            shared.metrics.goaway(h2::Reason::NO_ERROR);
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(|error| {
        if let Some(reason) = our_goaway(&error) {
            shared.metrics.goaway(reason);
        }
        std::io::Error::other(error)
    })
}

/// Why the server itself ended a connection, if it did.
fn our_goaway(error: &hyper::Error) -> Option<h2::Reason> {
    let cause = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
    cause
        .reason()
        .filter(|_| cause.is_go_away() && cause.is_library())
}

/// SHA-256 of the certificate that the client has shown.
fn certificate(stream: &TlsStream<TcpStream>) -> Option<[u8; HASH_BYTES]> {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates()?.first()?;
    Some(Sha256::digest(leaf).into())
}

/// Reads HTTP/2's first bytes; stops at the first one that is another's, and gives what was read.
async fn tell_off(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    writer.write_all(HTTP2_ONLY).await?;
    writer.shutdown().await?;
    // Closing on unread bytes would reset the connection, and the words with it.
    let mut rest = reader.take(REFUSED_BYTES);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn read_preface(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < buffer.len() {
        let read = reader.read(&mut buffer[filled..]).await?;
        filled += read;
        if read == 0 || !PREFACE.starts_with(&buffer[..filled]) {
            return Ok(Some(buffer[..filled].to_vec()));
        }
    }
    Ok(None)
}

fn http(requests: Tracked, stream_window: u32) -> http2::Builder<Tracked> {
    let mut http = http2::Builder::new(requests);
    // Fixed windows: hyper's adaptive one starts at 64 KiB and makes the first uploads of every
    // connection wait.
    http.timer(TokioTimer::new())
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(stream_window * STREAMS_PER_WINDOW)
        .max_send_buf_size(MAX_SENT_AHEAD)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}

/// The largest activation, rounded up to a power of two, within the bounds.
fn stream_window(models: &Registry) -> u32 {
    let largest = models
        .all()
        .iter()
        .map(|served| served.limits.max_activation_bytes)
        .max()
        .unwrap_or(0);
    u32::try_from(largest)
        .ok()
        .and_then(u32::checked_next_power_of_two)
        .unwrap_or(MAX_STREAM_WINDOW)
        .clamp(MIN_STREAM_WINDOW, MAX_STREAM_WINDOW)
}

/// Runs each request as a task that can be waited for until its answer has gone out, or its client
/// has shown that it does not want it.
#[derive(Clone)]
struct Tracked {
    requests: TaskTracker,
    patience: Duration,
}

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.requests.spawn(stall::carry(future, self.patience));
    }
}

/// Whether an accept failed because its peer had gone already: nothing of ours is short then.
fn is_the_peers(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Io;
    matches!(
        error.kind(),
        Io::ConnectionAborted | Io::ConnectionReset | Io::ConnectionRefused
    )
}

fn timed_out(metrics: &Metrics) -> std::io::Error {
    metrics.refused(Refusal::Handshake);
    std::io::ErrorKind::TimedOut.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_whole_preface_is_http2() {
        assert_eq!(read_preface(&mut &PREFACE[..]).await.unwrap(), None);
        for other in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n",
            b"",
            b"\x16\x03\x01",
        ] {
            assert_eq!(
                read_preface(&mut &*other).await.unwrap().as_deref(),
                Some(other)
            );
        }
    }

    #[test]
    fn the_refusal_is_well_formed_http1() {
        let text = std::str::from_utf8(HTTP2_ONLY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
    }
}
