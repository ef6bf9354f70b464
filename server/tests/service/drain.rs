//! From SIGTERM's future to the end of `run`: nobody under way is dropped, nobody idle is waited for.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{HASH, OUTPUTS, PACKED, PATIENCE, client, json, manifest, spec, start, until};
use bytes::Bytes;
use dyno_core::bundle::Manifest;
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::{ElementType, Result, Tensor, TensorData};
use dyno_server::{BodyKind, Config, Model, TailEngine};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[tokio::test]
async fn requests_under_way_are_answered_and_new_connections_are_not_taken() {
    let mut server = start(|_| {}).await;
    let waiting = tokio::spawn(server.infer("wait").send());
    server.heard("entered").await;
    server.shut_down();
    until(async || TcpStream::connect(server.addr).await.is_err()).await;
    assert!(!server.end.is_finished(), "it waits for the request");
    server.release();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    let ended = tokio::time::timeout(PATIENCE, server.end).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_the_server() {
    let mut server = start(|config| config.drain_timeout = Duration::from_hours(1)).await;
    // Speaks HTTP/2, then never again: it will not even answer the ping that follows a GOAWAY.
    let mut silent = TcpStream::connect(server.addr).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    tokio::io::AsyncWriteExt::write_all(&mut silent, preface)
        .await
        .unwrap();
    server.assert_well().await;
    server.shut_down();
    let ended = tokio::time::timeout(PATIENCE, server.end).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn connections_are_told_to_go() {
    let mut server = start(|_| {}).await;
    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    let told = tokio::spawn(connection);
    let send = send.ready().await.unwrap();
    server.shut_down();
    // An orderly end, not a reset.
    tokio::time::timeout(PATIENCE, told)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(send.ready().await.is_err(), "no new request on it");
}

#[tokio::test]
async fn during_the_delay_new_connections_hear_that_it_is_not_ready() {
    let mut server = start(|config| config.drain_delay = Duration::from_hours(1)).await;
    let waiting = tokio::spawn(server.infer("wait").send());
    server.heard("entered").await;
    server.shut_down();
    let ready = server.url("/v2/health/ready");
    until(async || client().get(&ready).send().await.unwrap().status() == 503).await;
    let body = json(client().get(&ready).send().await.unwrap()).await;
    assert_eq!(body, serde_json::json!({"ready": false}));
    let live = client().get(server.url("/v2/health/live")).send();
    assert_eq!(live.await.unwrap().status(), 200);
    server.release();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn during_the_delay_old_connections_are_told_to_go_and_new_ones_are_served() {
    let mut server = start(|config| config.drain_delay = Duration::from_hours(1)).await;
    let (addr, base) = (server.addr, server.url(""));
    let connect = async || {
        let tcp = TcpStream::connect(addr).await.unwrap();
        let (send, connection) = h2::client::handshake(tcp).await.unwrap();
        (send.ready().await.unwrap(), tokio::spawn(connection))
    };
    let infer = |length: usize| {
        http::Request::post(format!("{base}/v1/models/fake/infer"))
            .header("content-type", PACKED)
            .header("dyno-bundle", HASH)
            .header("content-length", length)
            .body(())
            .unwrap()
    };
    let (mut early, told) = connect().await;
    let (answer, mut upload) = early.send_request(infer(4), false).unwrap();
    upload.send_data(Bytes::from_static(b"ec"), false).unwrap();
    // The server has it once it counts two.
    let load = async || {
        let probe = client()
            .post(format!("{base}/v1/probe"))
            .body("x")
            .send()
            .await
            .unwrap();
        probe.headers()["dyno-load"].to_str().unwrap().to_owned()
    };
    until(async || load().await.starts_with("in-flight=2,")).await;

    server.shut_down();
    until(async || early.clone().ready().await.is_err()).await;
    let (mut late, _) = connect().await;
    let (reply, mut whole) = late.send_request(infer(4), false).unwrap();
    whole.send_data(Bytes::from_static(b"echo"), true).unwrap();
    assert_eq!(reply.await.unwrap().status(), 200);
    upload.send_data(Bytes::from_static(b"ho"), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    drop(upload);
    let ended = tokio::time::timeout(PATIENCE, told).await;
    ended.unwrap().unwrap().unwrap();
    assert!(
        late.ready().await.is_ok(),
        "it may stay until the delay ends"
    );
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_dropped_and_counted() {
    let mut server = start(|config| config.drain_timeout = Duration::from_millis(20)).await;
    let waiting = tokio::spawn(server.infer("wait").send());
    server.heard("entered").await;
    server.shut_down();
    let error = server.end.await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("1 requests"), "{error}");
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(server.events.recv().await, Some("cancelled"));
}

#[tokio::test]
async fn a_client_that_takes_no_answer_does_not_keep_the_server() {
    for path in ["/v1/models/fake", "/v1/models/fake/bundle"] {
        let mut server = start(|config| {
            config.answer_idle_timeout = Duration::from_millis(200);
            config.drain_timeout = Duration::from_hours(1);
        })
        .await;
        let tcp = TcpStream::connect(server.addr).await.unwrap();
        // Room for the headers of an answer and for nothing of its body.
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(0)
            .handshake::<_, bytes::Bytes>(tcp)
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut send = send.ready().await.unwrap();
        let get = http::Request::get(server.url(path)).body(()).unwrap();
        let (answer, _) = send.send_request(get, true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        server.shut_down();
        let ended = tokio::time::timeout(PATIENCE, server.end).await;
        ended.unwrap().unwrap().unwrap();
        let broken = body.data().await.unwrap().unwrap_err();
        assert_eq!(broken.reason(), Some(h2::Reason::CANCEL), "{path}");
    }
}

/// A model whose answer is larger than what connections keep for their clients.
struct Large(Manifest);

/// Elements of that answer.
const ELEMENTS: usize = 1 << 18;

impl TailEngine for Large {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn entry(&self, _body: &[u8], _kind: BodyKind) -> Result<usize> {
        Ok(1)
    }

    fn decode(&self, _body: &[u8], _kind: BodyKind, inputs: &mut Stack) -> Result<()> {
        inputs.push_with(|_| Ok(()))
    }

    fn run(&self, _inputs: &Stack, to: usize, _cancel: &Cancel) -> Result<TailRun> {
        let map = Tensor::new(vec![1, ELEMENTS], TensorData::F32(vec![0.5; ELEMENTS]))?;
        Ok(TailRun {
            outputs: vec![Activation::new(to, vec![map])],
            elapsed: Duration::ZERO,
        })
    }

    fn warm_up(&self, _cancel: &Cancel) -> Result<()> {
        Ok(())
    }
}

/// The answer's body as it comes to a client with so many bytes of window, what stops the server, and its end.
async fn large_answer(
    config: Config,
    window: u32,
) -> (h2::RecvStream, oneshot::Sender<()>, JoinHandle<Result<()>>) {
    let map = spec("map", ElementType::F32, &[1, ELEMENTS]);
    let engine = Large(manifest(vec![map], &[]));
    let model = Model::new("large", Arc::new(engine), None).unwrap();
    let (addr, stop, end) = crate::common::run(config, vec![model]).await;
    let tcp = TcpStream::connect(addr).await.unwrap();
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .handshake::<_, Bytes>(tcp)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let request = http::Request::post(format!("http://{addr}/v1/models/large/infer"))
        .header("content-type", PACKED)
        .header("content-length", 4)
        .header("dyno-bundle", HASH)
        .header("accept", OUTPUTS)
        .body(())
        .unwrap();
    let (answer, mut body) = send.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"body"), true).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    (answer.into_body(), stop, end)
}

#[tokio::test]
async fn a_large_answer_is_waited_for_while_its_client_takes_it() {
    const WINDOW: u32 = 32 << 10;
    let (mut body, stop, end) = large_answer(crate::common::config(), WINDOW).await;
    let mut taken = body.data().await.unwrap().unwrap().len();
    stop.send(()).unwrap();
    // Longer than connections without a request are kept for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!end.is_finished());
    let mut held = taken;
    loop {
        body.flow_control().release_capacity(held).unwrap();
        let Some(piece) = body.data().await else {
            break;
        };
        held = piece.unwrap().len();
        taken += held;
    }
    assert_eq!(taken, 4 * ELEMENTS);
    let ended = tokio::time::timeout(PATIENCE, end).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_takes_a_byte_of_its_answer_is_given_up_too() {
    let mut config = crate::common::config();
    config.answer_idle_timeout = Duration::from_millis(200);
    let (mut body, _stop, _end) = large_answer(config, 1).await;
    assert_eq!(body.data().await.unwrap().unwrap().len(), 1);
    let broken = body.data().await.unwrap().unwrap_err();
    assert_eq!(broken.reason(), Some(h2::Reason::CANCEL));
}

#[tokio::test]
async fn dropping_the_server_ends_its_connections() {
    let mut server = start(|_| {}).await;
    let waiting = tokio::spawn(server.infer("wait").send());
    server.heard("entered").await;
    server.end.abort();
    assert!(waiting.await.unwrap().is_err());
    server.heard("cancelled").await;
    assert!(TcpStream::connect(server.addr).await.is_err());
}
