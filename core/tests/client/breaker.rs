//! A server that fails is left alone, for as long as it takes, and taken back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{Behaviour, Device, Server, assert_right, client, config, split, stage};
use dyno_core::ErrorKind;
use dyno_core::client::{Client, ClientConfig, ExecutionMode, RanOn};
use dyno_core::schedule::{NetworkKind, Plan};

/// What the first wait is at least and at most.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(1);

fn set_up(behaviour: Behaviour) -> (Arc<Device>, Arc<Server>, Client) {
    let (device, server) = (Arc::new(Device::default()), Server::new(behaviour));
    let config = ClientConfig {
        mode: ExecutionMode::PreferCloud,
        ..config()
    };
    let client = client(&device, Some(&server), config).unwrap();
    (device, server, client)
}

/// A call that must not touch the network, and why.
async fn spared(client: &Client, server: &Server) -> ErrorKind {
    let calls = server.calls();
    let inference = client.infer(stage(client)).await.unwrap();
    assert_right(&inference);
    assert_eq!(server.calls(), calls, "left alone");
    assert_eq!((inference.plan, inference.bytes_up), (Plan::Device, 0));
    inference.fallback.unwrap().kind
}

/// A call that must ask the server, and whether that answered.
async fn asked(client: &Client, server: &Server) -> bool {
    let calls = server.calls();
    let inference = client.infer(stage(client)).await.unwrap();
    assert_right(&inference);
    assert_eq!(server.calls(), calls + 1, "asked");
    inference.ran_on == RanOn::Server
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_left_alone_for_longer_each_time_and_taken_back() {
    let (_, server, client) = set_up(Behaviour::Fails(ErrorKind::Unreachable));
    for opening in 0..3 {
        assert!(!asked(&client, &server).await);
        tokio::time::advance(SHORTEST.saturating_sub(Duration::from_millis(1))).await;
        assert_eq!(spared(&client, &server).await, ErrorKind::Unreachable);
        tokio::time::advance(LONGEST * (1 << opening)).await;
    }
    server.set(Behaviour::Answers);
    for _ in 0..2 {
        assert!(asked(&client, &server).await);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_at_once_are_one_failure() {
    let (_, server, client) = set_up(Behaviour::Fails(ErrorKind::Internal));
    let calls = (0..8).map(|_| {
        let (client, staged) = (client.clone(), stage(&client));
        tokio::spawn(async move { client.infer(staged).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_right(&call.await.unwrap().unwrap());
    }
    assert_eq!(server.calls(), 8);
    tokio::time::advance(LONGEST).await;
    server.set(Behaviour::Answers);
    assert!(
        asked(&client, &server).await,
        "after one wait, the shortest"
    );
}

#[tokio::test(start_paused = true)]
async fn one_call_tries_a_server_that_failed_and_the_others_do_not_wait_for_it() {
    let (_, server, client) = set_up(Behaviour::Fails(ErrorKind::Unreachable));
    asked(&client, &server).await;
    tokio::time::advance(LONGEST).await;
    server.set(Behaviour::Hangs);
    let trial = tokio::spawn({
        let (client, staged) = (client.clone(), stage(&client));
        async move { client.infer(staged).await }
    });
    server.arrived.notified().await;
    server.arrived.notified().await;
    for _ in 0..4 {
        assert_eq!(spared(&client, &server).await, ErrorKind::Unreachable);
    }
    trial.abort();
    assert!(trial.await.unwrap_err().is_cancelled());
    server.set(Behaviour::Answers);
    assert!(asked(&client, &server).await, "the trial was called off");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_to_be_left_alone_is_left_alone() {
    let minute = Duration::from_mins(1);
    let (_, server, client) = set_up(Behaviour::Full(minute));
    assert!(!asked(&client, &server).await);
    for _ in 0..6 {
        assert_eq!(spared(&client, &server).await, ErrorKind::Overloaded);
        tokio::time::advance(minute / 6).await;
    }
    assert_eq!(spared(&client, &server).await, ErrorKind::Overloaded);
    tokio::time::advance(LONGEST).await;
    server.set(Behaviour::Answers);
    assert!(asked(&client, &server).await);
}

#[tokio::test(start_paused = true)]
async fn another_network_is_another_chance() {
    let (_, server, client) = set_up(Behaviour::Fails(ErrorKind::Protocol));
    assert!(!asked(&client, &server).await);
    assert_eq!(spared(&client, &server).await, ErrorKind::Protocol);
    client.on_network_changed(NetworkKind::Cellular, false);
    server.set(Behaviour::Answers);
    assert!(asked(&client, &server).await);
}

#[tokio::test(start_paused = true)]
async fn a_server_with_another_bundle_or_a_locked_door_is_asked_once() {
    for kind in [
        ErrorKind::BundleMismatch,
        ErrorKind::NotFound,
        ErrorKind::Unauthorized,
    ] {
        let (device, server, client) = set_up(Behaviour::Fails(kind));
        asked(&client, &server).await;
        for _ in 0..4 {
            tokio::time::advance(Duration::from_hours(1)).await;
            client.on_network_changed(NetworkKind::Wifi, false);
            assert_eq!(spared(&client, &server).await, kind);
        }
        device.fails.store(true, Ordering::SeqCst);
        let error = client.infer(stage(&client)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Runtime);
        assert_eq!(server.calls(), 1, "{kind}: not even as a last resort");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_server_does_not_take_is_not_sent_again() {
    for kind in [
        ErrorKind::TooLarge,
        ErrorKind::UnsupportedActivation,
        ErrorKind::InvalidArgument,
        ErrorKind::InvalidActivation,
        ErrorKind::InvalidImage,
    ] {
        let (device, server) = (
            Arc::new(Device::default()),
            Server::new(Behaviour::Fails(kind)),
        );
        let config = ClientConfig {
            plan: Some(split(1)),
            ..config()
        };
        let client = client(&device, Some(&server), config).unwrap();
        asked(&client, &server).await;
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(spared(&client, &server).await, kind);
        // Only this kind of message is wrong: the photo goes where nobody else answers.
        server.set(Behaviour::Answers);
        device.fails.store(true, Ordering::SeqCst);
        assert!(asked(&client, &server).await, "{kind}");
    }
}

/// Waits are drawn at random: of one client by chance few or many fall into the seconds in which the server is up.
#[tokio::test(start_paused = true)]
async fn a_server_that_comes_and_goes_is_not_asked_in_vain_all_the_time() {
    const CLIENTS: usize = 24;
    let (mut in_vain, mut answers) = (0, 0);
    for _ in 0..CLIENTS {
        let (_, server, client) = set_up(Behaviour::Answers);
        for tenth in 0..600 {
            let is_up = tenth / 10 % 2 == 0;
            server.set(if is_up {
                Behaviour::Answers
            } else {
                Behaviour::Fails(ErrorKind::Unreachable)
            });
            let calls = server.calls();
            let inference = client.infer(stage(&client)).await.unwrap();
            assert_right(&inference);
            let answered = inference.ran_on == RanOn::Server;
            answers += usize::from(answered);
            in_vain += usize::from(server.calls() > calls && !answered);
            tokio::time::sleep(Duration::from_millis(95)).await;
        }
    }
    // Up and down for a second each, thirty times: without a breaker, 300 of 600 are in vain.
    assert!(in_vain <= 75 * CLIENTS, "{in_vain}");
    assert!(answers >= 20 * CLIENTS, "{answers}");
}
