//! The DynO server: runs the tails of split CNNs over HTTP/2.
//!
//! One request carries a packed activation (or a photo), one answer the model's outputs. The way
//! through: `listener` (connections) → `identity` (who asks) → `routes` (protocol) → `admission`
//! (room, workers) → `engine` (decode, run). `docs/protocol.md` is the protocol, `docs/server.md` how to run it.

mod admission;
mod answer;
mod archive;
mod batch;
mod body;
mod config;
mod correlation;
mod drain;
mod engine;
mod engines;
mod errors;
mod hot_swap;
mod http1;
mod identity;
#[cfg(feature = "internals")]
pub mod internals;
mod listener;
mod metrics;
mod models;
mod observe;
mod oip;
#[cfg(feature = "otlp")]
mod otlp;
mod places;
mod registry;
mod reload;
mod remote;
mod routes;
mod server;
mod stall;
mod timing;
mod tls;

pub use config::{Config, MetricsListen, parse_duration};
pub use engine::{BodyKind, BundleEngine, TailEngine};
pub use models::Model;
pub use reload::Reloader;
pub use remote::RemoteEngine;
pub use server::Server;
