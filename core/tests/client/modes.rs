//! Every execution mode in every situation, against the table that the documentation prints.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::{Behaviour, Device, LAST, Server, assert_right, client, config, split, stage};
use dyno_core::client::{ClientConfig, ExecutionMode, Outcome, RanOn, Situation};
use dyno_core::schedule::{NetworkKind, PhotoCodec, Plan};
use dyno_core::{ErrorKind, Result};

fn in_mode(mode: ExecutionMode) -> ClientConfig {
    ClientConfig { mode, ..config() }
}

fn pinned(mode: ExecutionMode, plan: Plan) -> ClientConfig {
    ClientConfig {
        mode,
        plan: Some(plan),
        ..config()
    }
}

/// The server of a situation, and the failure that a report names.
fn server_in(situation: Situation) -> (Option<Arc<Server>>, Option<ErrorKind>) {
    let (behaviour, kind) = match situation {
        Situation::Online | Situation::DeviceFails => (Behaviour::Answers, None),
        Situation::NoServer => return (None, None),
        Situation::Unreachable => fails(ErrorKind::Unreachable),
        Situation::Late => (Behaviour::Hangs, Some(ErrorKind::DeadlineExceeded)),
        Situation::ServerFull => fails(ErrorKind::Overloaded),
        Situation::WrongBundle => fails(ErrorKind::BundleMismatch),
        Situation::NotAnAnswer => (Behaviour::Garbage, Some(ErrorKind::Protocol)),
    };
    (Some(Server::new(behaviour)), kind)
}

fn fails(kind: ErrorKind) -> (Behaviour, Option<ErrorKind>) {
    (Behaviour::Fails(kind), Some(kind))
}

#[tokio::test(start_paused = true)]
async fn every_mode_does_in_every_situation_what_the_table_says() {
    for &mode in ExecutionMode::ALL {
        for &situation in Situation::ALL {
            check(mode, situation).await;
        }
    }
}

async fn check(mode: ExecutionMode, situation: Situation) {
    let place = format!("{mode}, {situation}");
    let outcome = mode.policy().outcome(situation);
    let device = Arc::new(Device::default());
    device
        .fails
        .store(situation == Situation::DeviceFails, Ordering::SeqCst);
    let (server, failure) = server_in(situation);
    let calls = || server.as_ref().map_or(0, |server| server.calls());

    let client = match client(&device, server.as_ref(), in_mode(mode)) {
        Ok(client) => client,
        Err(error) => {
            assert_eq!(outcome, Outcome::Error(error.kind()), "{place}: {error}");
            return;
        }
    };
    let cheapest = client.explain().chosen.plan;
    let inference = match client.infer(stage(&client)).await {
        Ok(inference) => inference,
        Err(error) => {
            assert_eq!(outcome, Outcome::Error(error.kind()), "{place}: {error}");
            return;
        }
    };
    assert_right(&inference);
    let fallback = inference.fallback.as_ref().map(|fallback| fallback.kind);
    match outcome {
        Outcome::Best => {
            assert_eq!(inference.plan, cheapest, "{place}");
            assert_ne!(
                inference.ran_on,
                RanOn::Device,
                "{place}: the server is faster"
            );
            assert_eq!(fallback, None, "{place}");
        }
        Outcome::Device => {
            assert_eq!(inference.ran_on, RanOn::Device, "{place}");
            assert_eq!(*device.runs.lock().unwrap(), [(0, LAST)], "{place}");
            assert_eq!(
                (calls(), inference.bytes_up),
                (0, 0),
                "{place}: network touched"
            );
            assert_eq!(fallback, None, "{place}");
        }
        Outcome::Server => {
            assert_eq!(inference.ran_on, RanOn::Server, "{place}");
            assert_eq!(device.node_runs(), [0; LAST], "{place}");
            assert_eq!(calls(), 1, "{place}");
        }
        Outcome::Resumed => {
            assert_eq!(inference.ran_on, RanOn::Device, "{place}");
            assert_eq!(device.node_runs(), [1; LAST], "{place}: computed once");
            assert_eq!(calls(), 1, "{place}: one request, no retry");
            assert!(inference.bytes_up > 0, "{place}");
            assert_eq!(fallback, failure, "{place}");
        }
        Outcome::Error(kind) => panic!("{place}: expected {kind}, got an answer"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_split_whose_server_fails_goes_on_from_the_cut() {
    for cut in 0..LAST {
        for behaviour in [
            Behaviour::Hangs,
            Behaviour::Garbage,
            Behaviour::Fails(ErrorKind::Unreachable),
            Behaviour::Fails(ErrorKind::Internal),
            Behaviour::Fails(ErrorKind::TooLarge),
            Behaviour::Fails(ErrorKind::InvalidActivation),
            Behaviour::Fails(ErrorKind::InvalidArgument),
        ] {
            let (device, server) = (Arc::new(Device::default()), Server::new(behaviour));
            let config = pinned(ExecutionMode::Auto, split(cut));
            let client = client(&device, Some(&server), config).unwrap();
            let inference = client.infer(stage(&client)).await.unwrap();

            assert_right(&inference);
            assert_eq!((inference.ran_on, inference.cut), (RanOn::Device, cut));
            assert_eq!(inference.fallback.unwrap().from_cut, cut);
            let runs = device.runs.lock().unwrap().clone();
            let head = (cut > 0).then_some((0, cut));
            let spans: Vec<_> = head.into_iter().chain([(cut, LAST)]).collect();
            assert_eq!(runs, spans, "{behaviour:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_split_that_is_answered_runs_its_head_alone() {
    let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Answers));
    let config = pinned(ExecutionMode::Auto, split(2));
    let client = client(&device, Some(&server), config).unwrap();
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_right(&inference);
    assert_eq!((inference.ran_on, inference.cut), (RanOn::Split, 2));
    assert_eq!(*device.runs.lock().unwrap(), [(0, 2)]);
    assert_eq!((inference.levels, inference.codec), (None, Some("raw")));
    let sent = server.requests.lock().unwrap()[0].body.len();
    assert_eq!(inference.bytes_up, sent);
}

#[tokio::test(start_paused = true)]
async fn only_cloud_with_a_split_runs_the_head_and_never_the_tail() {
    let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Answers));
    let config = pinned(ExecutionMode::OnlyCloud, split(1));
    let client = client(&device, Some(&server), config).unwrap();
    assert_eq!(
        client.infer(stage(&client)).await.unwrap().ran_on,
        RanOn::Split
    );
    server.set(Behaviour::Fails(ErrorKind::Unreachable));
    for _ in 0..3 {
        let error = client.infer(stage(&client)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
    }
    assert_eq!(server.calls(), 4, "every call tries");
    assert_eq!(*device.runs.lock().unwrap(), [(0, 1); 4]);
}

#[tokio::test(start_paused = true)]
async fn only_cloud_computes_nothing_here_when_the_days_bytes_are_spent() {
    let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Answers));
    let mut config = in_mode(ExecutionMode::OnlyCloud);
    config.objective.limits.metered_bytes_per_day = Some(0);
    let client = client(&device, Some(&server), config).unwrap();
    client.infer(stage(&client)).await.unwrap();
    client.on_network_changed(NetworkKind::Cellular, true);
    let error = client.infer(stage(&client)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(
        error.to_string().contains("metered_bytes_per_day"),
        "{error}"
    );
    assert_eq!((server.calls(), device.runs.lock().unwrap().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_could_never_obey_is_not_made() {
    let server = Server::new(Behaviour::Answers);
    let make = |server: Option<&Arc<Server>>, config: ClientConfig| -> Result<_> {
        client(&Arc::new(Device::default()), server, config)
    };
    for (server, config) in [
        (Some(&server), pinned(ExecutionMode::OnlyOnDevice, split(1))),
        (
            Some(&server),
            pinned(ExecutionMode::OnlyCloud, Plan::Device),
        ),
        (Some(&server), pinned(ExecutionMode::Auto, split(LAST))),
        (
            None,
            pinned(ExecutionMode::Auto, Plan::Photo(PhotoCodec::Png)),
        ),
        (None, in_mode(ExecutionMode::OnlyCloud)),
    ] {
        let error = make(server, config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_the_error_tells_of_both() {
    for mode in [
        ExecutionMode::Auto,
        ExecutionMode::PreferOnDevice,
        ExecutionMode::PreferCloud,
    ] {
        let (device, server) = (
            Arc::new(Device::default()),
            Server::new(Behaviour::Fails(ErrorKind::Overloaded)),
        );
        device.fails.store(true, Ordering::SeqCst);
        let client = client(&device, Some(&server), in_mode(mode)).unwrap();
        let error = client.infer(stage(&client)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Runtime, "{mode}");
        let text = error.to_string();
        assert!(
            text.contains("overloaded") && text.contains("broken"),
            "{text}"
        );
        assert_eq!(server.calls(), 1, "{mode}: one request, no retry");
    }
}

#[test]
fn the_tests_that_the_documentation_of_faults_names_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = std::fs::read_to_string(root.join("docs/faults.md")).unwrap();
    let mut tests = 0;
    for quoted in document.split('`').skip(1).step_by(2) {
        let Some((file, test)) = quoted.split_once("::") else {
            continue;
        };
        let path = match file {
            a_type if a_type.starts_with(char::is_uppercase) => continue,
            path if path.contains('/') => path.to_owned(),
            file => format!("core/tests/client/{file}.rs"),
        };
        let source = std::fs::read_to_string(root.join(path)).expect(quoted);
        assert!(source.contains(&format!("fn {test}()")), "{quoted}");
        tests += 1;
    }
    assert!(tests >= 40, "only {tests} were found");
}
