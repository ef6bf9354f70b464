//! The log: one line a request, with what an operator needs and nothing that is the user's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Write;
use std::sync::{Arc, Mutex};

use common::{start, until};
use serde_json::Value;

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

    let mut server = start(|_| {}).await;
    assert!(
        captured
            .text()
            .lines()
            .next()
            .unwrap()
            .contains(&server.addr.to_string())
    );
    let labels = server
        .infer("user bytes")
        .header("accept", "application/json");
    let answer = labels.send().await.unwrap();
    let id = answer.headers()["dyno-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(answer.text().await.unwrap().contains("dog"));
    server.infer("broken").send().await.unwrap();
    let unknown = server.url("/v1/models/in%0ajected/infer");
    server.client.post(unknown).send().await.unwrap();
    let waiting = tokio::spawn(server.infer("wait").send());
    server.heard("entered").await;
    waiting.abort();
    until(async || captured.requests().len() == 4).await;

    let lines = captured.requests();
    assert_eq!(lines[0]["request_id"], id);
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

    let text = captured.text();
    assert!(
        text.contains("secret detail"),
        "the reason behind a 500 is in the log"
    );
    for private in ["user bytes", "dog", "jected"] {
        assert!(!text.contains(private), "{private}");
    }
}
