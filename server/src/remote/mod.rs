//! Tails that another inference server runs (Triton, `KServe`, `MLServer`): this one stays the edge that
//! phones talk to, unpacks what they send, and forwards the tensors over the Open Inference
//! Protocol's gRPC API. `docs/oip.md` says how to set it up.

mod backoff;
mod client;
mod engine;
mod proto;
mod tail;

pub(crate) use client::Remote;
pub use engine::RemoteEngine;
