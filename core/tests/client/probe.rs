//! A link that has driven the plan to the device is probed now and then, by calls, for nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{Behaviour, Device, Server, assert_right, client, config, stage};
use dyno_core::ErrorKind;
use dyno_core::client::{Client, ClientConfig, RanOn};
use dyno_core::schedule::{Metric, NetworkKind, Objective, Plan};

const SECOND: Duration = Duration::from_secs(1);

/// A client that has found its link slow, and stays on the device; whether its last call sent a probe hangs on how
/// long this machine took for it, so that probes are counted from here.
async fn driven_away() -> (Arc<Device>, Arc<Server>, Client) {
    let (device, server) = (Arc::new(Device::default()), Server::new(Behaviour::Answers));
    let config = ClientConfig {
        objective: Objective::minimal(Metric::Latency),
        ..config()
    };
    let client = client(&device, Some(&server), config).unwrap();
    assert_ne!(infer(&client).await, RanOn::Device, "the link is good");
    server.set(Behaviour::AnswersAfter(Duration::from_millis(900)));
    for _ in 0..50 {
        let inference = client.infer(stage(&client)).await.unwrap();
        if inference.plan == Plan::Device && inference.fallback.is_none() {
            tokio::time::sleep(SECOND * 2).await;
            server.probes.store(0, Ordering::SeqCst);
            return (device, server, client);
        }
        tokio::time::sleep(SECOND).await;
    }
    panic!("still not driven away");
}

async fn infer(client: &Client) -> RanOn {
    let inference = client.infer(stage(client)).await.unwrap();
    assert_right(&inference);
    inference.ran_on
}

fn probes(server: &Server) -> usize {
    server.probes.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_good_again_is_found_to_be() {
    let (_, server, client) = driven_away().await;
    server.set(Behaviour::Answers);
    let mut seconds = 0;
    while infer(&client).await == RanOn::Device {
        seconds += 1;
        assert!(seconds < 20, "not found after {} probes", probes(&server));
        tokio::time::sleep(SECOND).await;
    }
    assert!((1..=3).contains(&probes(&server)), "{}", probes(&server));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_stays_slow_is_asked_now_and_then() {
    let (_, server, client) = driven_away().await;
    let calls = server.calls();
    for _ in 0..60 {
        infer(&client).await;
        tokio::time::sleep(SECOND).await;
    }
    // How often exactly, `schedule::Probing` tests.
    assert!((10..=30).contains(&probes(&server)), "{}", probes(&server));
    assert_eq!(server.calls(), calls, "no inference is tried");
}

#[tokio::test(start_paused = true)]
async fn no_calls_no_probes() {
    let (_, server, client) = driven_away().await;
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(probes(&server), 0);
    infer(&client).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(probes(&server), 1);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_cost_money_are_not_spent_on_probes() {
    let (_, server, client) = driven_away().await;
    for (kind, metered) in [(NetworkKind::Other, true), (NetworkKind::None, false)] {
        client.on_network_changed(kind, metered);
        for _ in 0..30 {
            infer(&client).await;
            tokio::time::sleep(SECOND).await;
        }
        assert_eq!(probes(&server), 0, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_and_none_after_the_client() {
    let (_, server, client) = driven_away().await;
    server.set(Behaviour::Hangs);
    tokio::time::sleep(SECOND * 3).await;
    for _ in 0..5 {
        infer(&client).await;
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(probes(&server), 1, "it hangs for six seconds");
    drop(client);
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(Arc::strong_count(&server), 1, "nothing holds the transport");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_is_a_failure() {
    let (_, server, client) = driven_away().await;
    server.set(Behaviour::Fails(ErrorKind::Unreachable));
    tokio::time::sleep(SECOND * 3).await;
    infer(&client).await;
    tokio::time::sleep(SECOND / 4).await;
    assert_eq!(probes(&server), 1);
    let calls = server.calls();
    for _ in 0..120 {
        infer(&client).await;
        tokio::time::sleep(SECOND).await;
    }
    assert!(probes(&server) <= 10, "{}", probes(&server));
    assert!(server.calls() - calls <= 8, "{}", server.calls() - calls);
}

#[tokio::test(start_paused = true)]
async fn warming_up_opens_the_window_of_a_fast_link() {
    // Not of one that does not answer the first probe soon.
    for (behaviour, expected) in [(Behaviour::Answers, 2), (Behaviour::Hangs, 1)] {
        let (device, server) = (Arc::new(Device::default()), Server::new(behaviour));
        let client = client(&device, Some(&server), config()).unwrap();
        client.warm_up().await.unwrap();
        assert_eq!(probes(&server), expected);
    }
}
