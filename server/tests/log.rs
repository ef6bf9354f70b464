//! The log: one line a request, with what an operator needs and nothing that is the user's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{
    HASH, PACKED, SESAME, SESAME_HASH, TestServer, cold, config, keys_file, start, until,
};
use dyno_server::Server;
use h2::client::SendRequest;
use serde_json::Value;
use tokio::net::TcpStream;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines about requests to the model's route.
    fn requests(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["message"] == "request")
            .filter(|line| line["route"] == "/v1/models/{model}/infer")
            .collect()
    }
}

/// How a client goes away.
enum Leaving {
    Resets,
    Disconnects,
}

/// Sends half of a body, is gone once the server has it, and leaves nothing behind.
async fn leave_during_upload(server: &TestServer, way: Leaving) {
    let load = async || {
        let probe = server
            .client
            .post(server.url("/v1/probe"))
            .bearer_auth(SESAME);
        let probe = probe.body("x").send().await.unwrap();
        probe.headers()["dyno-load"].to_str().unwrap().to_owned()
    };
    let tcp = TcpStream::connect(server.addr).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut send: SendRequest<Bytes> = send.ready().await.unwrap();
    let post = http::Request::post(server.url("/v1/models/fake/infer"))
        .header("content-type", PACKED)
        .header("dyno-bundle", HASH)
        .header("authorization", format!("Bearer {SESAME}"))
        .header("content-length", "10")
        .body(())
        .unwrap();
    let (_answer, mut body) = send.send_request(post, false).unwrap();
    body.send_data(Bytes::from_static(b"user "), false).unwrap();
    until(async || load().await.starts_with("in-flight=2,")).await;
    match way {
        Leaving::Resets => body.send_reset(h2::Reason::CANCEL),
        Leaving::Disconnects => connection.abort(),
    }
    until(async || load().await.starts_with("in-flight=1,")).await;
}

// The only test of this file: the subscriber is the thread's, and so are the server's tasks.
#[tokio::test]
async fn every_request_leaves_one_line_without_the_users_data() {
    let captured = Captured::default();
    let writer = captured.clone();
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(move || writer.clone())
        .finish();
    let _log = tracing::subscriber::set_default(log);

    let keys = keys_file();
    let mut server = start(|config| config.keys = Some(keys.path().into())).await;
    assert!(
        captured
            .text()
            .contains(&format!("listening on {}", server.addr))
    );
    let labels = server
        .infer("user bytes")
        .bearer_auth(SESAME)
        .header("x-request-id", "photo-7B")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .header("accept", "application/json");
    let answer = labels.send().await.unwrap();
    let id = answer.headers()["dyno-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(answer.text().await.unwrap().contains("dog"));
    let broken = server
        .infer("broken")
        .bearer_auth(SESAME)
        .header("x-request-id", "user data")
        .header("traceparent", "00-user-data-01");
    broken.send().await.unwrap();
    let unknown = server.url("/v1/models/in%0ajected/infer");
    let unknown = server.client.post(unknown).bearer_auth(SESAME);
    unknown.send().await.unwrap();
    let waiting = tokio::spawn(server.infer("wait").bearer_auth(SESAME).send());
    server.heard("entered").await;
    waiting.abort();
    until(async || captured.requests().len() == 4).await;
    for way in [Leaving::Resets, Leaving::Disconnects] {
        let before = captured.requests().len();
        leave_during_upload(&server, way).await;
        until(async || captured.requests().len() == before + 1).await;
    }
    let stranger = server.infer("stranger bytes").bearer_auth("abracadabra");
    stranger.send().await.unwrap();
    until(async || captured.requests().len() == 7).await;
    let in_the_address = server.get("/v1/models?access_token=sesame");
    assert_eq!(in_the_address.send().await.unwrap().status(), 400);

    let lines = captured.requests();
    assert_eq!(lines[0]["request_id"], id);
    assert_eq!(lines[0]["client_request_id"], "photo-7B");
    assert_eq!(lines[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    for id in ["client_request_id", "trace_id"] {
        assert!(lines[1].get(id).is_none(), "{id}");
    }
    assert_eq!(lines[0]["key"], "phone-1");
    assert_eq!(lines[0]["model"], "fake");
    assert_eq!(lines[0]["cut"], 1);
    assert_eq!(lines[0]["bytes"], 10);
    assert_eq!(lines[0]["status"], 200);
    assert!(lines[0].get("kind").is_none());
    assert_eq!(lines[0]["infer_ms"], 3.0);
    for time in ["receive_ms", "unpack_ms", "queue_ms", "total_ms"] {
        assert!(lines[0][time].is_number(), "{time}");
    }
    assert_eq!(
        (&lines[1]["status"], &lines[1]["kind"]),
        (&500.into(), &"runtime".into())
    );
    assert_eq!(
        (&lines[2]["status"], &lines[2]["kind"]),
        (&404.into(), &"not_found".into())
    );
    assert!(lines[2].get("model").is_none());
    assert_eq!(lines[3]["kind"], "cancelled");
    assert!(
        lines[3].get("status").is_none(),
        "nobody was there to answer"
    );
    for upload in &lines[4..6] {
        assert_eq!(upload["kind"], "cancelled", "{upload}");
        assert!(upload.get("status").is_none(), "{upload}");
        assert_eq!(upload["bytes"], 10, "{upload}");
    }
    assert_eq!(
        (&lines[6]["status"], &lines[6]["kind"]),
        (&401.into(), &"unauthorized".into())
    );
    assert_eq!(lines[6]["refused"], "an unknown token");
    assert!(lines[6].get("key").is_none() && lines[6].get("model").is_none());

    assert_audited(&captured, &lines[6]["request_id"]);
    assert_warned_of_readable_tokens(&captured, keys.path()).await;

    assert_private(&captured.text());
}

fn assert_private(text: &str) {
    assert!(
        text.contains("secret detail"),
        "the reason behind a 500 is in the log"
    );
    for private in [
        "user bytes",
        "user data",
        "stranger bytes",
        "dog",
        "jected",
        SESAME,
        SESAME_HASH,
        "abracadabra",
    ] {
        assert!(!text.contains(private), "{private}");
    }
}

/// Two were not let in: the stranger, and whoever put a token into the address.
fn assert_audited(captured: &Captured, stranger: &Value) {
    let audit: Vec<_> = captured
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["target"] == "audit")
        .collect();
    let reasons: Vec<_> = audit.iter().map(|line| &line["reason"]).collect();
    assert_eq!(reasons, ["unknown", "in_address"]);
    assert_eq!(audit[0]["request_id"], *stranger);
}

async fn assert_warned_of_readable_tokens(captured: &Captured, keys: &Path) {
    assert!(!captured.text().contains("whoever carries them"));
    let mut open = config();
    open.listen = "0.0.0.0:0".parse().unwrap();
    open.allow_plaintext = true;
    open.keys = Some(keys.into());
    Server::with_models(open, vec![cold("cold").0])
        .await
        .unwrap();
    let warned = captured.text();
    let warning = warned
        .lines()
        .find(|line| line.contains("whoever carries them"));
    assert!(warning.unwrap().contains(r#""level":"WARN""#));
}
