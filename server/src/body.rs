//! Reading a request's body: bounded in bytes, in silence and in all.

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
    /// From the first to the last byte.
    pub(crate) elapsed: Duration,
}

/// Reads the `length` bytes that the headers promised.
///
/// Fails with 408 if they do not come in time (`deadline` is the request's), and with 400 if there
/// are fewer or more.
pub(crate) async fn receive(
    mut body: Body,
    length: usize,
    patience: BodyPatience,
    deadline: Instant,
) -> Result<Received, Failure> {
    let last = deadline.min(Instant::now() + patience.total);
    let mut bytes = Vec::with_capacity(length.min(MOST_AHEAD));
    let mut first = None;
    loop {
        let limit = last.min(Instant::now() + patience.idle);
        let Some(frame) = timeout_at(limit, body.frame())
            .await
            .map_err(|_| too_slow(bytes.len(), length))?
        else {
            break;
        };
        let frame = frame.map_err(|error| {
            Failure::of(
                ErrorKind::InvalidArgument,
                format!("the body broke off after {} bytes: {error}", bytes.len()),
            )
        })?;
        if let Ok(data) = frame.into_data() {
            first.get_or_insert_with(Instant::now);
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
        elapsed: first.map_or(Duration::ZERO, |first| first.elapsed()),
    })
}

fn too_slow(got: usize, length: usize) -> Failure {
    Failure::new(
        StatusCode::REQUEST_TIMEOUT,
        ErrorKind::DeadlineExceeded,
        format!("the body came too slowly: {got} of {length} bytes in time"),
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
    use futures_util::stream;

    use super::*;

    const PATIENT: BodyPatience = BodyPatience {
        idle: Duration::from_mins(1),
        total: Duration::from_mins(1),
    };

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    fn pieces(pieces: &'static [&'static str]) -> Body {
        let pieces = pieces.iter().map(|piece| Ok::<_, std::io::Error>(*piece));
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn pieces_come_together() {
        let body = pieces(&["ab", "", "c"]);
        let received = receive(body, 3, PATIENT, soon()).await.unwrap();
        assert_eq!(received.bytes, b"abc");
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_promised() {
        for length in [2, 4] {
            let failure = receive(pieces(&["ab", "c"]), length, PATIENT, soon())
                .await
                .unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::InvalidArgument);
        }
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
            let failure = receive(silent(), 3, patience, deadline).await.unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::DeadlineExceeded);
        }
    }
}
