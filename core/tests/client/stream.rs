//! Streams: what runs at once, what is dropped, in which order answers come, and what is bounded.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::http::{Script, TestServer, Trouble};
use crate::support::timed::{TimedDevice, TimedServer};
use crate::support::{
    Behaviour, Device, LAST, Server, assert_right, config, manifest, split, stage,
};
use dyno_core::bundle::Profile;
use dyno_core::client::{
    Client, ClientConfig, ExecutionMode, InferStream, Keep, MAX_IN_FLIGHT, RanOn, Staged,
    StreamOptions, StreamedInference, Transport,
};
use dyno_core::runtime::Executor;
use dyno_core::schedule::{LinkPrior, Metric, NetworkKind, Objective, PhotoCodec, Plan};
use dyno_core::{Error, ErrorKind};
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
/// Stages of a frame in the tests of time: its head, its upload, its tail on the server.
const HEAD: Duration = Duration::from_millis(30);
const UPLOAD: Duration = Duration::from_millis(20);
const TAIL: Duration = Duration::from_millis(40);

/// What is sent at a cut, and as a photo.
const BODY_BYTES: f64 = 800.0;
const PHOTO_BYTES: f64 = 203.0;

const ALL: StreamOptions = StreamOptions {
    keep: Keep::All,
    max_in_flight: 8,
};

/// A client whose estimates are right from the start: one node takes [`HEAD`] here.
fn client(executor: Arc<dyn Executor>, server: Arc<dyn Transport>, plan: Plan) -> Client {
    client_over(UPLOAD, executor, server, plan)
}

/// The same, where an upload takes so long.
fn client_over(
    upload: Duration,
    executor: Arc<dyn Executor>,
    server: Arc<dyn Transport>,
    plan: Plan,
) -> Client {
    let mut config = ClientConfig {
        plan: Some(plan),
        ..link_of(upload)
    };
    config.objective.limits.latency_ms = None;
    of_profile(executor, server, config)
}

/// What is assumed of a link on which an upload takes so long, and of the server.
fn link_of(upload: Duration) -> ClientConfig {
    ClientConfig {
        link: LinkPrior {
            rtt_ms: 1.0,
            rate_bps: BODY_BYTES * 8.0 / upload.as_secs_f64(),
        },
        // Three nodes of 30 ms in 40.
        server_speed: 2.25,
        ..config()
    }
}

fn of_profile(
    executor: Arc<dyn Executor>,
    server: Arc<dyn Transport>,
    config: ClientConfig,
) -> Client {
    let node_ms = HEAD.as_secs_f64() * 1e3;
    let profile = Profile {
        machine: "a test's".to_owned(),
        threads: 1,
        head_ms: (0..=LAST).map(|cut| cut as f64 * node_ms).collect(),
        measured: (0..=LAST).collect(),
    };
    Client::from_parts(manifest(), Some(&profile), executor, Some(server), config).unwrap()
}

fn timed(plan: Plan) -> (Arc<TimedDevice>, Arc<TimedServer>, Client) {
    let (device, server) = (TimedDevice::new(HEAD), TimedServer::new(UPLOAD, TAIL));
    let client = client(device.clone(), server.clone(), plan);
    (device, server, client)
}

/// So many frames that are there at once.
fn frames(client: &Client, count: usize) -> impl Stream<Item = Staged> + Send + use<> {
    stream::iter(vec![stage(client); count])
}

/// A frame every `period`, as a camera has it.
fn camera(
    client: &Client,
    count: usize,
    period: Duration,
) -> impl Stream<Item = Staged> + Send + use<> {
    let frame = stage(client);
    let begin = Instant::now();
    stream::iter(1..=u32::try_from(count).unwrap()).then(move |number| {
        let frame = frame.clone();
        async move {
            tokio::time::sleep_until(begin + period * number).await;
            frame
        }
    })
}

async fn all(stream: InferStream) -> Vec<StreamedInference> {
    stream.collect().await
}

fn seqs(items: &[StreamedInference]) -> Vec<u64> {
    items.iter().map(|item| item.seq).collect()
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn frames_come_as_fast_as_the_slowest_stage() {
    let (device, server, client) = timed(split(1));
    let began = Instant::now();
    let items = all(client.infer_stream(frames(&client, 20), ALL).unwrap()).await;
    let took = began.elapsed();
    assert_eq!(seqs(&items), (0..20).collect::<Vec<_>>());
    for item in &items {
        let inference = item.answer.as_ref().unwrap();
        assert_right(inference);
        assert_eq!(inference.ran_on, RanOn::Split, "{:?}", inference.fallback);
    }
    // The first frame's way to the server, and then a tail after the other.
    let least = HEAD + UPLOAD + TAIL * 20;
    assert!(took >= least && took < least + MS * 3, "{took:?} {least:?}");
    assert!(!device.overlapped.load(Ordering::SeqCst));
    assert!(server.most_under_way.load(Ordering::SeqCst) <= 3);
}

#[tokio::test(start_paused = true)]
async fn the_device_alone_runs_one_frame_after_the_other() {
    let (device, server, client) = timed(Plan::Device);
    let began = Instant::now();
    let items = all(client.infer_stream(frames(&client, 5), ALL).unwrap()).await;
    assert_eq!(seqs(&items), [0, 1, 2, 3, 4]);
    let (took, least) = (began.elapsed(), HEAD * 4 * 5);
    assert!(took >= least && took < least + MS * 10, "{took:?}");
    assert!(!device.overlapped.load(Ordering::SeqCst));
    assert_eq!(server.server.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_device_answers_frames_that_find_the_way_to_the_server_full() {
    // Photos take 100 ms to send and 80 on the server, and the whole model 120 here: the device has nothing
    // to do while they are under way.
    let (slow, whole) = (Duration::from_millis(100), Duration::from_millis(80));
    let run = async |objective: Objective, plan: Option<Plan>| {
        let (device, server) = (TimedDevice::new(HEAD), TimedServer::new(slow, whole));
        let mut config = ClientConfig {
            objective,
            plan,
            server_speed: 1.5,
            link: LinkPrior {
                rtt_ms: 1.0,
                rate_bps: PHOTO_BYTES * 8.0 / slow.as_secs_f64(),
            },
            ..config()
        };
        config.objective.limits.latency_ms = None;
        let client = of_profile(device.clone(), server.clone(), config);
        let began = Instant::now();
        let items = all(client.infer_stream(frames(&client, 40), ALL).unwrap()).await;
        assert_eq!(seqs(&items), (0..40).collect::<Vec<_>>());
        assert!(!device.overlapped.load(Ordering::SeqCst));
        let mut here = 0;
        for item in &items {
            let inference = item.answer.as_ref().unwrap();
            assert_right(inference);
            here += usize::from(inference.ran_on == RanOn::Device);
        }
        (began.elapsed(), here)
    };
    let (took, here) = run(Objective::minimal(Metric::Throughput), None).await;
    assert!((14..26).contains(&here), "{here}");
    assert!(took < slow * 40 * 2 / 3, "{took:?}");

    // Not where the plan is the app's.
    let photos = Some(Plan::Photo(PhotoCodec::Ppm));
    let (took, here) = run(Objective::minimal(Metric::Throughput), photos).await;
    assert_eq!(here, 0, "{took:?}");

    // Least server time is the device alone.
    let (took, here) = run(Objective::minimal(Metric::ServerTime), None).await;
    assert_eq!(here, 40, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_learnt_is_what_each_stage_takes_alone() {
    // The uplink is the slowest: bodies wait for each other there.
    let (device, server) = (TimedDevice::new(HEAD), TimedServer::new(TAIL, UPLOAD));
    let client = client_over(TAIL, device, server, split(1));
    let candidate = |client: &Client| client.explain().rows[0].candidate;
    let wire_ms = |client: &Client| candidate(client).network_ms;
    let single = client.infer(stage(&client)).await.unwrap();
    assert!(
        (single.bytes_up as f64 - BODY_BYTES).abs() < 1.0,
        "{}",
        single.bytes_up
    );
    let (alone, wire_alone_ms) = (candidate(&client), wire_ms(&client));
    all(client.infer_stream(frames(&client, 40), ALL).unwrap()).await;
    let after = candidate(&client);
    assert!((after.device_ms - single.times.device_ms).abs() < 1.0);
    assert!((after.server_ms - alone.server_ms).abs() < 5.0, "{after}");
    let wire_ms = wire_ms(&client);
    assert!(
        (wire_ms - wire_alone_ms).abs() < 5.0,
        "{wire_alone_ms} {wire_ms}"
    );
}

#[tokio::test(start_paused = true)]
async fn keep_latest_answers_for_the_newest_frame_and_counts_the_others() {
    let (_, _, client) = timed(split(1));
    // The slowest stage takes 40 ms, so that every fourth frame is answered.
    let options = StreamOptions {
        keep: Keep::Latest,
        ..ALL
    };
    let items = all(client
        .infer_stream(camera(&client, 100, MS * 10), options)
        .unwrap())
    .await;
    let seqs = seqs(&items);
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    assert_eq!(seqs[0], 0);
    assert_eq!(*seqs.last().unwrap(), 99, "what came last is answered");
    for pair in items.windows(2) {
        assert_eq!(pair[1].seq - pair[0].seq - 1, pair[1].dropped_before);
    }
    assert!((22..=30).contains(&items.len()), "{seqs:?}");
    // It waits for less than a stage, goes through three, and waits for less than one between them.
    let latest = items.iter().map(|item| item.latency_ms).fold(0.0, f64::max);
    assert!(latest < 2.0 * 40.0 + 90.0, "{latest}");
}

#[tokio::test(start_paused = true)]
async fn frames_that_come_slowly_are_all_answered_at_once() {
    let (_, _, client) = timed(split(1));
    let options = StreamOptions {
        keep: Keep::Latest,
        ..ALL
    };
    let items = all(client
        .infer_stream(camera(&client, 10, MS * 100), options)
        .unwrap())
    .await;
    assert_eq!(items.len(), 10);
    for item in &items {
        assert_eq!(item.dropped_before, 0);
        assert!(
            (90.0..=94.0).contains(&item.latency_ms),
            "{}",
            item.latency_ms
        );
    }
}

#[tokio::test(start_paused = true)]
async fn keep_all_asks_for_a_frame_when_there_is_room() {
    let (_, _, client) = timed(split(1));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = {
        let asked = asked.clone();
        frames(&client, 12).inspect(move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
        })
    };
    let mut answers = client.infer_stream(counted, ALL).unwrap();
    let mut taken = 0;
    while let Some(item) = answers.next().await {
        taken += 1;
        assert_eq!((item.seq, item.dropped_before), (taken - 1, 0));
        // Those under way, and the answers that are there and were not taken.
        assert!(asked.load(Ordering::SeqCst) as u64 <= taken + 4);
    }
    assert_eq!(taken, 12);
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_ahead_of_whoever_takes_the_answers() {
    for keep in [Keep::All, Keep::Latest] {
        let (device, server, client) = timed(split(1));
        let options = StreamOptions {
            keep,
            max_in_flight: 2,
        };
        let mut answers = client
            .infer_stream(camera(&client, 1_000, MS * 10), options)
            .unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(device.runs().len(), 2, "{keep:?}");
        for taken in 1..=3 {
            answers.next().await.unwrap().answer.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(
                (device.runs().len(), server.server.calls()),
                (2 + taken, 2 + taken)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_an_item_and_the_stream_goes_on() {
    let server = TimedServer::new(UPLOAD, TAIL);
    let device = Arc::new(Device::default());
    let config = ClientConfig {
        mode: ExecutionMode::OnlyCloud,
        ..config()
    };
    let transport = Some(server.clone() as Arc<dyn Transport>);
    let client = Client::from_parts(manifest(), None, device, transport, config).unwrap();
    *server.script.lock().unwrap() = [
        Behaviour::Answers,
        Behaviour::Fails(ErrorKind::Overloaded),
        Behaviour::Answers,
    ]
    .into();
    let items = all(client.infer_stream(frames(&client, 4), ALL).unwrap()).await;
    assert_eq!(seqs(&items), [0, 1, 2, 3]);
    let kinds: Vec<_> = items
        .iter()
        .map(|item| item.answer.as_ref().err().map(Error::kind))
        .collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Overloaded), None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_leaves_frames_to_the_device_in_their_order() {
    let (device, server, client) = timed(split(1));
    server.server.set(Behaviour::Hangs);
    let items = all(client.infer_stream(frames(&client, 8), ALL).unwrap()).await;
    assert_eq!(seqs(&items), (0..8).collect::<Vec<_>>());
    for item in &items {
        let inference = item.answer.as_ref().unwrap();
        assert_right(inference);
        assert_eq!(inference.ran_on, RanOn::Device);
    }
    assert!(!device.overlapped.load(Ordering::SeqCst));
    // Each node of each frame once, and never a head while an older frame's tail could run.
    assert_eq!(device.device.node_runs(), [8; LAST]);
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_does_not_come_holds_up_nobody_for_long() {
    let (device, server, client) = timed(split(1));
    *server.script.lock().unwrap() = [Behaviour::Answers, Behaviour::Hangs].into();
    let items = all(client.infer_stream(frames(&client, 10), ALL).unwrap()).await;
    assert_eq!(seqs(&items), (0..10).collect::<Vec<_>>());
    let ran_on: Vec<_> = items
        .iter()
        .map(|item| item.answer.as_ref().unwrap().ran_on)
        .collect();
    assert_eq!(
        ran_on.iter().filter(|on| **on == RanOn::Device).count(),
        1,
        "{ran_on:?}"
    );
    assert_eq!(ran_on[1], RanOn::Device);
    assert!(!device.overlapped.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_cancels_the_span_and_the_requests() {
    let (device, server, client) = timed(split(1));
    let answers = client.infer_stream(frames(&client, 50), ALL).unwrap();
    // The third head, and two requests.
    tokio::time::sleep(MS * 75).await;
    assert_eq!((device.runs().len(), server.server.calls()), (3, 2));
    drop(answers);
    settle().await;
    assert_eq!(server.server.abandoned.load(Ordering::SeqCst), 2);
    let began = std::time::Instant::now();
    while device.cancelled.load(Ordering::SeqCst) == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "not cancelled");
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(device.runs().len(), 3);
    let next = client.infer(stage(&client)).await.unwrap();
    assert_eq!(next.ran_on, RanOn::Split, "nobody is to blame");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_network_leaves_what_is_under_way_to_the_device() {
    let (device, server, client) = timed(split(1));
    let answers = client.infer_stream(frames(&client, 8), ALL).unwrap();
    tokio::time::sleep(MS * 75).await;
    client.on_network_changed(NetworkKind::Cellular, false);
    let items = all(answers).await;
    assert_eq!(seqs(&items), (0..8).collect::<Vec<_>>());
    let ran_on: Vec<_> = items
        .iter()
        .map(|item| item.answer.as_ref().unwrap().ran_on)
        .collect();
    assert_eq!(ran_on[..2], [RanOn::Device; 2], "they were under way");
    assert_eq!(ran_on[7], RanOn::Split, "{ran_on:?}");
    assert_eq!(server.server.network_changes.load(Ordering::SeqCst), 1);
    // The older frame's tail went before the newer one's, and both before the next head.
    assert_eq!(
        device.runs()[..6],
        [(0, 1), (0, 1), (0, 1), (1, LAST), (1, LAST), (0, 1)]
    );
    assert!(!device.overlapped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let server = Server::new(Behaviour::Answers);
    let client = client(Arc::new(Device::default()), server, Plan::Device);
    for max_in_flight in [0, MAX_IN_FLIGHT + 1] {
        let options = StreamOptions {
            max_in_flight,
            ..ALL
        };
        let error = client.infer_stream(stream::empty(), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let nothing = client.infer_stream(stream::empty(), ALL).unwrap();
    assert!(all(nothing).await.is_empty());
}

#[test]
fn a_stream_needs_a_runtime() {
    let server = Server::new(Behaviour::Answers);
    let client = client(Arc::new(Device::default()), server, Plan::Device);
    let error = client.infer_stream(stream::empty(), ALL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

/// Over real sockets, where a server takes a while that no frame has to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_over_sockets_is_faster_than_one_call_after_the_other() {
    const FRAMES: usize = 12;
    let trouble = Arc::new(Mutex::new(Trouble::Late(MS * 100)));
    let server = TestServer::start(Script::Live(trouble)).await;
    let config = ClientConfig {
        mode: ExecutionMode::OnlyCloud,
        plan: Some(split(1)),
        ..config()
    };
    let transport = Some(Arc::new(server.transport()) as Arc<dyn Transport>);
    let device = Arc::new(Device::default());
    let client = Client::from_parts(manifest(), None, device, transport, config).unwrap();
    client.warm_up().await.unwrap();

    let began = std::time::Instant::now();
    for _ in 0..FRAMES {
        assert_right(&client.infer(stage(&client)).await.unwrap());
    }
    let one_by_one = began.elapsed();
    let began = std::time::Instant::now();
    let items = all(client.infer_stream(frames(&client, FRAMES), ALL).unwrap()).await;
    let streamed = began.elapsed();
    assert_eq!(items.len(), FRAMES);
    for item in &items {
        assert_right(item.answer.as_ref().unwrap());
    }
    assert!(streamed * 3 < one_by_one * 2, "{streamed:?} {one_by_one:?}");
    assert_eq!(server.connections(), 1);
}
