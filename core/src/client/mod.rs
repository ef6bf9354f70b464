//! The life of one inference, from pixels to labels.

pub mod labels;
mod transport;

pub use transport::{BodyKind, ServerLoad, ServerTiming, TailAnswer, TailRequest, Transport};
