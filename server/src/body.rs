//! Reading a request's body: bounded in bytes, in silence and in all.

use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use dyno_core::ErrorKind;
use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::errors::Failure;

/// Most bytes set aside before any have come; a claim of more is believed as it comes true.
const MOST_AHEAD: usize = 1 << 20;

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyPatience {
    /// Between two pieces.
    pub(crate) idle: Duration,
    /// From the headers to the last byte.
    pub(crate) total: Duration,
}

/// A body, whole.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// From the headers to the last byte.
    pub(crate) elapsed: Duration,
}

/// Reads the `length` bytes that the headers, which came at `arrived`, promised.
///
/// The headers start the clock, not the body's first byte: they leave a client just before the
/// body, while a body of up to one HTTP/2 frame (16 KiB) is only seen once it is there as a whole.
///
/// Fails with 408 if they do not come in time (`deadline` is the request's), with 400 if there
/// are fewer or more, and with [`ErrorKind::Cancelled`] if the client goes away.
pub(crate) async fn receive(
    mut body: Body,
    length: usize,
    patience: BodyPatience,
    arrived: Instant,
    deadline: Instant,
) -> Result<Received, Failure> {
    let last = deadline.min(arrived + patience.total);
    let mut bytes = Vec::with_capacity(length.min(MOST_AHEAD));
    loop {
        let limit = last.min(Instant::now() + patience.idle);
        let Some(frame) = timeout_at(limit, body.frame())
            .await
            .map_err(|_| too_slow(bytes.len(), length))?
        else {
            break;
        };
        let frame = frame.map_err(|error| broke_off(&error, bytes.len()))?;
        if let Ok(data) = frame.into_data() {
            if data.len() > length.saturating_sub(bytes.len()) {
                return Err(not_as_promised("more", length));
            }
            bytes.extend_from_slice(&data);
        }
    }
    if bytes.len() < length {
        return Err(not_as_promised("fewer", length));
    }
    Ok(Received {
        bytes,
        elapsed: arrived.elapsed(),
    })
}

/// A client that resets its stream, or whose connection ends, has gone. What is left is a body that
/// breaks HTTP/2's own rules, whose stream this side resets.
fn broke_off(error: &axum::Error, got: usize) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut breaks_rules = false;
    while let Some(error) = cause {
        let protocol = error.downcast_ref::<h2::Error>();
        breaks_rules |= protocol.is_some_and(h2::Error::is_library);
        cause = error.source();
    }
    if breaks_rules {
        let text = format!("the body broke off after {got} bytes: {error}");
        return Failure::of(ErrorKind::InvalidArgument, text);
    }
    // Nobody is there to be answered: the status is for the log's lines only, which leave it out.
    Failure::new(
        StatusCode::REQUEST_TIMEOUT,
        ErrorKind::Cancelled,
        format!("the client went away after {got} bytes of its body"),
    )
}

fn too_slow(got: usize, length: usize) -> Failure {
    let text = if got < length {
        format!("the body came too slowly: {got} of {length} bytes in time")
    } else {
        format!("the body's {length} bytes came, but its stream was not ended in time")
    };
    Failure::new(
        StatusCode::REQUEST_TIMEOUT,
        ErrorKind::DeadlineExceeded,
        text,
    )
}

fn not_as_promised(how_many: &str, length: usize) -> Failure {
    Failure::of(
        ErrorKind::InvalidArgument,
        format!("the body has {how_many} bytes than its content-length of {length}"),
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt as _, stream};

    use super::*;

    const PATIENT: BodyPatience = BodyPatience {
        idle: Duration::from_mins(1),
        total: Duration::from_mins(1),
    };

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    async fn read(body: Body, length: usize) -> Result<Received, Failure> {
        receive(body, length, PATIENT, Instant::now(), soon()).await
    }

    fn pieces(pieces: &'static [&'static str]) -> Body {
        let pieces = pieces.iter().map(|piece| Ok::<_, std::io::Error>(*piece));
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn pieces_come_together() {
        let body = pieces(&["ab", "", "c"]);
        let received = read(body, 3).await.unwrap();
        assert_eq!(received.bytes, b"abc");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_runs_from_the_headers_to_the_last_byte() {
        let waits = [("ab", 30), ("c", 400)];
        let body = Body::from_stream(stream::iter(waits).then(async |(piece, wait_ms)| {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            Ok::<_, std::io::Error>(piece)
        }));
        let received = read(body, 3).await.unwrap();
        assert_eq!(received.elapsed, Duration::from_millis(430));

        let at_once = pieces(&["abc"]);
        tokio::time::advance(Duration::from_millis(7)).await;
        let arrived = Instant::now();
        tokio::time::advance(Duration::from_millis(5)).await;
        let received = receive(at_once, 3, PATIENT, arrived, soon()).await;
        assert_eq!(received.unwrap().elapsed, Duration::from_millis(5));
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_promised() {
        for length in [2, 4] {
            let failure = read(pieces(&["ab", "c"]), length).await.unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_there_but_not_ended_is_said_to_be() {
        let all = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"abc"))]);
        let failure = read(Body::from_stream(all.chain(stream::pending())), 3)
            .await
            .unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::DeadlineExceeded);
        assert!(failure.text.contains("not ended"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let silent = || Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        let short = Duration::from_millis(1);
        let cases = [
            (PATIENT, Instant::now()),
            (
                BodyPatience {
                    idle: short,
                    ..PATIENT
                },
                soon(),
            ),
            (
                BodyPatience {
                    total: short,
                    ..PATIENT
                },
                soon(),
            ),
        ];
        for (patience, deadline) in cases {
            let failure = receive(silent(), 3, patience, Instant::now(), deadline)
                .await
                .unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::DeadlineExceeded);
        }
    }
}
