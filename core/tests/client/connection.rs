//! Connections: one is opened, shared, left behind where it is not to be trusted, and replaced.

use std::sync::Arc;

use crate::support::chaos::{Chaos, Way};
use crate::support::http::{LONG, SHORT, Script, TestServer, ask, logits, outputs, request, right};
use crate::support::{Device, LAST, assert_right, config, expected, manifest, split, stage};
use dyno_core::ErrorKind;
use dyno_core::client::{
    BodyKind, Client, ClientConfig, HttpOptions, HttpTransport, RanOn, Transport,
};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpListener;

fn through(chaos: &Chaos) -> HttpTransport {
    let url = format!("http://{}", chaos.address);
    HttpTransport::new(&url, manifest().outputs.clone(), HttpOptions::default()).unwrap()
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_broken_connection() {
    let server = TestServer::start(Script::Answer(|| {
        let breaks = std::io::Error::other("the server died");
        let frames = [Ok(Frame::data(logits()[..5].to_vec().into())), Err(breaks)];
        outputs(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
    }));
    let error = ask(&server.await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_up_is_unreachable() {
    let server = TestServer::start(Script::Hangup).await;
    let error = ask(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let transport = HttpTransport::new(&url, Vec::new(), HttpOptions::default()).unwrap();
    let error = transport
        .infer(request(BodyKind::Packed, LONG))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let error = transport.warm_up().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_unreachable() {
    let url = "http://no-such-host.invalid:8600";
    let transport = HttpTransport::new(url, Vec::new(), HttpOptions::default()).unwrap();
    let error = transport
        .infer(request(BodyKind::Packed, LONG))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn another_network_takes_another_connection() {
    let server = TestServer::start(Script::Answer(right)).await;
    let transport = server.transport();
    for connections in 1..=3 {
        for _ in 0..2 {
            let request = request(BodyKind::Packed, LONG);
            transport.infer(request).await.unwrap();
        }
        assert_eq!(server.connections(), connections);
        transport.network_changed();
    }
}

#[tokio::test]
async fn after_a_missed_deadline_the_next_request_opens_another_connection() {
    let server = TestServer::start(Script::AnswerThePatient(right)).await;
    let transport = server.transport();
    transport.warm_up().await.unwrap();
    let error = transport
        .infer(request(BodyKind::Packed, SHORT))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    for _ in 0..2 {
        transport
            .infer(request(BodyKind::Packed, LONG))
            .await
            .unwrap();
    }
    assert_eq!(server.connections(), 2, "one left behind, one kept");
}

#[tokio::test]
async fn a_connection_on_which_everything_is_lost_is_used_once() {
    let server = TestServer::start(Script::Answer(right)).await;
    let chaos = Chaos::start(server.address).await;
    let transport = through(&chaos);
    transport.warm_up().await.unwrap();
    chaos.set(Way::BlackHole);
    let error = transport
        .infer(request(BodyKind::Packed, SHORT))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    // What was lost on the old connection keeps it dead; a new one is not.
    chaos.set(Way::Clear);
    let answer = transport.infer(request(BodyKind::Packed, LONG)).await;
    assert_eq!(answer.unwrap().outputs, [expected()]);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_says_goodbye_is_met_again_on_another_connection() {
    let server = TestServer::start(Script::AnswerAndLeave(right)).await;
    let transport = server.transport();
    for _ in 0..3 {
        let answer = transport.infer(request(BodyKind::Packed, LONG)).await;
        assert_eq!(answer.unwrap().outputs, [expected()]);
    }
    assert!(server.connections() >= 2, "{}", server.connections());
    let inferences = server.seen.lock().unwrap().len();
    assert_eq!(inferences, 3, "each was sent once");
}

#[tokio::test]
async fn what_is_left_of_a_cancelled_upload_is_not_sent() {
    const BODY_BYTES: usize = 12 << 20;
    let server = TestServer::start(Script::Answer(right)).await;
    let chaos = Chaos::start(server.address).await;
    let transport = through(&chaos);
    transport.warm_up().await.unwrap();
    chaos.set(Way::Stalled);
    let mut upload = request(BodyKind::Packed, LONG);
    upload.body = vec![0; BODY_BYTES].into();
    let cancelled = tokio::time::timeout(SHORT * 3, transport.infer(upload)).await;
    assert!(cancelled.is_err(), "nothing moves");
    chaos.set(Way::Clear);
    let answer = transport.infer(request(BodyKind::Packed, LONG)).await;
    assert_eq!(answer.unwrap().outputs, [expected()]);
    assert_eq!(server.connections(), 1, "the same connection");
    // The kernels' buffers hold a few MiB; everything behind them was dropped.
    let sent = chaos.sent_up();
    println!("{sent} of {BODY_BYTES} bytes were sent");
    assert!(sent < BODY_BYTES * 3 / 4, "{sent}");
}

#[tokio::test]
async fn requests_at_once_share_the_connection() {
    let server = TestServer::start(Script::Answer(right)).await;
    let transport = server.transport();
    transport.warm_up().await.unwrap();
    let requests = (0..32).map(|_| transport.infer(request(BodyKind::Packed, LONG)));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.unwrap().outputs, [expected()]);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_client_finishes_from_the_cut_when_its_server_dies_during_the_answer() {
    let server = TestServer::start(Script::Hangup).await;
    let device = Arc::new(Device::default());
    let mut config = ClientConfig {
        plan: Some(split(2)),
        remote_deadline_max: LONG,
        ..config()
    };
    // A link so slow that no answer is late.
    config.link.rtt_ms = 20_000.0;
    let transport = Some(Arc::new(server.transport()) as Arc<dyn Transport>);
    let client = Client::from_parts(manifest(), None, device.clone(), transport, config).unwrap();
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_right(&inference);
    assert_eq!(inference.ran_on, RanOn::Device);
    assert_eq!(inference.fallback.unwrap().kind, ErrorKind::Unreachable);
    assert_eq!(*device.runs.lock().unwrap(), [(0, 2), (2, LAST)]);
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn warming_up_opens_the_one_connection_that_inferences_use() {
    let server = TestServer::start(Script::Answer(right)).await;
    let transport = server.transport();
    assert!(transport.warm_up().await.unwrap().is_some());
    transport
        .infer(request(BodyKind::Packed, LONG))
        .await
        .unwrap();
    assert_eq!(server.connections(), 1);
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen[0].path, "/v2/health/live");
}
