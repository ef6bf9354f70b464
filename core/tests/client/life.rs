//! Calls that are dropped, that run at once, that teach the planner; and warming up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{
    Behaviour, Device, LAST, Server, assert_right, client, config, manifest, split, stage,
};
use dyno_core::bundle::Profile;
use dyno_core::client::{Client, ClientConfig, ExecutionMode, RanOn};
use dyno_core::runtime::{Activation, Cancel, Executor, SpanRun};
use dyno_core::schedule::{NetworkKind, Plan};
use dyno_core::{ErrorKind, Result};

fn pinned(plan: Plan) -> ClientConfig {
    ClientConfig {
        plan: Some(plan),
        ..config()
    }
}

#[test]
fn a_client_can_be_shared_by_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Client>();
}

/// An executor whose spans end when they are cancelled, and not before.
struct Endless {
    started: tokio::sync::mpsc::UnboundedSender<()>,
    ended: mpsc::Sender<ErrorKind>,
}

impl Executor for Endless {
    fn ready_cuts(&self) -> Vec<usize> {
        vec![0, LAST]
    }

    fn request(&self, _cut: usize) {}

    fn prepare(&self, _cut: usize) -> Result<()> {
        Ok(())
    }

    fn run(&self, _input: Activation, _to: usize, cancel: &Cancel) -> Result<SpanRun> {
        self.started.send(()).unwrap();
        loop {
            if let Err(error) = cancel.check() {
                self.ended.send(error.kind()).unwrap();
                return Err(error);
            }
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn dropping_the_future_cancels_the_span_under_way() {
    let (started, mut has_started) = tokio::sync::mpsc::unbounded_channel();
    let (ended, has_ended) = mpsc::channel();
    let executor = Arc::new(Endless { started, ended });
    let config = ClientConfig {
        mode: ExecutionMode::OnlyOnDevice,
        ..ClientConfig::default()
    };
    let client = Client::from_parts(manifest(), None, executor, None, config).unwrap();
    let call = tokio::spawn({
        let (client, staged) = (client.clone(), stage(&client));
        async move { client.infer(staged).await }
    });
    has_started.recv().await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(has_ended.recv().unwrap(), ErrorKind::Cancelled);
}

/// Runs as a device does that needs `profile_ms` for the model, and says on which thread.
struct Witness {
    device: Arc<Device>,
    thread: mpsc::Sender<std::thread::ThreadId>,
}

impl Executor for Witness {
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
        self.thread.send(std::thread::current().id()).unwrap();
        self.device.run(input, to, cancel)
    }
}

#[test]
fn a_short_inference_stays_on_its_thread_and_a_long_one_does_not() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    for (model_ms, stays) in [(2.0, true), (200.0, false)] {
        let (thread, ran_on) = mpsc::channel();
        let executor = Arc::new(Witness {
            device: Arc::default(),
            thread,
        });
        let config = ClientConfig {
            mode: ExecutionMode::OnlyOnDevice,
            ..ClientConfig::default()
        };
        let profile = Profile {
            machine: "a test's".to_owned(),
            threads: 1,
            head_ms: (0..=LAST)
                .map(|cut| model_ms * cut as f64 / LAST as f64)
                .collect(),
            measured: Vec::new(),
        };
        let client =
            Client::from_parts(manifest(), Some(&profile), executor, None, config).unwrap();
        runtime.block_on(client.infer(stage(&client))).unwrap();
        let here = ran_on.recv().unwrap() == std::thread::current().id();
        assert_eq!(here, stays, "{model_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_abandons_the_request_and_blames_nobody() {
    let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Hangs));
    let client = client(&device, Some(&server), pinned(split(2))).unwrap();
    let call = tokio::spawn({
        let (client, staged) = (client.clone(), stage(&client));
        async move { client.infer(staged).await }
    });
    server.arrived.notified().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(server.abandoned.load(Ordering::SeqCst), 1);
    assert_eq!(*device.runs.lock().unwrap(), [(0, 2)], "no tail for nobody");

    server.set(Behaviour::Answers);
    let next = client.infer(stage(&client)).await.unwrap();
    assert_eq!(next.ran_on, RanOn::Split, "the server is not held off");
}

#[tokio::test(start_paused = true)]
async fn calls_that_run_at_once_do_not_mix() {
    let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Answers));
    let client = client(&device, Some(&server), pinned(split(1))).unwrap();
    let calls = (0..16).map(|_| {
        let (client, staged) = (client.clone(), stage(&client));
        tokio::spawn(async move { client.infer(staged).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let inference = call.await.unwrap().unwrap();
        assert_right(&inference);
        assert_eq!(inference.ran_on, RanOn::Split);
    }
    assert_eq!(server.calls(), 16);
    assert_eq!(device.node_runs(), [16, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_report_accounts_for_the_time() {
    let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Answers));
    let client = client(&device, Some(&server), pinned(split(2))).unwrap();
    let times = client.infer(stage(&client)).await.unwrap().times;
    assert!(
        (times.device_ms - 100.0).abs() < 1e-9,
        "as the executor said"
    );
    assert!((times.server_ms - 2.25).abs() < 1e-9, "unpack and infer");
    assert!((times.queue_ms - 0.0).abs() < 1e-9);
    assert!(
        (times.network_ms - (5.0 - 2.25)).abs() < 1e-6,
        "{}",
        times.network_ms
    );
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_is_not_built_is_asked_for_once_chosen_and_another_plan_runs() {
    let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Answers));
    // A link on which the photo (cut 0) loses to a later cut.
    let mut config = config();
    config.link.rate_bps = 1e4;
    let narrow = {
        let mut manifest = (*manifest()).clone();
        manifest.cuts[1].tensors[0].shape = vec![1, 1, 1, 1];
        Arc::new(manifest)
    };
    device.cold.store(true, Ordering::SeqCst);
    let client = Client::from_parts(
        narrow,
        Some(&crate::support::profile()),
        device.clone(),
        Some(server.clone()),
        config,
    )
    .unwrap();
    assert_eq!(client.explain().rows[0].candidate.plan, split(1));
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_right(&inference);
    assert_ne!(inference.plan, split(1));
    assert_eq!(*device.requested.lock().unwrap(), [1]);
}

/// A device of a bundle that was prepared on a machine a hundred times as fast.
fn a_slow_device() -> (Arc<Device>, Client) {
    let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Answers));
    let profile = Profile {
        head_ms: vec![0.0, 0.5, 1.0, 1.5, 2.0],
        ..crate::support::profile()
    };
    let config = ClientConfig {
        server_speed: 1.0,
        ..config()
    };
    let executor: Arc<dyn Executor> = device.clone();
    let client =
        Client::from_parts(manifest(), Some(&profile), executor, Some(server), config).unwrap();
    (device, client)
}

#[tokio::test(start_paused = true)]
async fn a_device_that_turns_out_slow_is_relieved_by_the_server() {
    let (_, client) = a_slow_device();
    let first = client.infer(stage(&client)).await.unwrap();
    assert_eq!(
        first.ran_on,
        RanOn::Device,
        "nothing says yet that it is slow"
    );
    let second = client.infer(stage(&client)).await.unwrap();
    assert_ne!(second.ran_on, RanOn::Device);
    assert!(second.estimated_ms < first.times.device_ms);
}

#[tokio::test(start_paused = true)]
async fn warming_up_opens_the_connection_and_builds_the_planned_spans() {
    for (plan, cut) in [(split(2), 2), (Plan::Device, LAST)] {
        let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Answers));
        let client = client(&device, Some(&server), pinned(plan)).unwrap();
        client.warm_up().await.unwrap();
        assert_eq!(*device.prepared.lock().unwrap(), [cut]);
        assert_eq!(server.warm_ups.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn warming_up_finds_out_how_fast_the_device_is() {
    let (device, client) = a_slow_device();
    for _ in 0..2 {
        client.warm_up().await.unwrap();
        assert_eq!(*device.runs.lock().unwrap(), [(0, LAST)], "once is enough");
    }
    let first = client.infer(stage(&client)).await.unwrap();
    assert_right(&first);
    assert_ne!(first.ran_on, RanOn::Device, "{}", first.estimated_ms);
}

#[tokio::test(start_paused = true)]
async fn warming_up_without_a_server_is_an_error_only_where_nobody_else_answers() {
    for (mode, tried, fails) in [
        (ExecutionMode::Auto, 1, false),
        (ExecutionMode::PreferCloud, 1, false),
        (ExecutionMode::OnlyOnDevice, 0, false),
        (ExecutionMode::OnlyCloud, 1, true),
    ] {
        let server = Server::new(Behaviour::Fails(ErrorKind::Unreachable));
        let config = ClientConfig { mode, ..config() };
        let client = client(&Arc::new(Device::default()), Some(&server), config).unwrap();
        assert_eq!(client.warm_up().await.is_err(), fails, "{mode}");
        assert_eq!(server.warm_ups.load(Ordering::SeqCst), tried, "{mode}");
    }
}

#[tokio::test(start_paused = true)]
async fn warming_up_begins_again_on_another_network_and_learns_nothing_of_the_old_one() {
    let lost = Behaviour::FailsAfter(Duration::from_millis(200), ErrorKind::Unreachable);
    let (device, server) = (Arc::new(Device::default()), Server::new(lost));
    let client = Arc::new(client(&device, Some(&server), pinned(split(2))).unwrap());
    let warming = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.warm_up().await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.set(Behaviour::Answers);
    client.on_network_changed(NetworkKind::Cellular, false);
    warming.await.unwrap().unwrap();
    assert_eq!(server.warm_ups.load(Ordering::SeqCst), 2);
    // The old network's failure would have kept the server from being asked.
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_eq!(inference.ran_on, RanOn::Split);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_no_classifier_returns_its_outputs_alone() {
    let mut segmenter = (*manifest()).clone();
    segmenter.outputs[0].shape = vec![2, 2];
    segmenter.cuts[LAST].tensors[0].shape = vec![2, 2];
    let config = ClientConfig {
        mode: ExecutionMode::OnlyOnDevice,
        ..ClientConfig::default()
    };
    let device = Arc::new(Device::default());
    let client = Client::from_parts(Arc::new(segmenter), None, device, None, config).unwrap();
    let inference = client.infer(stage(&client)).await.unwrap();
    assert!(inference.top.is_empty());
    assert_eq!(inference.outputs.len(), 1);
    assert_eq!((inference.cut, inference.codec), (LAST, None));
}
