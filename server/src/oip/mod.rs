//! The Open Inference Protocol v2 over REST: requests in JSON and raw bytes as programs for other
//! servers (Triton, `KServe`, `MLServer`) send them, and answers as they expect them.
//!
//! A whole model takes its input tensor and gives its outputs. `docs/oip.md` says which part of the
//! protocol there is; `request` and `json` read foreign bytes, `answer` writes, `describe` tells
//! what a model takes.
#![cfg_attr(
    not(feature = "internals"),
    allow(
        unreachable_pub,
        reason = "what fuzz targets call is public with the feature only"
    )
)]

mod answer;
mod datatype;
mod describe;
mod json;
mod request;

pub(crate) use answer::{Answer, JSON_BYTES};
pub(crate) use datatype::name_of;
pub(crate) use describe::{ModelDescription, ServerDescription};
pub(crate) use request::max_request_bytes;
pub use request::{InferRequest, Output};
