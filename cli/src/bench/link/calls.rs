//! The calls of one policy, one after the other, and what is known of each.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dyno_core::bundle::Bundle;
use dyno_core::client::{
    Client, ClientConfig, ExecutionMode, HttpOptions, HttpTransport, Inference, ServerTiming,
    Transport,
};
use dyno_core::pixels::Photo;
use dyno_core::runtime::DeviceExecutor;
use indicatif::ProgressBar;
use serde::Serialize;

use super::clock::Clock;
use super::observed::Observed;
use super::policy::Policy;
use crate::bench::service::MODEL;
use crate::slow_device::SlowDevice;

/// Threads of the device.
const THREADS: usize = 1;

/// A photo and what the whole model says of it.
pub(super) struct Sample {
    photo: Photo,
    expected: usize,
}

/// What the whole model says of each photo, on this machine as it is.
pub(super) async fn expect(bundle: &Arc<Bundle>, photos: Vec<Photo>) -> Result<Vec<Sample>> {
    let config = ClientConfig {
        mode: ExecutionMode::OnlyOnDevice,
        ..ClientConfig::default()
    };
    let executor = Arc::new(DeviceExecutor::new(bundle.clone(), THREADS)?);
    let client = Client::new(bundle, executor, None, config)?;
    let mut samples = Vec::with_capacity(photos.len());
    for photo in photos {
        let answer = client.infer_pixels(&photo.pixels()?).await?;
        let expected = top(&answer).context("a classifier gave no label")?;
        samples.push(Sample { photo, expected });
    }
    Ok(samples)
}

fn top(answer: &Inference) -> Option<usize> {
    answer.top.first().map(|label| label.index)
}

/// When a policy has made enough calls.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    Calls(usize),
    Seconds(f64),
}

/// What all policies have in common.
pub(super) struct Workload {
    pub(super) bundle: Arc<Bundle>,
    pub(super) samples: Vec<Sample>,
    pub(super) slowdown: f64,
    pub(super) pause: Duration,
    pub(super) until: Until,
    pub(super) bar: ProgressBar,
    pub(super) log: Option<CallLog>,
}

/// One call; a line of `--calls-out`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Call {
    pub(super) policy: String,
    /// In the link's time: that of its trace and outages.
    pub(super) start_ms: f64,
    /// From the decoded photo to the answer, or to the error.
    pub(super) latency_ms: f64,
    /// None if there was no answer.
    #[serde(flatten)]
    pub(super) answer: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How an answer came about.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Answer {
    plan: String,
    pub(super) ran_on: &'static str,
    /// Why the device finished what the server was asked for.
    pub(super) fallback: Option<&'static str>,
    /// Whether the whole model says the same.
    pub(super) agrees: bool,
    pub(super) bytes: usize,
    estimated_ms: f64,
    preprocess_ms: f64,
    device_ms: f64,
    pack_ms: f64,
    network_ms: f64,
    /// First to last byte of the body, by the server's clock; none if it did not answer.
    receive_ms: Option<f64>,
    queue_ms: f64,
    pub(super) server_ms: f64,
}

impl Workload {
    /// Makes the policy's calls, of a client that is new; at `server`, where it uses one. The link's
    /// time begins with it.
    pub(super) async fn call_all(
        &self,
        policy: &Policy,
        server: Option<&str>,
        clock: &Clock,
    ) -> Result<Vec<Call>> {
        clock.start();
        let device = Arc::new(DeviceExecutor::new(self.bundle.clone(), THREADS)?);
        let executor = Arc::new(SlowDevice::new(device, self.slowdown));
        let outputs = self.bundle.manifest().outputs.clone();
        let transport = match server {
            Some(url) => {
                let http = HttpTransport::new(url, outputs, HttpOptions::default())?;
                Some(Arc::new(Observed::new(http)))
            }
            None => None,
        };
        let given = transport.clone().map(|t| t as Arc<dyn Transport>);
        let client = Client::new(&self.bundle, executor, given, policy.config(MODEL))?;
        if let Err(error) = client.warm_up().await {
            // The calls say what stands in their way.
            log::info!("{}: not warmed up: {error}", policy.name);
        }
        let began = Instant::now();
        let mut calls = Vec::new();
        for sample in self.samples.iter().cycle() {
            let done = match self.until {
                Until::Calls(most) => calls.len() >= most,
                Until::Seconds(most) => began.elapsed().as_secs_f64() >= most,
            };
            if done {
                break;
            }
            if !calls.is_empty() {
                tokio::time::sleep(self.pause).await;
            }
            let call = one(&client, sample, policy, clock, transport.as_deref()).await?;
            if let Some(log) = &self.log {
                log.write(&call)?;
            }
            calls.push(call);
            self.bar.inc(1);
        }
        Ok(calls)
    }
}

async fn one(
    client: &Client,
    sample: &Sample,
    policy: &Policy,
    clock: &Clock,
    transport: Option<&Observed>,
) -> Result<Call> {
    let pixels = sample.photo.pixels()?;
    let start_ms = clock.now_ms();
    let result = client.infer_pixels(&pixels).await;
    let latency_ms = clock.now_ms() - start_ms;
    let timing = transport.and_then(Observed::take);
    let (answer, error) = match result {
        Ok(inference) => (Some(Answer::new(&inference, sample, timing)), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Call {
        policy: policy.name.clone(),
        start_ms,
        latency_ms,
        answer,
        error,
    })
}

impl Answer {
    fn new(inference: &Inference, sample: &Sample, timing: Option<ServerTiming>) -> Self {
        let times = &inference.times;
        Self {
            plan: inference.plan.to_string(),
            ran_on: inference.ran_on.as_str(),
            fallback: inference.fallback.as_ref().map(|f| f.kind.as_str()),
            agrees: top(inference) == Some(sample.expected),
            bytes: inference.bytes_up,
            estimated_ms: inference.estimated_ms,
            preprocess_ms: times.preprocess_ms,
            device_ms: times.device_ms,
            pack_ms: times.pack_ms,
            network_ms: times.network_ms,
            receive_ms: timing.map(|timing| timing.receive_ms),
            queue_ms: times.queue_ms,
            server_ms: times.server_ms,
        }
    }
}

/// The file of `--calls-out`.
pub(super) struct CallLog {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

impl CallLog {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(BufWriter::new(file)),
        })
    }

    /// Each line at once, so that a run that is interrupted leaves what it has measured.
    fn write(&self, call: &Call) -> Result<()> {
        let line = serde_json::to_string(call).context("cannot write JSON")?;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{line}")
            .and_then(|()| file.flush())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
impl Call {
    /// A call that was answered on the server, with `bytes` sent, or not at all.
    pub(super) fn made((start_ms, latency_ms): (f64, f64), answer: Option<(usize, bool)>) -> Self {
        let answer = answer.map(|(bytes, agrees)| Answer {
            plan: "photo jpeg:90".to_owned(),
            ran_on: "server",
            fallback: None,
            agrees,
            bytes,
            estimated_ms: latency_ms,
            preprocess_ms: 0.0,
            device_ms: 0.0,
            pack_ms: 0.0,
            network_ms: 0.0,
            receive_ms: None,
            queue_ms: 0.0,
            server_ms: 2.0,
        });
        Self {
            policy: "server_jpeg".to_owned(),
            start_ms,
            latency_ms,
            error: answer.is_none().then(|| "no answer".to_owned()),
            answer,
        }
    }
}
