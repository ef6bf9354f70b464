//! A server in this process with a scripted engine, and clients for it.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

pub mod bed;
pub mod shapes;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dyno_core::bundle::{BUNDLE_FORMAT, BundleFile, BundleHash, Cut, Manifest, Provenance};
use dyno_core::pixels::{Anchor, Colour, Fit, Layout, Preprocess};
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::{ElementType, Error, ErrorKind, Result, Tensor, TensorData, TensorSpec};
use dyno_server::{BodyKind, Config, Model, Reloader, Server, TailEngine};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Longest that a test waits for what must happen; only a failing test gets there.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const PACKED: &str = "application/vnd.dyno.activation";
pub const OUTPUTS: &str = "application/vnd.dyno.outputs";
pub const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// A token, and its hash (`printf %s sesame | sha256sum`).
pub const SESAME: &str = "sesame";
pub const SESAME_HASH: &str = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
/// Another, and its hash.
pub const ABRACADABRA: &str = "abracadabra";
pub const ABRACADABRA_HASH: &str =
    "045babdcd2118960e8c8b8e0ecf65b734686e1b18f58710c9646779f49e942ae";
pub const LOGITS: [f32; 3] = [0.0, 3.0, 1.0];

pub fn manifest(outputs: Vec<TensorSpec>, labels: &[&str]) -> Manifest {
    let input = spec("input", ElementType::F32, &[1, 3, 4, 4]);
    let cut = |index: usize, after: &str, tensors: Vec<TensorSpec>| Cut {
        index,
        after: after.into(),
        tensors,
        flops_before: 10 * index as u64,
        flops_after: 20 - 10 * index as u64,
    };
    Manifest {
        format: BUNDLE_FORMAT,
        model: "prepared".into(),
        hash: BundleHash::parse(HASH).unwrap(),
        input: input.clone(),
        outputs: outputs.clone(),
        preprocess: Preprocess {
            height: 4,
            width: 4,
            fit: Fit::Letterbox {
                pad: 0,
                anchor: Anchor::Centre,
            },
            colour: Colour::Rgb,
            layout: Layout::Nchw,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        labels: labels.iter().map(|&label| label.into()).collect(),
        cuts: vec![
            cut(0, "", vec![input]),
            cut(1, "relu", vec![spec("features", ElementType::F32, &[1, 8])]),
            cut(2, "fc", outputs),
        ],
        files: vec![BundleFile {
            name: "model.onnx".into(),
            bytes: 3,
            sha256: "0".repeat(64),
        }],
        provenance: Provenance::default(),
    }
}

pub fn classifier() -> Manifest {
    let logits = spec("logits", ElementType::F32, &[1, 3]);
    manifest(vec![logits], &["cat", "dog", "eel"])
}

pub fn segmenter() -> Manifest {
    let classes = spec("classes", ElementType::I64, &[1, 2]);
    let scores = spec("scores", ElementType::F32, &[1]);
    manifest(vec![classes, scores], &[])
}

pub fn spec(name: &str, element: ElementType, shape: &[usize]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        element,
        shape: shape.to_vec(),
    }
}

/// Bodies that say what to do.
const ORDERS: [&[u8]; 4] = [b"panic", b"broken", b"wait", b"wrong outputs"];

/// Does what the body says: see [`Fake::run`].
pub struct Fake {
    manifest: Manifest,
    events: mpsc::UnboundedSender<&'static str>,
    release: Mutex<std::sync::mpsc::Receiver<()>>,
    runs: Arc<AtomicUsize>,
    /// What the warm-up waits for.
    warm: Option<Mutex<std::sync::mpsc::Receiver<Result<()>>>>,
}

impl TailEngine for Fake {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn entry(&self, _body: &[u8], kind: BodyKind) -> Result<usize> {
        Ok(usize::from(kind == BodyKind::Packed))
    }

    fn decode(&self, body: &[u8], _kind: BodyKind, inputs: &mut Stack) -> Result<()> {
        let fail = |kind, text: &str| Err(Error::new(kind, text));
        match body {
            b"bad activation" => fail(ErrorKind::InvalidActivation, "truncated"),
            b"bad codec" => fail(ErrorKind::UnsupportedActivation, "codec 9 is unknown"),
            b"bad photo" => fail(ErrorKind::InvalidImage, "not a photo"),
            _ => inputs.push_with(|tensors| {
                let told = ORDERS.iter().zip(0..).find(|(order, _)| **order == body);
                tensors[0][0] = f32::from_bits(told.map_or(u32::MAX, |(_, order)| order));
                Ok(())
            }),
        }
    }

    fn run(&self, inputs: &Stack, _to: usize, cancel: &Cancel) -> Result<TailRun> {
        let told = inputs.get(0).unwrap()[0][0].to_bits() as usize;
        self.runs.fetch_add(1, Ordering::SeqCst);
        match ORDERS.get(told).copied().unwrap_or_default() {
            b"panic" => panic!("as told"),
            b"broken" => return Err(Error::new(ErrorKind::Runtime, "secret detail")),
            b"wait" => {
                self.events.send("entered").unwrap();
                let release = self.release.lock().unwrap();
                // The time only bounds how late a cancellation is seen.
                while release.recv_timeout(Duration::from_millis(1)).is_err() {
                    if cancel.is_cancelled() {
                        self.events.send("cancelled").unwrap();
                        cancel.check()?;
                    }
                }
            }
            b"wrong outputs" => {
                return Ok(TailRun {
                    outputs: vec![Activation::new(2, vec![])],
                    elapsed: Duration::ZERO,
                });
            }
            _ => {}
        }
        Ok(answer(&self.manifest))
    }

    fn warm_up(&self, _cancel: &Cancel) -> Result<()> {
        match &self.warm {
            Some(warm) => warm.lock().unwrap().recv().unwrap(),
            None => Ok(()),
        }
    }
}

/// A model whose warm-up ends as it is told to.
pub fn cold(name: &str) -> (Model, std::sync::mpsc::Sender<Result<()>>) {
    let (warm, told) = std::sync::mpsc::channel();
    let fake = Fake {
        manifest: classifier(),
        events: mpsc::unbounded_channel().0,
        release: Mutex::new(std::sync::mpsc::channel().1),
        runs: Arc::default(),
        warm: Some(Mutex::new(told)),
    };
    (Model::new(name, Arc::new(fake), None).unwrap(), warm)
}

fn answer(manifest: &Manifest) -> TailRun {
    let tensor = |shape: &[usize], data| Tensor::new(shape.to_vec(), data).unwrap();
    let outputs = if manifest.is_classifier() {
        vec![tensor(&[1, 3], TensorData::F32(LOGITS.to_vec()))]
    } else {
        vec![
            tensor(&[1, 2], TensorData::I64(vec![7, -1])),
            tensor(&[1], TensorData::F32(vec![0.5])),
        ]
    };
    TailRun {
        outputs: vec![Activation::new(manifest.last_cut(), outputs)],
        elapsed: Duration::from_millis(3),
    }
}

/// A running server with the models `fake` (a classifier) and `maps` (no classifier).
pub struct TestServer {
    pub addr: SocketAddr,
    /// Of its metrics, if the configuration wants any.
    pub metrics: Option<SocketAddr>,
    pub scheme: &'static str,
    pub client: Client,
    pub events: mpsc::UnboundedReceiver<&'static str>,
    pub runs: Arc<AtomicUsize>,
    release: std::sync::mpsc::Sender<()>,
    pub stop: Option<oneshot::Sender<()>>,
    pub end: JoinHandle<Result<()>>,
    pub reloader: Reloader,
    folder: tempfile::TempDir,
}

/// Starts one on a free port and waits until it is ready.
pub async fn start(configure: impl FnOnce(&mut Config)) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bundle.json"), b"{}").unwrap();
    std::fs::write(folder.path().join("model.onnx"), b"abc").unwrap();

    let (events, heard) = mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel();
    let runs = Arc::new(AtomicUsize::new(0));
    let fake = Fake {
        manifest: classifier(),
        events: events.clone(),
        release: Mutex::new(released),
        runs: Arc::clone(&runs),
        warm: None,
    };
    let maps = Fake {
        manifest: segmenter(),
        events,
        release: Mutex::new(std::sync::mpsc::channel().1),
        runs: Arc::clone(&runs),
        warm: None,
    };
    let models = vec![
        Model::new("fake", Arc::new(fake), Some(folder.path())).unwrap(),
        Model::new("maps", Arc::new(maps), None).unwrap(),
    ];
    let mut config = config();
    configure(&mut config);
    let scheme = if config.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let (addr, metrics, stop, end, reloader) = launch(config, models).await;
    let server = TestServer {
        addr,
        metrics,
        scheme,
        client: client(),
        events: heard,
        runs,
        release,
        stop: Some(stop),
        end,
        reloader,
        folder,
    };
    if scheme == "http" {
        server.until_ready().await;
    }
    server
}

/// A file of keys that has the token [`SESAME`] as `phone-1`.
pub fn keys_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("phone-1 {SESAME_HASH}\n")).unwrap();
    file
}

pub fn config() -> Config {
    let mut config = Config::new("unused");
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.workers = NonZeroU16::new(1);
    config.max_in_flight = NonZeroU16::new(4);
    config
}

pub async fn run(
    config: Config,
    models: Vec<Model>,
) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<Result<()>>) {
    let (addr, _, stop, end, _) = launch(config, models).await;
    (addr, stop, end)
}

async fn launch(
    config: Config,
    models: Vec<Model>,
) -> (
    SocketAddr,
    Option<SocketAddr>,
    oneshot::Sender<()>,
    JoinHandle<Result<()>>,
    Reloader,
) {
    let server = Server::with_models(config, models).await.unwrap();
    let addr = server.local_addr();
    let metrics = server.metrics_addr();
    let reloader = server.reloader();
    let (stop, stopped) = oneshot::channel::<()>();
    let end = tokio::spawn(server.run(async {
        // A test that ends early drops the sender: the server then stops as well.
        let _ = stopped.await;
    }));
    (addr, metrics, stop, end, reloader)
}

/// A client of its own: a new one opens a new connection.
pub fn client() -> Client {
    crypto();
    Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

pub fn crypto() {
    // The second caller finds it installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl TestServer {
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.addr)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    /// A well-formed packed request.
    pub fn infer(&self, body: impl Into<Bytes>) -> RequestBuilder {
        self.client
            .post(self.url("/v1/models/fake/infer"))
            .header("content-type", PACKED)
            .header("dyno-bundle", HASH)
            .body(body.into())
    }

    /// A packed request without headers: each test gives its own.
    pub fn bare(&self, body: impl Into<Bytes>) -> RequestBuilder {
        self.client
            .post(self.url("/v1/models/fake/infer"))
            .body(body.into())
    }

    pub async fn heard(&mut self, event: &str) {
        let heard = tokio::time::timeout(PATIENCE, self.events.recv());
        assert_eq!(heard.await.unwrap().unwrap(), event);
    }

    /// Lets one waiting run go on.
    pub fn release(&self) {
        self.release.send(()).unwrap();
    }

    pub async fn until_ready(&self) {
        until(async || {
            let ready = self.get("/v2/health/ready").send().await.unwrap();
            ready.status() == 200
        })
        .await;
    }

    pub async fn limit(&self, name: &str) -> usize {
        let metadata = json(self.get("/v1/models/fake").send().await.unwrap()).await;
        usize::try_from(metadata["limits"][name].as_u64().unwrap()).unwrap()
    }

    pub fn bundle_file(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// Tells the server to stop; the returned future is its end.
    pub fn shut_down(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Whatever came before, the server lives and answers. Paused time stands still meanwhile: the workers are threads
    /// that it does not know of, and it would be over before they have begun.
    pub async fn assert_well(&self) {
        let _still = stand_still();
        let fresh = client();
        let live = fresh.get(self.url("/v2/health/live")).send().await.unwrap();
        assert_eq!(live.status(), 200);
        let answer = self.infer("echo").send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

/// Keeps paused time from moving on by itself until the returned end is dropped, or for [`PATIENCE`]: it does not
/// while a blocking task runs.
fn stand_still() -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || {
        // Nothing is ever sent: the end that is dropped is the news.
        let _ = released.recv_timeout(PATIENCE);
    });
    release
}

/// Tries until it holds; a test that never gets there fails by its patience.
pub async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let all = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("it never held");
}

pub async fn json(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// The answer is this error, in the error form.
pub async fn assert_error(response: Response, status: u16, kind: &str) -> String {
    let got = response.status();
    let body = json(response).await;
    assert_eq!(
        (got.as_u16(), body["kind"].as_str().unwrap()),
        (status, kind),
        "{body}"
    );
    let mut keys: Vec<_> = body.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["error", "kind"]);
    let text = body["error"].as_str().unwrap();
    assert!(!text.is_empty());
    text.into()
}
