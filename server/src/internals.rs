//! What fuzz targets need of the inside: requests answered without a connection around them, and the
//! parser of the Open Inference Protocol. No part of the stable API (feature `internals`).

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::Server;
pub use crate::oip::{InferRequest, Output};

/// The server's answer to a request whose body comes in these pieces.
///
/// Everything runs that a request over a connection runs, but for what the connection itself checks:
/// frames, the header list's size, and a body as long as its `content-length`. An answer that breaks off
/// is returned as far as it came.
pub async fn answer(server: &Server, request: Request<Vec<Bytes>>) -> Response<Bytes> {
    let request = request.map(|pieces| {
        let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
        Body::from_stream(stream::iter(pieces))
    });
    let answered = TowerToHyperService::new(server.router()).call(request);
    let (parts, mut body) = answered
        .await
        .unwrap_or_else(|never| match never {})
        .into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Response::from_parts(parts, bytes.into())
}
