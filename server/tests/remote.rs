//! Tails on another server: a stand-in that speaks the Open Inference Protocol's gRPC API over real
//! sockets, framed by hand, and runs the exported tails on ONNX Runtime.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[allow(dead_code, reason = "the client reads what the stand-in writes")]
#[path = "../src/remote/proto.rs"]
mod proto;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{OUTPUTS, PACKED, assert_error, client, until};
use dyno_core::bundle::{Bundle, Draft, TailBatch, TailPattern, WriteOptions};
use dyno_core::pack::Packer;
use dyno_core::pixels::PreprocessFile;
use dyno_core::runtime::{Activation, Cancel, SpanOptions, SpanStore, environment};
use dyno_core::schedule::{Codec, Precision};
use dyno_core::{Tensor, TensorData};
use dyno_server::{Config, Server};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ort::session::Session;
use ort::value::TensorRef;
use prost::Message;
use proto::{
    InferTensor, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, SERVICE, ServerReadyResponse,
    TensorMetadata,
};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

const NOT_FOUND: u8 = 5;
const DEADLINE_EXCEEDED: u8 = 4;
const INTERNAL: u8 = 13;
/// What `MLServer` 1.7 answers for a model that it lacks.
const UNKNOWN: u8 = 2;
const NOT_FOUND_BY_MLSERVER: &str =
    "Unexpected <class 'mlserver.errors.ModelNotFound'>: Model a with version  not found";

/// The shipped model, prepared as `shapes12` in a folder of bundles.
fn bundles() -> (tempfile::TempDir, Bundle) {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let folder = tempfile::tempdir().unwrap();
    let toml = std::fs::read_to_string(models.join("shapes12.toml")).unwrap();
    let silent = |_, _, _| {};
    let draft = Draft::read(&models.join("shapes12.onnx"), None, &silent).unwrap();
    let labels = std::fs::read_to_string(models.join("labels.txt")).unwrap();
    let options = WriteOptions {
        preprocess: PreprocessFile::from_toml(&toml)
            .unwrap()
            .complete(&draft.input().shape)
            .unwrap(),
        labels: labels.lines().map(str::to_owned).collect(),
        threads: 1,
        replace: false,
    };
    let bundle = draft.write(&folder.path().join("shapes12"), &options, &silent);
    (folder, bundle.unwrap())
}

/// One exported tail and its session.
struct Tail {
    session: Mutex<Session>,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

impl Tail {
    fn new(bundle: &Bundle, cut: usize) -> Self {
        let model = bundle.tail_model(cut, TailBatch::One).unwrap();
        let describe = |spec: &dyno_core::TensorSpec| TensorMetadata {
            name: spec.name.clone(),
            datatype: "FP32".into(),
            shape: spec.shape.iter().map(|&d| d.try_into().unwrap()).collect(),
        };
        let session = Session::builder(environment().unwrap())
            .unwrap()
            .with_intra_threads(1)
            .unwrap()
            .commit_from_memory(&model.onnx)
            .unwrap();
        Self {
            session: Mutex::new(session),
            inputs: model.inputs.iter().map(describe).collect(),
            outputs: model.outputs.iter().map(describe).collect(),
        }
    }

    fn run(&self, request: &ModelInferRequest, typed: bool) -> ModelInferResponse {
        let inputs = request.inputs.iter().zip(&request.raw_input_contents);
        let values: Vec<(String, Vec<usize>, Vec<f32>)> = inputs
            .map(|(input, raw)| {
                assert_eq!(input.datatype, "FP32");
                let shape = input.shape.iter().map(|&d| d.try_into().unwrap()).collect();
                let data = raw
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|c| f32::from_le_bytes(*c));
                (input.name.clone(), shape, data.collect())
            })
            .collect();
        let values: Vec<_> = values
            .iter()
            .map(|(name, shape, data)| {
                let view = TensorRef::from_array_view((shape.clone(), data.as_slice())).unwrap();
                (name.as_str(), ort::session::SessionInputValue::from(view))
            })
            .collect();
        let mut session = self.session.lock().unwrap();
        let computed = session.run(values).unwrap();
        let mut answer = ModelInferResponse {
            model_name: request.model_name.clone(),
            ..ModelInferResponse::default()
        };
        for asked in &request.outputs {
            let (shape, data) = computed[asked.name.as_str()]
                .try_extract_tensor::<f32>()
                .unwrap();
            answer.outputs.push(InferTensor {
                name: asked.name.clone(),
                datatype: "FP32".into(),
                shape: shape.to_vec(),
                contents: typed.then(|| proto::Contents {
                    fp32s: data.to_vec(),
                    ..proto::Contents::default()
                }),
            });
            if !typed {
                let raw = data.iter().flat_map(|x| x.to_le_bytes()).collect();
                answer.raw_output_contents.push(raw);
            }
        }
        answer
    }
}

/// How the stand-in behaves, and what it saw.
#[derive(Default)]
struct Script {
    unready: AtomicBool,
    /// Answers are typed instead of raw.
    typed: AtomicBool,
    /// Status instead of an answer to `ModelInfer`.
    refuse: Mutex<Option<(u8, &'static str)>>,
    /// Status for a tail that is not there.
    missing: Mutex<Option<(u8, &'static str)>>,
    /// How often it was asked whether it is ready.
    checks: AtomicUsize,
    /// Inferences never end.
    hang: AtomicBool,
    arrived: Notify,
    dropped: Arc<Notify>,
    runs: AtomicUsize,
    timeouts: Mutex<Vec<String>>,
}

struct StandIn {
    tails: BTreeMap<String, Tail>,
    script: Script,
}

impl StandIn {
    /// Has the tails behind these cuts of the bundle.
    fn new(bundle: &Bundle, cuts: &[usize]) -> Arc<Self> {
        let hash = &bundle.manifest().hash;
        let tails = cuts.iter().map(|&cut| {
            let name = TailPattern::default().of("shapes12", hash, cut);
            (name, Tail::new(bundle, cut))
        });
        Arc::new(Self {
            tails: tails.collect(),
            script: Script::default(),
        })
    }

    /// Serves at the address until the task is aborted.
    async fn serve(self: &Arc<Self>, address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let this = Arc::clone(self);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let this = Arc::clone(&this);
                let service = hyper::service::service_fn(move |request| {
                    let this = Arc::clone(&this);
                    async move { Ok::<_, Infallible>(this.answer(request).await) }
                });
                connections.spawn(async move {
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        (address, task)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<GrpcBody> {
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.headers()["te"], "trailers");
        let method = request
            .uri()
            .path()
            .strip_prefix(SERVICE)
            .unwrap()
            .to_owned();
        let timeout = request.headers().get("grpc-timeout").cloned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        // Flag of compression and length come before the message.
        assert_eq!(body[0], 0);
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap());
        assert_eq!(body.len(), 5 + usize::try_from(length).unwrap());
        let message = body.slice(5..);
        let ready = !self.script.unready.load(Ordering::SeqCst);
        match method.as_str() {
            "/ServerReady" => {
                self.script.checks.fetch_add(1, Ordering::SeqCst);
                good(&ServerReadyResponse { ready })
            }
            "/ModelReady" => {
                let asked = ModelReadyRequest::decode(message).unwrap();
                if self.tails.contains_key(&asked.name) {
                    good(&ModelReadyResponse { ready })
                } else {
                    let missing = *self.script.missing.lock().unwrap();
                    let (status, text) = missing.unwrap_or((NOT_FOUND, "no such model"));
                    bad(status, text)
                }
            }
            "/ModelMetadata" => {
                let asked = ModelMetadataRequest::decode(message).unwrap();
                let tail = &self.tails[&asked.name];
                good(&ModelMetadataResponse {
                    name: asked.name,
                    inputs: tail.inputs.clone(),
                    outputs: tail.outputs.clone(),
                })
            }
            "/ModelInfer" => {
                let timeout = timeout.expect("a deadline").to_str().unwrap().to_owned();
                self.script.timeouts.lock().unwrap().push(timeout);
                self.script.runs.fetch_add(1, Ordering::SeqCst);
                if self.script.hang.load(Ordering::SeqCst) {
                    let _dropped = NotifyOnDrop(Arc::clone(&self.script.dropped));
                    self.script.arrived.notify_one();
                    std::future::pending::<()>().await;
                }
                if let Some((status, text)) = *self.script.refuse.lock().unwrap() {
                    return bad(status, text);
                }
                let asked = ModelInferRequest::decode(message).unwrap();
                let typed = self.script.typed.load(Ordering::SeqCst);
                match self.tails.get(&asked.model_name) {
                    Some(tail) => good(&tail.run(&asked, typed)),
                    None => bad(NOT_FOUND, "no such model"),
                }
            }
            other => panic!("{other} is not part of the protocol"),
        }
    }
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

type GrpcBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

fn good(message: &impl Message) -> Response<GrpcBody> {
    let message = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    respond(vec![Frame::data(framed.into()), Frame::trailers(trailers)])
}

fn bad(status: u8, text: &'static str) -> Response<GrpcBody> {
    let mut response = respond(Vec::new());
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(u16::from(status)));
    headers.insert("grpc-message", HeaderValue::from_static(text));
    response
}

fn respond(frames: Vec<Frame<Bytes>>) -> Response<GrpcBody> {
    let frames = futures_util::stream::iter(frames.into_iter().map(Ok));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

struct Edge {
    addr: SocketAddr,
    client: reqwest::Client,
    hash: String,
    _stop: oneshot::Sender<()>,
}

/// A server for the bundles; with an address, another one runs the tails.
async fn edge(bundles: &Path, tail_engine: Option<SocketAddr>) -> Edge {
    let mut config = Config::new(PathBuf::from(bundles));
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.tail_engine = tail_engine.map(|address| format!("grpc://{address}"));
    let server = Server::bind(config).await.unwrap();
    let addr = server.local_addr();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    let client = client();
    let url = format!("http://{addr}/v1/models");
    let models = common::json(client.get(url).send().await.unwrap()).await;
    Edge {
        addr,
        client,
        hash: models["models"][0]["hash"].as_str().unwrap().to_owned(),
        _stop: stop,
    }
}

impl Edge {
    async fn is_ready(&self) -> bool {
        let url = format!("http://{}/v2/health/ready", self.addr);
        self.client.get(url).send().await.unwrap().status() == 200
    }

    fn ask(&self, body: Vec<u8>) -> reqwest::RequestBuilder {
        let url = format!("http://{}/v1/models/shapes12/infer", self.addr);
        self.client
            .post(url)
            .header("content-type", PACKED)
            .header("dyno-bundle", &self.hash)
            .header("accept", OUTPUTS)
            .body(body)
    }

    async fn outputs(&self, body: Vec<u8>) -> Vec<u8> {
        let answer = self.ask(body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
        answer.bytes().await.unwrap().to_vec()
    }
}

/// What a phone sends at a cut, of a smooth picture.
fn packed(bundle: &Arc<Bundle>, cut: usize) -> Vec<u8> {
    let input = &bundle.manifest().input;
    let elements = (0..input.elements()).map(|i| ((i % 977) as f32 / 488.0) - 1.0);
    let data = TensorData::F32(elements.collect());
    let tensor = Tensor::new(input.shape.clone(), data).unwrap();
    let mut activation = Activation::new(0, vec![tensor]);
    if cut > 0 {
        let options = SpanOptions {
            threads: 1,
            capacity: 1,
        };
        let heads = SpanStore::new(Arc::clone(bundle), options).unwrap();
        activation = heads.run(activation, cut, &Cancel::new()).unwrap().output;
    }
    let row = &bundle.manifest().cuts[cut];
    let mut packer = Packer::default();
    let elements = activation.as_f32().unwrap();
    packer
        .pack(row, &elements, Precision::Raw, Codec::Lz4)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tails_elsewhere_answer_as_tails_here() {
    let (folder, bundle) = bundles();
    let bundle = Arc::new(bundle);
    let last = bundle.manifest().last_cut();
    let cuts = [0, last / 2, last - 1];
    let stand_in = StandIn::new(&bundle, &cuts);
    let (address, _serving) = stand_in.serve("127.0.0.1:0".parse().unwrap()).await;
    let there = edge(folder.path(), Some(address)).await;
    let here = edge(folder.path(), None).await;
    until(async || there.is_ready().await && here.is_ready().await).await;

    for typed in [false, true] {
        stand_in.script.typed.store(typed, Ordering::SeqCst);
        for cut in cuts {
            let body = packed(&bundle, cut);
            assert_eq!(
                there.outputs(body.clone()).await,
                here.outputs(body).await,
                "cut {cut}"
            );
        }
    }
    assert_eq!(stand_in.script.runs.load(Ordering::SeqCst), 2 * cuts.len());
    // Ten seconds is the longest deadline unless configured otherwise.
    for timeout in &*stand_in.script.timeouts.lock().unwrap() {
        let micros: u64 = timeout.strip_suffix('u').unwrap().parse().unwrap();
        assert!((1..=10_000_000).contains(&micros), "{timeout}");
    }

    let missing = (1..last).find(|cut| !cuts.contains(cut)).unwrap();
    let refused = there.ask(packed(&bundle, missing)).send().await.unwrap();
    let text = assert_error(refused, 415, "unsupported_activation").await;
    assert!(text.contains(&format!("cuts 0, {}", last / 2)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_there_are_told_apart_and_told_to_nobody() {
    let (folder, bundle) = bundles();
    let stand_in = StandIn::new(&bundle, &[0]);
    let (address, _serving) = stand_in.serve("127.0.0.1:0".parse().unwrap()).await;
    let edge = edge(folder.path(), Some(address)).await;
    until(async || edge.is_ready().await).await;
    let body = packed(&Arc::new(bundle), 0);
    let secret = "secret detail";
    for (status, said, code, kind) in [
        (8, secret, 503, "overloaded"),
        (NOT_FOUND, secret, 503, "overloaded"),
        (UNKNOWN, NOT_FOUND_BY_MLSERVER, 503, "overloaded"),
        (UNKNOWN, secret, 500, "runtime"),
        (DEADLINE_EXCEEDED, secret, 504, "deadline_exceeded"),
        (INTERNAL, secret, 500, "runtime"),
        (3, secret, 500, "runtime"),
    ] {
        *stand_in.script.refuse.lock().unwrap() = Some((status, said));
        let answer = edge.ask(body.clone()).send().await.unwrap();
        let text = assert_error(answer, code, kind).await;
        assert!(!text.contains("secret"), "{text}");
        assert!(!text.contains("mlserver"), "{text}");
    }
    *stand_in.script.refuse.lock().unwrap() = None;
    edge.outputs(body.clone()).await;

    stand_in.script.hang.store(true, Ordering::SeqCst);
    let late = edge.ask(body.clone()).header("dyno-deadline-ms", "50");
    let late = tokio::spawn(late.send());
    stand_in.script.arrived.notified().await;
    assert_error(late.await.unwrap().unwrap(), 504, "deadline_exceeded").await;
    stand_in.script.dropped.notified().await;

    let gone = tokio::spawn(edge.ask(body).send());
    stand_in.script.arrived.notified().await;
    gone.abort();
    tokio::time::timeout(common::PATIENCE, stand_in.script.dropped.notified())
        .await
        .expect("a call whose client is gone is dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_other_server() {
    let (folder, bundle) = bundles();
    let stand_in = StandIn::new(&bundle, &[0]);
    // An address that nobody has yet.
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let edge = edge(folder.path(), Some(address)).await;
    let body = packed(&Arc::new(bundle), 0);
    assert!(!edge.is_ready().await);
    let early = edge.ask(body.clone()).send().await.unwrap();
    assert_error(early, 503, "overloaded").await;

    let (_, serving) = stand_in.serve(address).await;
    until(async || edge.is_ready().await).await;
    edge.outputs(body.clone()).await;

    stand_in.script.unready.store(true, Ordering::SeqCst);
    until(async || !edge.is_ready().await).await;
    stand_in.script.unready.store(false, Ordering::SeqCst);
    until(async || edge.is_ready().await).await;

    serving.abort();
    until(async || !edge.is_ready().await).await;
    let late = edge.ask(body.clone()).send().await.unwrap();
    assert_error(late, 503, "overloaded").await;
    let _serving = stand_in.serve(address).await;
    until(async || edge.is_ready().await).await;
    edge.outputs(body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_as_it_was_is_logged_once() {
    let (folder, bundle) = bundles();
    let stand_in = StandIn::new(&bundle, &[0]);
    let script = &stand_in.script;
    *script.missing.lock().unwrap() = Some((INTERNAL, "out of order"));
    let (address, serving) = stand_in.serve("127.0.0.1:0".parse().unwrap()).await;
    let written = tempfile::NamedTempFile::new().unwrap();
    let log = tracing_subscriber::fmt()
        .with_writer(Arc::new(written.reopen().unwrap()))
        .finish();
    // The process's, for checks are made on several threads; other tests have other addresses.
    tracing::subscriber::set_global_default(log).unwrap();
    let server = format!("grpc://{address}");
    let lines = |text: &str| {
        let log = std::fs::read_to_string(written.path()).unwrap();
        let about = log.lines().filter(|line| line.contains(&server));
        about.filter(|line| line.contains(text)).count()
    };
    // A check has ended when the next has begun.
    let whole_check = async || {
        let before = script.checks.load(Ordering::SeqCst);
        until(async || script.checks.load(Ordering::SeqCst) > before + 1).await;
    };

    let edge = edge(folder.path(), Some(address)).await;
    until(async || edge.is_ready().await).await;
    whole_check().await;
    assert_eq!(lines("out of order"), bundle.manifest().last_cut() - 1);

    *script.missing.lock().unwrap() = Some((UNKNOWN, NOT_FOUND_BY_MLSERVER));
    whole_check().await;
    assert_eq!(lines("ModelNotFound"), 0);

    serving.abort();
    // A check that it has answered half of leaves out tails first.
    until(async || lines("does not answer") > 0).await;
    until(async || !edge.is_ready().await).await;
    let _serving = stand_in.serve(address).await;
    until(async || edge.is_ready().await).await;
    assert_eq!(lines("does not answer"), 1);
}

#[tokio::test]
async fn an_address_that_is_none_is_said_at_the_start() {
    let (folder, _) = bundles();
    for address in [
        "",
        "host:1",
        "ftp://host:1",
        "grpc://host",
        "grpc://host:1/path",
    ] {
        let mut config = Config::new(PathBuf::from(folder.path()));
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.tail_engine = Some(address.into());
        let refused = Server::bind(config).await.unwrap_err();
        assert!(
            refused.to_string().contains("--tail-engine"),
            "{address}: {refused}"
        );
    }
}
