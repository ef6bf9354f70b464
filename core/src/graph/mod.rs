//! ONNX graphs: reading them, finding where they can be cut, and taking spans out of them.

pub(crate) mod batch;
pub(crate) mod cuts;
pub(crate) mod flops;
mod fusion;
mod model;
mod normalise;
pub(crate) mod proto;
pub(crate) mod shapes;
pub(crate) mod span;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod topology;

pub use cuts::{MAX_CUT_TENSORS, MAX_CUTS};
pub use model::{MAX_MODEL_BYTES, MIN_OPSET, Model};
pub use normalise::MAX_NODES;
