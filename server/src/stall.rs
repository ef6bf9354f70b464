//! A limit on clients that take nothing of their answer.
//!
//! With HTTP/1.1 a connection carries one request after another: the answer of the last one has been
//! taken when the next one comes.
//!
//! Once an answer is there, HTTP/2 lets its client keep it waiting for as long as it likes: it
//! need only grant no window, and go on answering pings. The future that carries a request would
//! stay for as long, and a drain would wait for it.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

/// Most bytes that a client is given at once. HTTP/2's server takes a piece when there is a byte of window for it, and what
/// it has taken is neither watched nor waited for any more.
const PIECE_BYTES: usize = 16 << 10;

tokio::task_local! {
    static WAITING: Waiting;
}

/// Since when the server waits for a request's client to take more; none while the client waits
/// for the server.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<Mutex<Option<Instant>>>);

impl Waiting {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what carries a request to the end of its answer; gives it up, and with it resets the
/// stream, once its client has taken nothing of the answer for `patience`.
///
/// None then. Counts for answers that went through [`watch`], in the order of HTTP/2's server: it asks a body
/// for more when it has handed on what it had, and hands that on when the client has room for some of it.
pub(crate) async fn carry<F: Future>(request: F, patience: Duration) -> Option<F::Output> {
    let waiting = Waiting::default();
    let mut request = pin!(WAITING.scope(waiting.clone(), request));
    let mut timer = pin!(tokio::time::sleep(patience));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = request.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let Some(since) = waiting.since() else {
            return Poll::Pending;
        };
        let limit = since + patience;
        if timer.deadline() != limit {
            timer.as_mut().reset(limit);
        }
        timer.as_mut().poll(cx).map(|()| {
            tracing::debug!("a client took nothing of its answer: gave it up");
            None
        })
    })
    .await
}

/// Puts an answer under the limit of the [`carry`] that it is made in.
pub(crate) async fn watch(answer: Response) -> Response {
    let Ok(waiting) = WAITING.try_with(Waiting::clone) else {
        return answer;
    };
    waiting.set(Some(Instant::now()));
    answer.map(|body| {
        Body::new(Watched {
            body,
            rest: Bytes::new(),
            waiting,
        })
    })
}

/// Takes note of a request: from here on its client waits.
pub(crate) async fn begin(request: Request) -> Request {
    if let Ok(waiting) = WAITING.try_with(Waiting::clone) {
        waiting.set(None);
    }
    request
}

/// A body that notes when it is asked for more, and when it has given some, which is a piece at a time.
struct Watched {
    body: Body,
    /// Of what the body gave last.
    rest: Bytes,
    waiting: Waiting,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = Pin::new(&mut self.body).poll_frame(cx);
            let given = frame.is_ready().then(Instant::now);
            self.waiting.set(given);
            match frame {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        } else {
            self.waiting.set(Some(Instant::now()));
        }
        let piece_bytes = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(piece_bytes);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, of_body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower().saturating_add(rest));
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn pause(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// How long a client that takes the pieces after these seconds keeps its request, and whether
    /// it came to the end.
    async fn taking(answer: Response, waits: &[u64]) -> (u64, bool) {
        let started = Instant::now();
        let mut ended = false;
        let request = async {
            let mut body = watch(answer).await.into_body();
            for &wait in waits {
                pause(wait).await;
                body.frame().await;
            }
            ended = true;
        };
        carry(request, PATIENCE).await;
        (started.elapsed().as_secs(), ended)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_never_taken_is_given_up() {
        assert_eq!(taking("all".into_response(), &[3600]).await, (30, false));
        let pieces = || {
            let pieces = stream::iter(["a", "b", "c"]).map(Ok::<_, std::io::Error>);
            Body::from_stream(pieces).into_response()
        };
        assert_eq!(taking(pieces(), &[0, 29, 3600]).await, (59, false));
        assert_eq!(taking(pieces(), &[29, 29, 29]).await, (87, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_answer_is_given_in_pieces() {
        let large = vec![7; 2 * PIECE_BYTES + 1];
        assert_eq!(
            taking(large.clone().into_response(), &[29, 29, 29]).await,
            (87, true)
        );
        assert_eq!(
            taking(large.clone().into_response(), &[29, 3600]).await,
            (59, false)
        );
        let all = async {
            let mut body = watch(large.clone().into_response()).await.into_body();
            let mut left = large.len();
            let mut taken = Vec::new();
            while !body.is_end_stream() {
                assert_eq!(body.size_hint().exact(), Some(left as u64));
                let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert!(piece.len() <= PIECE_BYTES);
                left -= piece.len();
                taken.extend_from_slice(&piece);
            }
            taken
        };
        assert_eq!(carry(all, PATIENCE).await, Some(large));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_server_is_not_held_against_the_client() {
        let slow = stream::iter(["a", "b"]).then(async |piece| {
            pause(100).await;
            Ok::<_, std::io::Error>(piece)
        });
        let answer = Body::from_stream(slow).into_response();
        assert_eq!(taking(answer, &[20, 20]).await, (240, true));

        let started = Instant::now();
        carry(pause(100), PATIENCE).await;
        assert_eq!(
            started.elapsed().as_secs(),
            100,
            "before there is an answer"
        );
    }
}
