//! A server with a folder of bundles of its own, whose content a test changes.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dyno_server::{Config, MetricsListen, Reloader, Server};
use reqwest::{Client, Response};
use tokio::sync::oneshot;

use super::shapes::{Version, photo, put, versions};
use super::{OUTPUTS, PACKED, client, json, until};

pub const MODEL: &str = "shapes";
const FOR_EVER: Duration = Duration::from_hours(24);

/// A server with a folder of bundles of its own.
pub struct Bed {
    root: tempfile::TempDir,
    base: String,
    client: Client,
    pub reloader: Reloader,
    metrics: String,
    _stop: oneshot::Sender<()>,
}

impl Bed {
    /// Serves these bundles, and looks for others when it is told to.
    pub async fn start(bundles: &[(&str, &Path)], configure: impl FnOnce(&mut Config)) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (name, bundle) in bundles {
            put(bundle, &root.path().join(name));
        }
        let mut config = Config::new(root.path());
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.workers = NonZeroU16::new(2);
        config.threads = NonZeroU16::new(2);
        config.max_in_flight = NonZeroU16::new(64);
        config.reload_interval = Duration::ZERO;
        config.keep_old_versions = FOR_EVER;
        // A busy machine is no reason to refuse: tests tell refusals from losses.
        config.max_queue_wait = Some(FOR_EVER);
        config.max_deadline = FOR_EVER;
        config.metrics_listen = MetricsListen::At("127.0.0.1:0".parse().unwrap());
        configure(&mut config);
        let server = Server::bind(config).await.unwrap();
        let base = format!("http://{}", server.local_addr());
        let reloader = server.reloader();
        let metrics = format!("http://{}/metrics", server.metrics_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let bed = Self {
            root,
            base,
            client: client(),
            reloader,
            metrics,
            _stop: stop,
        };
        until(async || bed.is_ready().await).await;
        bed
    }

    pub fn place(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub async fn is_ready(&self) -> bool {
        self.get("/v2/health/ready").await.status() == 200
    }

    pub async fn get(&self, path: &str) -> Response {
        let url = format!("{}{path}", self.base);
        self.client.get(url).send().await.unwrap()
    }

    /// The hash that the model's description has; none if there is no such model.
    pub async fn hash(&self, name: &str) -> Option<String> {
        let answer = self.get(&format!("/v1/models/{name}")).await;
        if answer.status() == 404 {
            return None;
        }
        let header = answer.headers()["dyno-bundle"].to_str().unwrap().to_owned();
        assert_eq!(json(answer).await["hash"], header.as_str());
        Some(header)
    }

    /// How many bundles were refused, by the server's metrics.
    pub async fn refused(&self) -> u64 {
        let client = Client::builder().http1_only().no_proxy().build().unwrap();
        let metrics = client.get(&self.metrics).send().await.unwrap();
        let text = metrics.text().await.unwrap();
        let series = "dyno_reload_failures_total{what=\"bundles\"} ";
        let mut lines = text.lines();
        let count = lines.find_map(|line| line.strip_prefix(series));
        count.unwrap().parse().unwrap()
    }

    pub async fn until_hash(&self, name: &str, hash: Option<&str>) {
        until(async || self.hash(name).await.as_deref() == hash).await;
    }

    pub async fn photo(&self, name: &str, hash: Option<&str>) -> Response {
        let url = format!("{}/v1/models/{name}/infer", self.base);
        let mut post = self.client.post(url).body(photo());
        post = post
            .header("content-type", "image/jpeg")
            .header("accept", OUTPUTS);
        if let Some(hash) = hash {
            post = post.header("dyno-bundle", hash);
        }
        post.send().await.unwrap()
    }

    pub async fn packed(&self, name: &str, version: &Version, which: usize) -> Response {
        let url = format!("{}/v1/models/{name}/infer", self.base);
        let post = self.client.post(url).body(version.packed[which].clone());
        let post = post
            .header("content-type", PACKED)
            .header("dyno-bundle", &version.hash);
        post.send().await.unwrap()
    }

    /// Answers of a version to the photo and to each packed activation.
    pub async fn expected(&self, name: &str, version: &Version) -> Vec<Vec<f32>> {
        let mut all = vec![answer(self.photo(name, None).await, &version.hash).await];
        for which in 0..version.packed.len() {
            all.push(answer(self.packed(name, version, which).await, &version.hash).await);
        }
        all
    }
}

/// The outputs, which are this version's by the answer's header.
pub async fn answer(response: Response, hash: &str) -> Vec<f32> {
    assert_eq!(response.status(), 200, "{response:?}");
    assert_eq!(response.headers()["dyno-bundle"], hash);
    let body = response.bytes().await.unwrap();
    let floats = body.as_chunks::<4>().0.iter();
    floats.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

pub fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| (a - b).abs() < 1e-3 * (1.0 + b.abs()))
}

pub fn bundle(version: usize) -> &'static Path {
    &versions()[version].folder
}
