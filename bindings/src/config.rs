//! What an app decides when it opens a client.

use std::time::Duration;

use dyno_core::client::{self, HttpOptions, Token};
use dyno_core::schedule;

use crate::error::{DynoError, Result};
use crate::plan::Plan;

/// Most threads of one inference: phones have no more fast cores.
const MAX_THREADS: u32 = 16;

/// How a client behaves.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct ClientConfig {
    /// Folder of the bundle that `dyno prepare` made.
    pub bundle: String,
    /// The server; without one everything runs on the device.
    #[uniffi(default = None)]
    pub server: Option<ServerConfig>,
    /// Where an inference may run.
    pub mode: ExecutionMode,
    /// What is optimised, and the limits to keep; the default is least server time within 100 ms.
    #[uniffi(default = None)]
    pub objective: Option<Objective>,
    /// This plan instead of the planner's choice: for tests and measurements.
    #[uniffi(default = None)]
    pub plan: Option<Plan>,
    /// Labels in an answer, 1 to 100.
    #[uniffi(default = 5)]
    pub top_k: u32,
    /// Threads that run one inference together, 1 to 16.
    #[uniffi(default = 2)]
    pub threads: u32,
    /// Whether classifiers return their output tensors as well. Other models always do.
    #[uniffi(default = false)]
    pub raw_outputs: bool,
    /// Longest time that any one request is given, in milliseconds, 1 to 60000.
    #[uniffi(default = 5000)]
    pub remote_deadline_max_ms: u32,
    /// Path of ONNX Runtime's library; by its usual name if none. The first client of a process
    /// decides. Not looked at on iOS, where it is linked into the app.
    #[uniffi(default = None)]
    pub onnxruntime: Option<String>,
}

/// Where the server is, and what lets this client in.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct ServerConfig {
    /// `https://host[:port]`, or `http://` by prior knowledge of HTTP/2.
    pub url: String,
    /// Name of the model on the server, if it is not the bundle's.
    #[uniffi(default = None)]
    pub model: Option<String>,
    /// Sent as `Authorization: Bearer`.
    #[uniffi(default = None)]
    pub token: Option<String>,
    /// Certificate (PEM) of the only authority that is trusted; the system's if none.
    #[uniffi(default = None)]
    pub root_certificate_pem: Option<String>,
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig")
            .field("url", &self.url)
            .field("model", &self.model)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .finish_non_exhaustive()
    }
}

/// Where an inference may run, and what is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum ExecutionMode {
    /// Whatever is best for the objective; the device finishes what the server does not.
    Auto,
    /// The device; the server only if the device fails.
    PreferOnDevice,
    /// The server; the device if the server fails.
    PreferCloud,
    /// The device alone: the network is never touched.
    OnlyOnDevice,
    /// The server alone: an error where it cannot answer.
    OnlyCloud,
}

/// A goal and its limits.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Objective {
    /// What is optimised.
    pub goal: Goal,
    /// What is kept.
    pub limits: Limits,
}

/// How several metrics become one order of plans.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum Goal {
    /// The first decides; among plans within one per cent of its best, the next does.
    InOrder {
        /// At least one, at most five.
        metrics: Vec<Metric>,
    },
    /// Least weighted sum.
    Weighted {
        /// At least one, at most five.
        weights: Vec<WeightedMetric>,
    },
}

/// A metric and its weight.
#[derive(Debug, Clone, Copy, PartialEq, uniffi::Record)]
pub struct WeightedMetric {
    /// What is weighed.
    pub metric: Metric,
    /// Above 0.
    pub weight: f64,
}

/// What can be optimised: throughput up, all others down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum Metric {
    /// Time from the call to the answer, in milliseconds.
    Latency,
    /// Frames a second of a stream.
    Throughput,
    /// Time of the server's cores for one call, in milliseconds.
    ServerTime,
    /// Bytes sent.
    Bytes,
    /// Energy of the device, in millijoules.
    Energy,
}

/// What must hold besides; none of them unless set.
#[derive(Debug, Clone, Copy, PartialEq, Default, uniffi::Record)]
pub struct Limits {
    /// 95 of 100 calls are answered within this, in milliseconds.
    #[uniffi(default = None)]
    pub latency_ms: Option<f64>,
    /// Frames a second that a stream reaches at least.
    #[uniffi(default = None)]
    pub throughput_fps: Option<f64>,
    /// Loss of accuracy, in percentage points; needs a calibrated bundle.
    #[uniffi(default = None)]
    pub accuracy_drop_pp: Option<f64>,
    /// Time of the server's cores for one call, in milliseconds.
    #[uniffi(default = None)]
    pub server_ms: Option<f64>,
    /// Bytes of one call.
    #[uniffi(default = None)]
    pub bytes: Option<f64>,
    /// Bytes that may be sent in any 24 hours while the network is metered.
    #[uniffi(default = None)]
    pub metered_bytes_per_day: Option<u64>,
    /// Energy of one call, in millijoules.
    #[uniffi(default = None)]
    pub energy_mj: Option<f64>,
}

impl ClientConfig {
    /// As core takes it.
    pub(crate) fn to_core(&self) -> Result<client::ClientConfig> {
        let defaults = client::ClientConfig::default();
        let objective = self.objective.as_ref().map(Into::into);
        Ok(client::ClientConfig {
            mode: self.mode.into(),
            model: self.server.as_ref().and_then(|server| server.model.clone()),
            top_k: self.top_k as usize,
            plan: self.plan.as_ref().map(TryInto::try_into).transpose()?,
            objective: objective.unwrap_or(defaults.objective),
            remote_deadline_max: Duration::from_millis(self.remote_deadline_max_ms.into()),
            ..defaults
        })
    }

    /// Threads of one inference.
    pub(crate) fn checked_threads(&self) -> Result<usize> {
        if (1..=MAX_THREADS).contains(&self.threads) {
            return Ok(self.threads as usize);
        }
        Err(DynoError::invalid(format!(
            "threads must be 1 to {MAX_THREADS}, got {}",
            self.threads
        )))
    }
}

impl ServerConfig {
    /// As core takes it.
    pub(crate) fn to_core(&self) -> Result<HttpOptions> {
        Ok(HttpOptions {
            root_certificate: self.root_certificate_pem.clone().map(String::into_bytes),
            token: self.token.as_deref().map(str::parse::<Token>).transpose()?,
            ..HttpOptions::default()
        })
    }
}

impl From<ExecutionMode> for client::ExecutionMode {
    fn from(mode: ExecutionMode) -> Self {
        match mode {
            ExecutionMode::Auto => Self::Auto,
            ExecutionMode::PreferOnDevice => Self::PreferOnDevice,
            ExecutionMode::PreferCloud => Self::PreferCloud,
            ExecutionMode::OnlyOnDevice => Self::OnlyOnDevice,
            ExecutionMode::OnlyCloud => Self::OnlyCloud,
        }
    }
}

impl From<Metric> for schedule::Metric {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::Latency => Self::Latency,
            Metric::Throughput => Self::Throughput,
            Metric::ServerTime => Self::ServerTime,
            Metric::Bytes => Self::Bytes,
            Metric::Energy => Self::Energy,
        }
    }
}

impl From<&Objective> for schedule::Objective {
    fn from(objective: &Objective) -> Self {
        let goal = match &objective.goal {
            Goal::InOrder { metrics } => {
                schedule::Goal::InOrder(metrics.iter().map(|&metric| metric.into()).collect())
            }
            Goal::Weighted { weights } => schedule::Goal::Weighted(
                weights
                    .iter()
                    .map(|weighted| (weighted.metric.into(), weighted.weight))
                    .collect(),
            ),
        };
        let limits = objective.limits;
        let mut kept = schedule::Limits::default();
        kept.latency_ms = limits.latency_ms;
        kept.throughput_fps = limits.throughput_fps;
        kept.accuracy_drop_pp = limits.accuracy_drop_pp;
        kept.server_ms = limits.server_ms;
        kept.bytes = limits.bytes;
        kept.metered_bytes_per_day = limits.metered_bytes_per_day;
        kept.energy_mj = limits.energy_mj;
        Self { goal, limits: kept }
    }
}
