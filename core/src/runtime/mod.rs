//! Running spans on ONNX Runtime.

mod activation;
mod cancel;
mod executor;
mod spans;

pub use activation::{Activation, SpanTensor};
pub use cancel::{Cancel, CancelOnDrop};
pub use executor::{Executor, SpanRun};
pub use spans::{SpanOptions, SpanStore};

use crate::{Error, ErrorKind};

pub(crate) fn ort_error(error: ort::Error) -> Error {
    Error::with_source(ErrorKind::Runtime, "ONNX Runtime failed", error)
}
