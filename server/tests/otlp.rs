//! Traces, as a collector gets them over a real socket; and what becomes of requests when it is not well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{HASH, PATIENCE, SESAME, TestServer, keys_file, start, until};
use dyno_server::{Config, MetricsListen};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::net::TcpListener;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// What a server keeps when nobody takes it: its queue, and the batch that is on its way.
const KEPT: usize = 2048 + 256;

/// What a collector does with a message.
#[derive(Clone)]
enum Act {
    Take,
    /// All but so many spans of it.
    TakeBut(i64),
    Answer(u16),
    /// Says nothing, ever.
    Stall,
}

/// One message, as it came.
struct Got {
    path: String,
    headers: HeaderMap,
    bytes: Bytes,
}

/// A collector on a free port.
#[derive(Clone)]
struct Collector {
    addr: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    /// What it does next; then it takes everything.
    acts: Arc<Mutex<VecDeque<Act>>>,
}

impl Collector {
    async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Self {
            addr: listener.local_addr().unwrap(),
            got: Arc::default(),
            acts: Arc::new(Mutex::new(acts.into_iter().collect())),
        };
        let here = collector.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let here = here.clone();
                let service = service_fn(move |request| here.clone().answer(request));
                let http = hyper::server::conn::http1::Builder::new();
                // Ends when the server goes, whichever way.
                tokio::spawn(http.serve_connection(TokioIo::new(tcp), service));
            }
        });
        collector
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let act = self.acts.lock().unwrap().pop_front();
        let act = act.unwrap_or(Act::Take);
        self.got.lock().unwrap().push(Got {
            path: parts.uri.path().into(),
            headers: parts.headers,
            bytes,
        });
        let (status, rejected) = match act {
            Act::Take => (200, None),
            Act::TakeBut(rejected) => (200, Some(rejected)),
            Act::Answer(status) => (status, None),
            Act::Stall => std::future::pending().await,
        };
        let said = ExportTraceServiceResponse {
            partial_success: rejected.map(|rejected_spans| ExportTracePartialSuccess {
                rejected_spans,
                error_message: "no".into(),
            }),
        };
        let answer = Response::builder().status(status);
        Ok(answer.body(said.encode_to_vec().into()).unwrap())
    }

    fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    fn messages(&self) -> Vec<ExportTraceServiceRequest> {
        let got = self.got.lock().unwrap();
        let message = |got: &Got| ExportTraceServiceRequest::decode(got.bytes.clone()).unwrap();
        got.iter().map(message).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let resources = self.messages().into_iter().flat_map(|m| m.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// The spans of requests.
    fn requests(&self) -> Vec<Span> {
        let is_request = |span: &Span| span.kind() == SpanKind::Server;
        self.spans().into_iter().filter(is_request).collect()
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn traced(url: String, ratio: f64) -> TestServer {
    start(move |config: &mut Config| {
        config.otlp_endpoint = Some(url);
        config.otlp_sample = ratio;
        config.metrics_listen = MetricsListen::At("127.0.0.1:0".parse().unwrap());
    })
    .await
}

async fn end(mut server: TestServer) {
    server.shut_down();
    let end = tokio::time::timeout(PATIENCE, server.end);
    end.await.unwrap().unwrap().unwrap();
}

/// Asks for the list of models so often; each is answered.
async fn ask(server: &TestServer, times: usize) {
    let asked = stream::iter(0..times).map(|_| server.get("/v1/models").send());
    let answered = asked.buffer_unordered(16);
    let well = answered.filter(|answer| {
        let is_well = answer.as_ref().is_ok_and(|answer| answer.status() == 200);
        async move { is_well }
    });
    assert_eq!(well.count().await, times);
}

/// A counter of the metrics.
async fn counted(server: &TestServer, series: &str) -> usize {
    let url = format!("http://{}/metrics", server.metrics.unwrap());
    let client = reqwest::Client::builder().http1_only().no_proxy();
    let text = client.build().unwrap().get(url).send().await.unwrap();
    let text = text.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("{text}"))
        .trim()
        .parse()
        .unwrap()
}

fn lost(reason: &str) -> String {
    format!("dyno_spans_lost_total{{reason=\"{reason}\"}}")
}

/// Attributes as they read.
fn said(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |said: &KeyValue| match said.value.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes
        .iter()
        .map(|a| (a.key.as_str(), text(a)))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

#[tokio::test]
async fn a_request_is_the_child_of_its_callers_span_and_has_its_stages() {
    let collector = Collector::start([]).await;
    let server = traced(collector.url(), 0.0).await;
    let answer = server
        .infer("echo")
        .header("traceparent", traceparent("01"));
    let answer = answer.send().await.unwrap();
    let id = answer.headers()["dyno-request-id"].to_str().unwrap();
    // Draining sends what has not been sent, and does not wait for more to go with it.
    end(server).await;

    let got = collector.got.lock().unwrap().pop().unwrap();
    assert_eq!(got.path, "/v1/traces");
    assert_eq!(got.headers["content-type"], "application/x-protobuf");
    collector.got.lock().unwrap().push(got);
    let message = collector.messages().remove(0);
    let resource = message.resource_spans[0].resource.clone().unwrap();
    let resource = said(&resource.attributes);
    assert_eq!(resource["service.name"], "dyno-server");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));

    let spans = collector.spans();
    let span = &spans[0];
    assert_eq!(span.name, "POST /v1/models/{model}/infer");
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!(span.flags, 0x301, "sampled, of a remote parent");
    assert!(span.status.is_none());
    assert_eq!(
        said(&span.attributes),
        BTreeMap::from([
            ("dyno.batch", "1".into()),
            ("dyno.cut", "1".into()),
            ("dyno.model", "fake".into()),
            ("dyno.request_id", id.into()),
            ("http.request.body.size", "4".into()),
            ("http.request.method", "POST".into()),
            ("http.response.status_code", "200".into()),
            ("http.route", "/v1/models/{model}/infer".into()),
        ])
    );
    let stages: Vec<_> = spans[1..].iter().map(|span| span.name.as_str()).collect();
    assert_eq!(stages, ["receive", "queue", "unpack", "queue", "infer"]);
    let mut now = span.start_time_unix_nano;
    for stage in &spans[1..] {
        assert_eq!(stage.trace_id, span.trace_id);
        assert_eq!(stage.parent_span_id, span.span_id);
        assert_eq!(stage.kind(), SpanKind::Internal);
        assert_eq!(stage.start_time_unix_nano, now, "one after another");
        assert!(stage.end_time_unix_nano >= now);
        now = stage.end_time_unix_nano;
    }
    assert!(now <= span.end_time_unix_nano);
    let mut ids: Vec<_> = spans.iter().map(|span| span.span_id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "and each has an id of its own");
}

#[tokio::test]
async fn who_began_the_trace_decides_and_else_the_ratio() {
    let collector = Collector::start([]).await;
    // Nothing of what nobody traces.
    let server = traced(collector.url(), 0.0).await;
    ask(&server, 3).await;
    for flags in ["00", "01", "02"] {
        let list = server.get("/v1/models");
        let list = list.header("traceparent", traceparent(flags));
        list.send().await.unwrap();
    }
    end(server).await;
    let spans = collector.requests();
    assert_eq!(spans.len(), 1);
    assert_eq!(hex(&spans[0].parent_span_id), PARENT);
    collector.got.lock().unwrap().clear();

    // All of it, but for what others decide and for probes (`start` has sent some).
    let server = traced(collector.url(), 1.0).await;
    ask(&server, 3).await;
    let unsampled = server.get("/v1/models");
    let unsampled = unsampled.header("traceparent", traceparent("00"));
    unsampled.send().await.unwrap();
    end(server).await;
    let spans = collector.requests();
    assert_eq!(spans.len(), 3);
    for span in &spans {
        assert!(span.parent_span_id.is_empty());
        assert_eq!(span.flags, 0x101);
        assert_ne!(hex(&span.trace_id), TRACE);
    }
    collector.got.lock().unwrap().clear();

    // A quarter: 100 of 400, and by chance never so far from that (5 standard deviations).
    let server = traced(collector.url(), 0.25).await;
    ask(&server, 400).await;
    end(server).await;
    let count = collector.requests().len();
    assert!((56..=144).contains(&count), "{count}");
}

#[tokio::test]
async fn nothing_that_a_client_wrote_is_exported() {
    let keys = keys_file();
    let collector = Collector::start([]).await;
    let url = collector.url();
    let server = start(|config| {
        config.otlp_endpoint = Some(url);
        config.keys = Some(keys.path().into());
    })
    .await;
    for (body, token) in [("user bytes", SESAME), ("user bytes", "abracadabra")] {
        let request = server.infer(body).bearer_auth(token);
        let request = request
            .header("traceparent", traceparent("01"))
            .header("tracestate", "private=state")
            .header("x-request-id", "private-id")
            .header("accept", "application/json");
        request.send().await.unwrap();
    }
    for path in [
        "/v1/models/private/infer",
        "/v1/models?token=sesame",
        "/private/sesame",
    ] {
        server.get(path).bearer_auth(SESAME).send().await.unwrap();
    }
    let method = http::Method::from_bytes(b"PRIVATE").unwrap();
    let strange = server.client.request(method, server.url("/v1/models"));
    strange.bearer_auth(SESAME).send().await.unwrap();
    end(server).await;

    assert_eq!(collector.requests().len(), 6);
    for got in collector.got.lock().unwrap().iter() {
        let all = [&got.bytes[..], format!("{:?}", got.headers).as_bytes()].concat();
        let text = String::from_utf8_lossy(&all).to_lowercase();
        assert!(text.contains("/v1/models/{model}/infer"), "{text}");
        for private in [
            "sesame",
            "abracadabra",
            "user",
            "private",
            "dog",
            "phone-1",
            HASH,
        ] {
            assert!(!text.contains(private), "{private}: {text}");
        }
    }
}

#[tokio::test]
async fn a_collector_that_stalls_costs_requests_nothing_and_what_is_lost_is_counted() {
    let collector = Collector::start(vec![Act::Stall; 64]).await;
    let server = traced(collector.url(), 1.0).await;
    let beyond = 300;
    ask(&server, KEPT + beyond).await;
    assert!(counted(&server, &lost("queue_full")).await >= beyond);
    assert_eq!(counted(&server, "dyno_spans_exported_total").await, 0);
    assert_eq!(server.infer("echo").send().await.unwrap().status(), 200);
    // The end waits for it, but not for long.
    end(server).await;
}

// The subscriber is the thread's, and so are the server's tasks.
#[tokio::test]
async fn a_collector_that_is_down_costs_requests_nothing_and_is_told_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(subscriber.finish());
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let server = traced(url.clone(), 1.0).await;
    let beyond = 300;
    ask(&server, KEPT + beyond).await;
    assert!(counted(&server, &lost("queue_full")).await >= beyond);
    // Tried again for every batch that is left.
    end(server).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let said: Vec<_> = log.lines().filter(|l| l.contains("WARN")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains(&url) && said[0].contains("refused"),
        "{said:?}"
    );
}

#[tokio::test]
async fn what_is_not_taken_now_is_sent_again_and_what_is_refused_is_not() {
    let acts = [
        Act::Answer(503),
        Act::Take,
        Act::Answer(400),
        Act::TakeBut(2),
    ];
    let collector = Collector::start(acts).await;
    let server = traced(collector.url(), 1.0).await;
    let messages = async |count| until(async || collector.messages().len() == count).await;
    ask(&server, 1).await;
    messages(2).await;
    let sent = collector.messages();
    assert_eq!(sent[0], sent[1], "the same, with the same ids");
    until(async || counted(&server, "dyno_spans_exported_total").await == 1).await;

    ask(&server, 1).await;
    until(async || counted(&server, &lost("refused")).await == 1).await;
    ask(&server, 3).await;
    messages(4).await;
    until(async || counted(&server, &lost("refused")).await == 3).await;
    assert_eq!(counted(&server, "dyno_spans_exported_total").await, 2);
    for reason in ["queue_full", "undelivered", "stopping"] {
        assert_eq!(counted(&server, &lost(reason)).await, 0, "{reason}");
    }
    end(server).await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_process_takes_opentelemetrys_variables_and_sends_the_rest_on_sigterm() {
    let collector = Collector::start([]).await;
    let bundles = tempfile::tempdir().unwrap();
    common::shapes::copy(
        &common::shapes::versions()[0].folder,
        &bundles.path().join("shapes"),
    );
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dyno-server"))
        .args(["--listen", "127.0.0.1:0", "--metrics-listen", "off"])
        .args(["--log-format", "json", "--bundles"])
        .arg(bundles.path())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b")
        .env("OTEL_SERVICE_NAME", "edge")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .stdout(Stdio::piped())
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let first = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        line
    });
    let line = first.await.unwrap();
    let addr = line.trim().strip_prefix("listening on ").unwrap();
    let list = common::client().get(format!("http://{addr}/v1/models"));
    assert_eq!(list.send().await.unwrap().status(), 200);
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
    let mut status = None;
    until(async || {
        tokio::time::sleep(Duration::from_millis(5)).await;
        status = child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(status.unwrap().success(), "{log}");

    let headers = collector.got.lock().unwrap()[0].headers.clone();
    assert_eq!(headers["x-tenant"], "a b");
    let message = collector.messages().remove(0);
    let resource = message.resource_spans[0].resource.clone().unwrap();
    let resource = said(&resource.attributes);
    assert_eq!(resource["service.name"], "edge");
    assert_eq!(resource["deployment.environment.name"], "test");
    let span = collector.requests().remove(0);
    assert_eq!(span.name, "GET /v1/models");
    // The log's line leads to the trace, and tells no secret.
    for id in [hex(&span.trace_id), hex(&span.span_id)] {
        assert!(log.contains(&id), "{log}");
    }
    assert!(!log.contains("a b") && !log.contains("a%20b"), "{log}");
}
