//! DynO for Kotlin and Swift: what an app calls, and nothing else.
//!
//! A thin facade over [`dyno_core::client`]: its types mirrored as records, its calls run on one
//! runtime of the process. An inference crosses the boundary three times: the pixels are staged
//! ([`NativeClient::stage`], which borrows them), the staged frame is inferred
//! ([`NativeClient::infer`]), and let go. Nothing per layer or per tensor crosses it.
//!
//! The hand-written Kotlin (`android/`) and Swift (`ios/`) on top of the generated code are what
//! apps see; this crate follows their needs and is no API of its own. `docs/adr/0017` has the
//! reasons.

mod client;
mod config;
mod error;
mod explain;
mod frame;
mod inference;
mod jni_door;
mod network;
mod plan;
mod runtime;
mod stats;
mod stream;
mod tickets;

pub use client::{ModelInfo, NativeClient};
pub use config::{
    ClientConfig, ExecutionMode, Goal, Limits, Metric, Objective, ServerConfig, WeightedMetric,
};
pub use error::{DynoError, ErrorKind};
pub use explain::{ExplainedPlan, Explanation};
pub use frame::{Frame, Orientation, PixelFormat, PixelLayout, Region, YuvColour, YuvLayout};
pub use inference::{ElementType, Fallback, Inference, Label, OutputTensor, RanOn, StageTimes};
pub use network::NetworkKind;
pub use plan::Plan;
pub use stats::{DynoStats, StatsListener};
pub use stream::{InferStream, Keep, StreamAnswer, StreamOptions, StreamedInference};

uniffi::setup_scaffolding!();
