//! DynO's core: everything that knows how a CNN is cut, packed, planned and run in two places.
//!
//! Data flows one way: pixels → tensor → head → activation → packed → wire → tail → labels.
//! See `ARCHITECTURE.md` for the map and the invariants.

pub mod bundle;
pub mod calibrate;
pub mod client;
mod error;
pub mod graph;
pub mod pack;
pub mod pixels;
pub mod runtime;
pub mod schedule;
mod scores;
mod tensor;

pub use error::{Error, ErrorKind, Result};
pub use tensor::{ElementType, MAX_ELEMENTS, MAX_RANK, Tensor, TensorData, TensorSpec};
