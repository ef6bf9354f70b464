//! Running spans on ONNX Runtime.
//!
//! ONNX Runtime cannot run part of a graph, so the nodes between two cuts are a session of their
//! own. Sessions are built off the hot path, kept in a bounded store, and share the weights, which
//! lie in the bundle's file.

mod activation;
mod cancel;
mod device;
mod environment;
mod executor;
#[cfg_attr(target_os = "ios", path = "library_linked.rs")]
mod library;
mod probe;
mod span;
mod span_io;
mod spans;
mod stack;
mod tails;
#[cfg(test)]
mod tests;
mod trim;

pub use activation::{Activation, SpanTensor};
pub use cancel::{Cancel, CancelOnDrop};
pub use device::DeviceExecutor;
pub use environment::{MIN_ORT_VERSION, ORT_DYLIB_PATH, environment, load};
pub use executor::{Executor, SpanRun};
pub(crate) use probe::{Probe, ProbeOutput};
pub use spans::{SpanOptions, SpanStore, SpanTimes};
pub use stack::Stack;
pub use tails::{TailOptions, TailRun, TailStore};
pub use trim::give_back_free_memory;

use crate::{Error, ErrorKind};

pub(crate) fn ort_error(error: ort::Error) -> Error {
    Error::with_source(ErrorKind::Runtime, "ONNX Runtime failed", error)
}
