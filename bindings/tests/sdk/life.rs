//! The life of a client behind the facade: cancelled, closed, counted, streamed.

use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use crate::world::World;
use dyno_sdk::{
    ClientConfig, DynoStats, ErrorKind, ExecutionMode, Frame, Keep, NativeClient, NetworkKind,
    Plan, ServerConfig, StatsListener, StreamAnswer, StreamOptions,
};
use futures_executor::block_on;

static WORLD: LazyLock<World> = LazyLock::new(World::new);
/// Longest that a test waits for what must happen; only a failing test gets there.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(mode: ExecutionMode, server: Option<&str>) -> ClientConfig {
    ClientConfig {
        bundle: WORLD.bundle().to_string_lossy().into_owned(),
        server: server.map(|url| ServerConfig {
            url: url.to_owned(),
            model: None,
            token: None,
            root_certificate_pem: None,
        }),
        mode,
        objective: None,
        plan: None,
        top_k: 3,
        threads: 1,
        raw_outputs: false,
        remote_deadline_max_ms: 60_000,
        onnxruntime: None,
    }
}

fn on_device() -> Arc<NativeClient> {
    NativeClient::open(config(ExecutionMode::OnlyOnDevice, None)).unwrap()
}

/// Its calls wait for a server that never answers.
fn waiting() -> Arc<NativeClient> {
    NativeClient::open(config(ExecutionMode::OnlyCloud, Some(&WORLD.silent))).unwrap()
}

fn frame(client: &NativeClient) -> Arc<Frame> {
    let png = std::fs::read(WORLD.inputs().join("05_star.png")).unwrap();
    client.stage_encoded(&png).unwrap()
}

/// Runs a call on a thread of its own; its kind of failure comes through the channel.
fn begin(client: &Arc<NativeClient>, frame: &Arc<Frame>) -> mpsc::Receiver<Option<ErrorKind>> {
    let (sender, ended) = mpsc::channel();
    let (client, frame) = (client.clone(), frame.clone());
    std::thread::spawn(move || {
        let outcome = block_on(client.infer(frame));
        let _ = sender.send(outcome.err().map(|error| error.kind()));
    });
    ended
}

#[test]
fn a_cancelled_frame_ends_its_inferences_now_and_later() {
    let client = waiting();
    let frame = frame(&client);
    let ended = begin(&client, &frame);
    assert!(ended.recv_timeout(Duration::from_millis(200)).is_err());
    frame.cancel().unwrap();
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(Some(ErrorKind::Cancelled)));
    let later = begin(&client, &frame);
    assert_eq!(later.recv_timeout(PATIENCE), Ok(Some(ErrorKind::Cancelled)));
    let again = begin(&client, &frame.again().unwrap());
    assert!(again.recv_timeout(Duration::from_millis(200)).is_err());
    assert_eq!(client.stats().unwrap().failures, 2);
}

#[test]
fn a_cancelled_stream_ends_while_it_is_waited_for() {
    let client = waiting();
    let options = StreamOptions {
        keep: Keep::All,
        max_in_flight: 1,
    };
    let stream = client.open_stream(options).unwrap();
    block_on(stream.push(frame(&client))).unwrap();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn({
        let stream = stream.clone();
        move || sender.send(block_on(stream.next()).err().map(|error| error.kind()))
    });
    assert!(ended.recv_timeout(Duration::from_millis(200)).is_err());
    stream.cancel().unwrap();
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(Some(ErrorKind::Cancelled)));
    let later = block_on(stream.push(frame(&client))).unwrap_err();
    assert_eq!(later.kind(), ErrorKind::Cancelled);
}

#[test]
fn a_call_that_is_dropped_counts_as_failed() {
    let client = waiting();
    let mut call = Box::pin(client.infer(frame(&client)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_pending());
    drop(call);
    let end = std::time::Instant::now() + PATIENCE;
    while client.stats().unwrap().failures == 0 && std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.stats().unwrap().failures, 1);
}

#[test]
fn closing_ends_what_is_under_way_and_what_comes_later() {
    let client = waiting();
    let frame = frame(&client);
    let ended = begin(&client, &frame);
    assert!(ended.recv_timeout(Duration::from_millis(200)).is_err());
    client.shutdown().unwrap();
    client.shutdown().unwrap();
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(Some(ErrorKind::Cancelled)));
    let later = block_on(client.infer(frame)).unwrap_err();
    assert_eq!(later.kind(), ErrorKind::Cancelled);
    assert!(later.to_string().contains("closed"), "{later}");
    assert_eq!(client.explain().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(client.stats().unwrap_err().kind(), ErrorKind::Cancelled);
    let changed = client.on_network_changed(NetworkKind::Wifi, false);
    assert_eq!(changed.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn a_frame_can_be_inferred_again_and_by_many_at_once() {
    let client = on_device();
    let frame = frame(&client);
    let calls: Vec<_> = (0..20).map(|_| begin(&client, &frame)).collect();
    for ended in calls {
        assert_eq!(ended.recv_timeout(PATIENCE), Ok(None));
    }
    assert_eq!(client.stats().unwrap().inferences, 20);
}

struct Listener(mpsc::Sender<DynoStats>);

impl StatsListener for Listener {
    fn on_stats(&self, stats: DynoStats) {
        let _ = self.0.send(stats);
    }
}

#[test]
fn a_listener_hears_the_last_state_of_a_burst() {
    let client = on_device();
    let (sender, heard) = mpsc::channel();
    client
        .set_stats_listener(Some(Arc::new(Listener(sender))))
        .unwrap();
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap().inferences, 0);
    let frame = frame(&client);
    for _ in 0..5 {
        block_on(client.infer(frame.clone())).unwrap();
    }
    let last = std::iter::from_fn(|| heard.recv_timeout(PATIENCE).ok())
        .find(|stats| stats.inferences == 5)
        .unwrap();
    assert_eq!((last.on_device, last.failures, last.bytes_up), (5, 0, 0));
    assert_eq!(last.plan, Plan::Device);
    assert!(last.latency_p50_ms.unwrap() <= last.latency_p95_ms.unwrap());
    client.set_stats_listener(None).unwrap();
    block_on(client.infer(frame)).unwrap();
    // The sender went with the listener: nothing more can be heard.
    assert_eq!(
        heard.recv_timeout(PATIENCE),
        Err(mpsc::RecvTimeoutError::Disconnected)
    );
}

#[test]
fn a_stream_answers_every_frame_in_order_and_ends() {
    let client = NativeClient::open(ClientConfig {
        plan: Some(Plan::Photo {
            codec: "png".into(),
        }),
        ..config(ExecutionMode::Auto, Some(&WORLD.up))
    })
    .unwrap();
    let frame = frame(&client);
    let stream = client
        .open_stream(StreamOptions {
            keep: Keep::All,
            max_in_flight: 4,
        })
        .unwrap();
    let pushing = std::thread::spawn({
        let stream = stream.clone();
        move || {
            for _ in 0..12 {
                block_on(stream.push(frame.clone())).unwrap();
            }
            stream.finish().unwrap();
            assert!(block_on(stream.push(frame)).is_err());
        }
    });
    let mut seqs = Vec::new();
    while let Some(next) = block_on(stream.clone().next()).unwrap() {
        let StreamAnswer::Answered { inference } = next.answer else {
            panic!("{next:?}");
        };
        assert_eq!(inference.top[0].label, "star");
        seqs.push(next.seq);
    }
    pushing.join().unwrap();
    assert_eq!(seqs, (0..12).collect::<Vec<u64>>());
    assert_eq!(client.stats().unwrap().inferences, 12);
}

#[test]
fn warming_up_reaches_the_server_or_says_why_not() {
    let client = NativeClient::open(config(ExecutionMode::OnlyCloud, Some(&WORLD.up))).unwrap();
    block_on(client.warm_up()).unwrap();
    let client = NativeClient::open(config(ExecutionMode::OnlyCloud, Some(&WORLD.dead))).unwrap();
    let error = block_on(client.warm_up()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    block_on(on_device().warm_up()).unwrap();
}

#[test]
fn outputs_come_when_they_are_asked_for() {
    let client = NativeClient::open(ClientConfig {
        raw_outputs: true,
        ..config(ExecutionMode::OnlyOnDevice, None)
    })
    .unwrap();
    let model = client.model().unwrap();
    let inference = block_on(client.infer(frame(&client))).unwrap();
    let [output] = inference.outputs.as_slice() else {
        panic!("{:?}", inference.outputs);
    };
    assert_eq!(output.shape, [1, 12]);
    let logits: Vec<f32> = output
        .data
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    let best = (0..12)
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap();
    assert_eq!(model.labels[best], "star");
}

#[test]
fn what_cannot_be_opened_is_said() {
    let fails = |config| {
        let Err(error) = NativeClient::open(config) else {
            panic!("it opened");
        };
        (error.kind(), error.to_string())
    };
    let device = || config(ExecutionMode::OnlyOnDevice, None);
    let (kind, reason) = fails(ClientConfig {
        threads: 0,
        ..device()
    });
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(reason.contains("1 to 16"), "{reason}");
    let (kind, _) = fails(ClientConfig {
        top_k: 0,
        ..device()
    });
    assert_eq!(kind, ErrorKind::InvalidArgument);
    let (kind, reason) = fails(ClientConfig {
        bundle: "nowhere".into(),
        ..device()
    });
    assert_eq!(kind, ErrorKind::InvalidBundle);
    assert!(reason.contains("nowhere"), "{reason}");
    let (kind, reason) = fails(config(ExecutionMode::Auto, Some("ftp://host")));
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(reason.contains("ftp://host"), "{reason}");
    let mut secret = config(ExecutionMode::Auto, Some(&WORLD.up));
    if let Some(server) = &mut secret.server {
        server.token = Some("two words".into());
    }
    assert!(!format!("{secret:?}").contains("two words"));
    let (kind, reason) = fails(secret);
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(!reason.contains("two words"), "{reason}");
}
