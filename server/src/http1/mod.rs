//! HTTP/1.1 for the listener of the Open Inference Protocol, whose clients speak nothing newer.

mod gate;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use self::gate::{Gated, MAX_HEAD};
use crate::identity::Peer;

/// Time for a request's head, and between two requests of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What is read of a request that was answered before it had come, and how long ending a connection may take each way.
const LINGER_BYTES: u64 = 16 << 20;
const LINGER: Duration = Duration::from_secs(5);

/// Serves HTTP/1.1 until the peer or `leave` ends it; the request under way is answered first.
pub(crate) async fn serve<R, W>(
    reader: R,
    writer: W,
    peer: Peer,
    router: Router,
    leave: impl Future<Output = ()>,
) -> io::Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let stream = tokio::io::join(Gated::new(reader), writer);
    let router = TowerToHyperService::new(router);
    let all_read = Arc::new(AtomicBool::new(true));
    let is_read = Arc::clone(&all_read);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let answer = router.call(watched(request, &is_read));
        let is_read = Arc::clone(&is_read);
        Box::pin(async move {
            let mut answer = answer.await?;
            // hyper may end the connection behind an answer that did not wait for the body: a client that is not
            // told would send its next request there.
            if !is_read.load(Ordering::Relaxed) {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
        })
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD);
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let mut leave = pin!(leave);
    let mut is_leaving = false;
    let ended = poll_fn(|cx| {
        if !is_leaving && leave.as_mut().poll(cx).is_ready() {
            is_leaving = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(cx)
    })
    .await;
    let (reader, mut writer) = connection.into_parts().io.into_inner().into_inner();
    // Over TLS that writes, and nobody need take it.
    let shut = tokio::time::timeout(LINGER, writer.shutdown())
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    if !all_read.load(Ordering::Relaxed) || reader.has_stopped() {
        linger(reader.into_inner()).await;
    }
    ended.map_err(io::Error::other)?;
    shut
}

/// Closing on unread bytes would reset the connection, and the answer with it: clients that send all of a request
/// before they read are read from for a while.
async fn linger(reader: impl AsyncRead + Unpin) {
    let mut rest = reader.take(LINGER_BYTES);
    let mut nowhere = tokio::io::sink();
    let read = tokio::io::copy(&mut rest, &mut nowhere);
    if let Err(_) | Ok(Err(_)) = tokio::time::timeout(LINGER, read).await {
        tracing::debug!("gave up reading a request that has been answered");
    }
}

/// A request's body; notes whether it has been read to its end.
struct Watched {
    body: Incoming,
    is_read: Arc<AtomicBool>,
}

/// A connection has one request at a time, and so one `is_read`.
fn watched(request: Request<Incoming>, is_read: &Arc<AtomicBool>) -> Request<Watched> {
    is_read.store(request.body().is_end_stream(), Ordering::Relaxed);
    request.map(|body| Watched {
        body,
        is_read: Arc::clone(is_read),
    })
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_read.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
