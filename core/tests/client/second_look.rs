//! An answer that is in doubt is asked for again from a finer message: when, with what, and what else may happen.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{
    Behaviour, Device, LAST, Server, assert_right, config, manifest, profile, stage,
};
use dyno_core::bundle::{CALIBRATION_FORMAT, Calibration, CalibrationRow, CodecBytes, Sent};
use dyno_core::calibrate::{Doubt, Judgement, Measure};
use dyno_core::client::{BodyKind, Client, ClientConfig, Inference, Known, RanOn, Transport};
use dyno_core::pack::Shaping;
use dyno_core::schedule::{
    Codec, Levels, LinkPrior, Metric, NetworkKind, Objective, PhotoCodec, Plan, Precision,
};
use dyno_core::{ErrorKind, Result, pack};
use tokio::task::JoinHandle;

/// No answer of the arithmetic model leads by so much, and every one by more than that.
const ALWAYS: f64 = 1e6;
const NEVER: f64 = 1e-6;
const IMAGES: usize = 100;

fn plan(levels: u32) -> Plan {
    plan_at(1, levels)
}

fn plan_at(cut: usize, levels: u32) -> Plan {
    Plan::Split {
        cut,
        precision: Precision::Levels(Levels::new(levels).unwrap()),
        codec: Codec::Raw,
    }
}

/// A way of sending that changes `max_drop_pp` of the answers at most, and hardly any with a tenth in doubt.
fn row(plan: Plan, bytes: f64, max_drop_pp: f64, lead: Option<f64>) -> CalibrationRow {
    let (cut, codec) = match plan {
        Plan::Split { cut, codec, .. } => (cut, codec.to_string()),
        Plan::Photo(codec) => (0, codec.to_string()),
        _ => panic!("{plan} sends nothing"),
    };
    let doubt = |lead| Doubt {
        lead,
        share: 0.1,
        flips_pp: 0.1,
        max_drop_pp: 0.3,
    };
    CalibrationRow {
        cut,
        sent: Sent::of(&plan).unwrap(),
        images: IMAGES,
        bytes: vec![CodecBytes {
            codec,
            mean: bytes,
            p95: 1_000,
        }],
        fidelity: Judgement::Agreement {
            same: IMAGES,
            agreement: 1.0,
            lower: 0.9,
            upper: 1.0,
            flips_pp: max_drop_pp / 2.0,
            max_drop_pp,
            drop: None,
        },
        doubts: lead.map(doubt).into_iter().collect(),
    }
}

fn table(rows: Vec<CalibrationRow>) -> Calibration {
    Calibration {
        format: CALIBRATION_FORMAT,
        images: IMAGES,
        with_truth: 0,
        measure: Measure::Agreement,
        shaping: Shaping::default(),
        rows,
    }
}

/// Photos that are exact, and larger than anything else.
fn lossless() -> CalibrationRow {
    row(Plan::Photo(PhotoCodec::WebPLossless), 9_000.0, 0.0, None)
}

/// Four levels behind the first node, and 256 where the answer leads by less than `lead`: the cut is an early one, so
/// that the device has the less to do the more is sent.
fn split_table(lead: f64) -> Calibration {
    table(vec![
        row(plan(4), 80.0, 20.0, Some(lead)),
        row(plan(256), 220.0, 0.3, None),
        lossless(),
    ])
}

/// On a link on which bytes decide: the photo takes 180 ms, the device 200.
fn set_up(calibration: &Calibration, behaviour: Behaviour) -> (Arc<Device>, Arc<Server>, Client) {
    set_up_for(Metric::Latency, calibration, behaviour)
}

fn set_up_for(
    metric: Metric,
    calibration: &Calibration,
    behaviour: Behaviour,
) -> (Arc<Device>, Arc<Server>, Client) {
    let (device, server) = (Arc::new(Device::default()), Server::new(behaviour));
    let config = ClientConfig {
        link: LinkPrior {
            rtt_ms: 5.0,
            rate_bps: 9e3,
        },
        objective: Objective::minimal(metric),
        ..config()
    };
    let profile = profile();
    let known = Known {
        profile: Some(&profile),
        calibration: Some(calibration),
    };
    let transport = Some(server.clone() as Arc<dyn Transport>);
    let client = Client::from_parts(manifest(), known, device.clone(), transport, config);
    (device, server, client.unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_doubt_is_asked_for_again_and_no_node_runs_twice() {
    let (device, server, client) = set_up(&split_table(ALWAYS), Behaviour::Answers);
    let inference = client.infer(stage(&client)).await.unwrap();
    assert!(inference.second_look);
    assert_eq!(
        (inference.plan, inference.ran_on),
        (plan(256), RanOn::Split)
    );
    assert_eq!((inference.fallback, inference.levels), (None, Some(256)));
    assert_eq!(device.node_runs(), [1, 0, 0, 0]);
    let requests = server.requests.lock().unwrap();
    let [first, second] = &requests[..] else {
        panic!("{} requests", requests.len());
    };
    assert_eq!(inference.bytes_up, first.body.len() + second.body.len());
    assert!(second.body.len() > 2 * first.body.len());
    // The answer is the second one's.
    let cut = &manifest().cuts[1];
    let activation = pack::unpack(&second.body, cut).unwrap().remove(0);
    let outputs = crate::support::compute(activation, 1, LAST);
    assert_eq!(inference.outputs, [outputs]);
    assert!((inference.times.server_ms - 2.0 * 3.25).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn behind_a_late_cut_the_device_computes_what_is_in_doubt() {
    let table = table(vec![
        row(plan_at(3, 4), 80.0, 20.0, Some(ALWAYS)),
        row(plan_at(3, 256), 220.0, 0.3, None),
        lossless(),
    ]);
    // In a stream the device is busy for 155 ms a frame, the link with a photo for 171.
    let (device, server, client) = set_up_for(Metric::Throughput, &table, Behaviour::Answers);
    let staged = stage(&client);
    let look = client.explain().chosen.second_look;
    assert_eq!(
        look.map(|look| look.plan),
        Some(Plan::Device),
        "{:#?}",
        client.explain()
    );
    let inference = client.infer(staged.clone()).await.unwrap();
    assert_right(&inference);
    assert!(inference.second_look && inference.fallback.is_none());
    assert_eq!(
        (inference.plan, inference.ran_on),
        (plan_at(3, 4), RanOn::Device)
    );
    assert_eq!((server.calls(), device.node_runs()), (1, [1; LAST]));

    device.fails_tails.store(true, Ordering::SeqCst);
    client.on_network_changed(NetworkKind::Wifi, false);
    let inference = client.infer(staged).await.unwrap();
    assert_eq!(inference.ran_on, RanOn::Split, "better than none");
    let fallback = inference.fallback.unwrap();
    assert_eq!((fallback.kind, fallback.from_cut), (ErrorKind::Runtime, 3));
    assert!(fallback.message.contains("in doubt"), "{fallback:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_clear_stays() {
    let (_, server, client) = set_up(&split_table(NEVER), Behaviour::Answers);
    let inference = client.infer(stage(&client)).await.unwrap();
    assert!(!inference.second_look);
    assert_eq!((inference.plan, server.calls()), (plan(4), 1));
}

#[tokio::test(start_paused = true)]
async fn a_photo_is_sent_again_at_a_higher_quality() {
    let photo = |quality| Plan::Photo(PhotoCodec::Jpeg(quality));
    let table = table(vec![
        row(photo(5), 20.0, 20.0, Some(ALWAYS)),
        row(photo(95), 100.0, 0.3, None),
        lossless(),
    ]);
    let (device, server, client) = set_up(&table, Behaviour::Answers);
    let inference = client.infer(stage(&client)).await.unwrap();
    assert!(inference.second_look);
    assert_eq!(
        (inference.plan, inference.ran_on),
        (photo(95), RanOn::Server)
    );
    assert_eq!(device.node_runs(), [0; LAST]);
    let requests = server.requests.lock().unwrap();
    let kinds: Vec<BodyKind> = requests.iter().map(|request| request.kind).collect();
    assert_eq!(kinds, [5, 95].map(|q| BodyKind::Photo(PhotoCodec::Jpeg(q))));
}

fn infer(client: &Client) -> JoinHandle<Result<Inference>> {
    let (client, staged) = (client.clone(), stage(client));
    tokio::spawn(async move { client.infer(staged).await })
}

/// Until the request after the first answer has come, and before it is answered.
async fn second_request_arrives(server: &Server) {
    server.arrived.notified().await;
    server.arrived.notified().await;
}

#[tokio::test(start_paused = true)]
async fn where_the_second_request_fails_the_device_goes_on_from_the_cut() {
    for behaviour in [Behaviour::Fails(ErrorKind::Internal), Behaviour::Hangs] {
        let (device, server, client) = set_up(&split_table(ALWAYS), Behaviour::Answers);
        let call = infer(&client);
        second_request_arrives(&server).await;
        server.set(behaviour);
        let inference = call.await.unwrap().unwrap();
        assert_right(&inference);
        assert!(inference.second_look);
        assert_eq!(inference.fallback.unwrap().from_cut, 1);
        assert_eq!((server.calls(), device.node_runs()), (2, [1; LAST]));
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_second_request_and_the_device_fail_the_first_answer_stays() {
    let (device, server, client) = set_up(&split_table(ALWAYS), Behaviour::Answers);
    device.fails_tails.store(true, Ordering::SeqCst);
    let call = infer(&client);
    second_request_arrives(&server).await;
    server.set(Behaviour::Fails(ErrorKind::Internal));
    let inference = call.await.unwrap().unwrap();
    assert!(inference.second_look);
    let fallback = inference.fallback.unwrap();
    assert_eq!(fallback.kind, ErrorKind::Runtime);
    let said = &fallback.message;
    assert!(
        said.contains("in doubt") && said.contains("the server says"),
        "{said}"
    );
    let server_ms = inference.times.server_ms;
    assert!(
        (server_ms - 3.25).abs() < 1e-9,
        "the first one's alone: {server_ms}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_left_alone_meanwhile_is_not_asked_again() {
    let (device, server, client) = set_up(&split_table(ALWAYS), Behaviour::Answers);
    // The first call's answer comes while a second call is told that there is no room.
    server.set(Behaviour::AnswersAfter(Duration::from_millis(30)));
    let call = infer(&client);
    server.arrived.notified().await;
    tokio::time::sleep(Duration::from_millis(6)).await;
    server.set(Behaviour::Full(Duration::from_mins(1)));
    let other = infer(&client).await.unwrap().unwrap();
    assert_eq!(other.fallback.unwrap().kind, ErrorKind::Overloaded);
    server.set(Behaviour::Answers);
    let inference = call.await.unwrap().unwrap();
    assert_right(&inference);
    assert!(inference.second_look);
    assert_eq!(inference.fallback.unwrap().kind, ErrorKind::Overloaded);
    assert_eq!((server.calls(), device.node_runs()), (2, [2; LAST]));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_server_does_not_take_is_not_sent_a_second_time() {
    let (_, server, client) = set_up(&split_table(ALWAYS), Behaviour::Answers);
    let refused = ErrorKind::TooLarge;
    let call = infer(&client);
    second_request_arrives(&server).await;
    server.set(Behaviour::Fails(refused));
    assert_right(&call.await.unwrap().unwrap());
    server.set(Behaviour::Answers);
    // Nothing is known of another network's link: it is taken to be as slow as the first one was at first.
    client.on_network_changed(NetworkKind::Wifi, false);
    let next = client.infer(stage(&client)).await.unwrap();
    assert_right(&next);
    assert!(next.second_look, "{next:?}");
    assert_eq!(next.fallback.unwrap().kind, refused);
    assert_eq!(server.calls(), 3, "the coarse one is taken");
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_in_doubt_is_not_taken() {
    let late = Behaviour::AnswersAfter(Duration::from_secs(2));
    let (device, server, client) = set_up(&split_table(ALWAYS), late);
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_right(&inference);
    assert_eq!(inference.ran_on, RanOn::Device);
    let fallback = inference.fallback.unwrap();
    assert_eq!(fallback.kind, ErrorKind::DeadlineExceeded);
    assert_eq!((server.calls(), device.node_runs()), (1, [1; LAST]));
}

#[tokio::test(start_paused = true)]
async fn without_the_device_an_answer_in_doubt_is_better_than_none() {
    let late = Behaviour::AnswersAfter(Duration::from_millis(400));
    let (device, _, client) = set_up(&split_table(ALWAYS), late);
    device.fails_tails.store(true, Ordering::SeqCst);
    let inference = client.infer(stage(&client)).await.unwrap();
    assert_eq!((inference.plan, inference.ran_on), (plan(4), RanOn::Split));
}

#[tokio::test(start_paused = true)]
async fn answers_in_doubt_are_expected_more_often_after_some() {
    let (_, _, client) = set_up(&split_table(ALWAYS), Behaviour::Answers);
    let expected_bytes = || {
        let rows = client.explain().rows;
        let row = rows.iter().find(|row| row.candidate.plan == plan(4));
        row.unwrap().candidate.bytes
    };
    let before = expected_bytes();
    // Each is a network of which nothing is known, so that its link is as slow as the first one was at first.
    for kind in [NetworkKind::Wifi, NetworkKind::Cellular, NetworkKind::Other] {
        for metered in [false, true] {
            client.on_network_changed(kind, metered);
            let inference = client.infer(stage(&client)).await.unwrap();
            assert!(inference.second_look, "{kind:?} {inference:?}");
        }
    }
    assert!(expected_bytes() > before, "{before} {}", expected_bytes());
}
