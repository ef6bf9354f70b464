//! A request that is late is raced by the device: who wins when, and what becomes of the loser.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{
    Behaviour, Device, LAST, Server, assert_right, client, config, manifest, profile, split, stage,
};
use dyno_core::client::{Client, ClientConfig, ExecutionMode, Inference, RanOn, Transport};
use dyno_core::runtime::{Activation, Cancel, Executor, SpanRun};
use dyno_core::schedule::{LinkPrior, NetworkKind, Plan};
use dyno_core::{ErrorKind, Result};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Later than the answer is predicted to come, and before anybody gives up on it.
const LATE: Duration = Duration::from_millis(120);

/// Without a limit of the latency, so that only what is predicted decides.
fn pinned(plan: Plan) -> ClientConfig {
    let mut config = ClientConfig {
        plan: Some(plan),
        ..config()
    };
    config.objective.limits.latency_ms = None;
    config
}

/// With a link on which no bound but the predicted ones counts.
fn slow() -> ClientConfig {
    let mut config = pinned(split(1));
    config.link.rtt_ms = 100.0;
    config
}

fn set_up(behaviour: Behaviour, config: ClientConfig) -> (Arc<Device>, Arc<Server>, Client) {
    let (device, server) = (Arc::new(Device::default()), Server::new(behaviour));
    let client = client(&device, Some(&server), config).unwrap();
    (device, server, client)
}

fn infer(client: &Client) -> JoinHandle<Result<Inference>> {
    let (client, staged) = (client.clone(), stage(client));
    tokio::spawn(async move { client.infer(staged).await })
}

/// Lets tasks and threads do what they can without time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_server_costs_the_time_within_which_nine_of_ten_answers_come() {
    let (_, server, client) = set_up(Behaviour::Hangs, slow());
    let began = Instant::now();
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_right(&inference);
    assert_eq!(inference.ran_on, RanOn::Device);
    let fallback = inference.fallback.unwrap();
    assert_eq!(
        (fallback.kind, fallback.from_cut),
        (ErrorKind::DeadlineExceeded, 1)
    );
    // Time is the test's own, so this is exact: the deadline is three times the percentile and
    // 200 ms, and the device computes in no time.
    let deadline_ms = server.requests.lock().unwrap()[0].deadline.as_secs_f64() * 1e3;
    let p90_ms = (deadline_ms - 200.0) / 3.0;
    let took_ms = began.elapsed().as_secs_f64() * 1e3;
    assert!((took_ms - p90_ms).abs() < 2.0, "{took_ms} {p90_ms}");
    assert!((inference.times.network_ms - p90_ms).abs() < 2.0);
}

#[tokio::test(start_paused = true)]
async fn the_device_resumes_at_the_last_moment_at_which_the_limit_can_be_kept() {
    let mut config = pinned(split(2));
    config.link = LinkPrior {
        rtt_ms: 1_000.0,
        rate_bps: 1e6,
    };
    // 100 ms for the tail, 10 % and 20 ms to be safe: 40 ms are left for waiting.
    config.objective.limits.latency_ms = Some(170.0);
    let (_, _, client) = set_up(Behaviour::Hangs, config);
    let inference = client.infer(stage(&client)).await.unwrap();
    let waited_ms = inference.times.network_ms;
    assert!((35.0..=41.0).contains(&waited_ms), "{waited_ms}");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_server_is_no_reason_to_wait() {
    let (_, _, client) = set_up(Behaviour::Fails(ErrorKind::Internal), pinned(split(1)));
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_eq!(inference.fallback.unwrap().kind, ErrorKind::Internal);
    assert!(inference.times.network_ms < 7.0, "one round trip");
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_measured_and_is_no_failure() {
    let (_, server, client) = set_up(Behaviour::AnswersAfter(LATE), pinned(split(1)));
    let expected_ms = |client: &Client| client.explain().rows[0].candidate.network_ms;
    let before = expected_ms(&client);
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_eq!(inference.ran_on, RanOn::Device);
    assert_right(&inference);
    assert!(expected_ms(&client) > before, "it goes on, late already");
    tokio::time::sleep(LATE).await;
    assert_eq!(
        server.abandoned.load(Ordering::SeqCst),
        0,
        "read to its end"
    );
    assert!(expected_ms(&client) > 2.0 * before);

    // Predicted as slow as it is, it is waited for.
    let next = client.infer(stage(&client)).await.unwrap();
    assert_eq!((next.ran_on, server.calls()), (RanOn::Split, 2));
}

#[tokio::test(start_paused = true)]
async fn answers_that_never_come_are_given_up_and_three_keep_the_client_away() {
    let (device, server, client) = set_up(Behaviour::Hangs, slow());
    for call in 1..=3 {
        let inference = client.infer(stage(&client)).await.unwrap();
        assert!(inference.bytes_up > 0, "call {call}");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(server.abandoned.load(Ordering::SeqCst), call);
    }
    let deadlines: Vec<_> = {
        let requests = server.requests.lock().unwrap();
        requests.iter().map(|r| r.deadline).collect()
    };
    assert!(deadlines.is_sorted_by(|a, b| a < b), "{deadlines:?}");

    server.set(Behaviour::Answers);
    tokio::time::sleep(Duration::from_secs(31)).await;
    let trial = client.infer(stage(&client)).await.unwrap();
    assert_eq!(trial.ran_on, RanOn::Split, "asked again after a while");
    assert_eq!(server.calls(), 4);
    assert_eq!(device.node_runs()[0], 4);
}

#[tokio::test(start_paused = true)]
async fn late_requests_are_bounded_and_end_with_the_client() {
    let (_, server, client) = set_up(Behaviour::Hangs, pinned(split(1)));
    let calls: Vec<_> = (0..10).map(|_| infer(&client)).collect();
    for call in calls {
        assert_right(&call.await.unwrap().unwrap());
    }
    let abandoned = || server.abandoned.load(Ordering::SeqCst);
    assert_eq!(
        (server.calls(), abandoned()),
        (10, 6),
        "four are waited for"
    );
    drop(client);
    settle().await;
    assert_eq!(abandoned(), 10);
}

/// A device whose tail takes until it is let go, or cancelled.
#[derive(Default)]
struct SlowTail {
    device: Device,
    started: tokio::sync::Notify,
    go: AtomicBool,
    cancelled: AtomicBool,
}

impl Executor for SlowTail {
    fn ready_cuts(&self) -> Vec<usize> {
        self.device.ready_cuts()
    }

    fn request(&self, cut: usize) {
        self.device.request(cut);
    }

    fn prepare(&self, cut: usize) -> Result<()> {
        self.device.prepare(cut)
    }

    fn run(&self, input: Activation, to: usize, cancel: &Cancel) -> Result<SpanRun> {
        if to == LAST {
            self.started.notify_one();
            while !self.go.load(Ordering::SeqCst) {
                if let Err(error) = cancel.check() {
                    self.cancelled.store(true, Ordering::SeqCst);
                    return Err(error);
                }
                std::thread::yield_now();
            }
        }
        self.device.run(input, to, cancel)
    }
}

fn slow_tail(behaviour: Behaviour) -> (Arc<SlowTail>, Arc<Server>, Client) {
    let (device, server) = (Arc::new(SlowTail::default()), Server::new(behaviour));
    let transport = Some(server.clone() as Arc<dyn Transport>);
    let client = Client::from_parts(
        manifest(),
        Some(&profile()),
        device.clone(),
        transport,
        pinned(split(2)),
    );
    (device, server, client.unwrap())
}

/// Until the device's span has noticed that nobody waits for it. Threads take real time.
fn await_cancelled(device: &SlowTail) {
    let began = std::time::Instant::now();
    while !device.cancelled.load(Ordering::SeqCst) {
        assert!(began.elapsed() < Duration::from_secs(20), "not cancelled");
        std::thread::yield_now();
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_wins_if_it_answers_first_and_the_span_is_cancelled() {
    let (device, server, client) = slow_tail(Behaviour::AnswersAfter(LATE));
    let call = infer(&client);
    device.started.notified().await;
    // While a thread computes, paused time stands still unless it is told.
    tokio::time::advance(LATE).await;
    let inference = call.await.unwrap().unwrap();
    assert_right(&inference);
    assert_eq!((inference.ran_on, server.calls()), (RanOn::Split, 1));
    assert_eq!(inference.fallback, None);
    assert!(inference.times.network_ms >= LATE.as_secs_f64() * 1e3 - 10.0);
    await_cancelled(&device);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_during_the_race_leaves_it_to_the_device() {
    let (device, _, client) = slow_tail(Behaviour::FailsAfter(LATE, ErrorKind::Unreachable));
    let call = infer(&client);
    device.started.notified().await;
    tokio::time::advance(LATE).await;
    settle().await;
    device.go.store(true, Ordering::SeqCst);
    let inference = call.await.unwrap().unwrap();
    assert_right(&inference);
    assert_eq!(inference.fallback.unwrap().kind, ErrorKind::Unreachable);
    assert_eq!(*device.device.runs.lock().unwrap(), [(0, 2), (2, LAST)]);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_fails_during_the_race_leaves_it_to_the_server() {
    let (device, server, client) = set_up(Behaviour::AnswersAfter(LATE), pinned(split(2)));
    device.fails_tails.store(true, Ordering::SeqCst);
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_right(&inference);
    assert_eq!((inference.ran_on, server.calls()), (RanOn::Split, 1));

    server.set(Behaviour::Hangs);
    let error = client.infer(stage(&client)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Runtime);
    let text = error.to_string();
    assert!(
        text.contains("no answer") && text.contains("broken"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_during_the_race_ends_both() {
    let (device, server, client) = slow_tail(Behaviour::Hangs);
    let call = infer(&client);
    device.started.notified().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(server.abandoned.load(Ordering::SeqCst), 1);
    await_cancelled(&device);
    server.set(Behaviour::Answers);
    let next = client.infer(stage(&client)).await.unwrap();
    assert_eq!(next.ran_on, RanOn::Split, "nobody is to blame");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_network_ends_the_wait_at_once() {
    let mut config = pinned(split(1));
    config.link.rtt_ms = 1_000.0;
    let (_, server, client) = set_up(Behaviour::Hangs, config);
    let began = Instant::now();
    let call = infer(&client);
    server.arrived.notified().await;
    client.on_network_changed(NetworkKind::Cellular, true);
    let inference = call.await.unwrap().unwrap();
    assert_right(&inference);
    assert_eq!(inference.fallback.unwrap().kind, ErrorKind::Unreachable);
    assert!(began.elapsed() < Duration::from_millis(5));
    assert_eq!(server.abandoned.load(Ordering::SeqCst), 1);
    assert_eq!(server.network_changes.load(Ordering::SeqCst), 1);

    server.set(Behaviour::Answers);
    let next = client.infer(stage(&client)).await.unwrap();
    assert_eq!(
        next.ran_on,
        RanOn::Split,
        "the new network is tried at once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_request_of_another_network_is_not_measured() {
    let (_, server, client) = set_up(Behaviour::AnswersAfter(LATE), pinned(split(1)));
    client.infer(stage(&client)).await.unwrap();
    client.on_network_changed(NetworkKind::Wifi, false);
    let before = client.explain().rows[0].candidate.network_ms;
    settle().await;
    assert_eq!(server.abandoned.load(Ordering::SeqCst), 1);
    tokio::time::sleep(LATE).await;
    assert!((client.explain().rows[0].candidate.network_ms - before).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn without_a_network_nothing_is_sent() {
    let (device, server, client) = set_up(Behaviour::Answers, pinned(split(1)));
    client.on_network_changed(NetworkKind::None, false);
    client.warm_up().await.unwrap();
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_right(&inference);
    assert_eq!((inference.plan, inference.bytes_up), (Plan::Device, 0));
    assert_eq!(inference.fallback.unwrap().kind, ErrorKind::Unreachable);
    device.fails.store(true, Ordering::SeqCst);
    let error = client.infer(stage(&client)).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Runtime,
        "not even as a last resort"
    );
    let warm_ups = server.warm_ups.load(Ordering::SeqCst);
    assert_eq!((server.calls(), warm_ups), (0, 0));

    device.fails.store(false, Ordering::SeqCst);
    client.on_network_changed(NetworkKind::Wifi, false);
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_eq!(inference.ran_on, RanOn::Split);
}

#[tokio::test(start_paused = true)]
async fn only_cloud_waits_through_a_change_and_fails_without_a_network() {
    let config = ClientConfig {
        mode: ExecutionMode::OnlyCloud,
        ..pinned(split(1))
    };
    let (device, server, client) = set_up(Behaviour::AnswersAfter(LATE), config);
    let call = infer(&client);
    server.arrived.notified().await;
    client.on_network_changed(NetworkKind::Cellular, false);
    assert_eq!(call.await.unwrap().unwrap().ran_on, RanOn::Split);

    client.on_network_changed(NetworkKind::None, false);
    let error = client.infer(stage(&client)).await.unwrap_err();
    assert_eq!((error.kind(), server.calls()), (ErrorKind::Unreachable, 1));
    assert_eq!(*device.runs.lock().unwrap(), [(0, 1), (0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_an_abandoned_request_left_on_its_way_is_waited_for() {
    let mut config = slow();
    config.link.rate_bps = 1e4;
    let (_, server, client) = set_up(Behaviour::Hangs, config);
    let expected_ms = || client.explain().rows[0].candidate.network_ms;
    let call = infer(&client);
    server.arrived.notified().await;
    let before = expected_ms();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    // 768 bytes at 10 kbit/s.
    assert!(expected_ms() > before + 500.0, "{before} {}", expected_ms());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(expected_ms() < before + 1.0, "it is through");
}
