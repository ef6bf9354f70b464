//! The life of one inference, from pixels to labels.

mod transport;

pub use transport::{BodyKind, ServerLoad, ServerTiming, TailAnswer, TailRequest, Transport};
