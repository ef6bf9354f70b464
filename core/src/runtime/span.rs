//! One session: the nodes between two cuts, ready to run.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::session::Session;
use prost::Message;

use super::activation::Activation;
use super::environment::{SessionOptions, session};
use super::span_io::{SpanIo, zeros};
use super::{Cancel, SpanRun};
use crate::Result;
use crate::graph::span::SpanModel;

/// A session and how its values relate to the tensors of the cuts on both sides.
#[derive(Debug)]
pub(crate) struct Span {
    /// ONNX Runtime's `Run` is called by one thread at a time; the lock is never held across an
    /// await, because only blocking code takes it.
    session: Mutex<Option<Session>>,
    io: SpanIo,
}

impl Span {
    /// Builds the session and runs it once: a first run takes several times as long as the others,
    /// and nobody waits for this one. Takes about four times as long as running it.
    pub(crate) fn build(
        model: &SpanModel,
        to: usize,
        threads: usize,
        weights_folder: &Path,
    ) -> Result<Self> {
        let io = SpanIo::new(model, to);
        let session = if io.is_empty() {
            None
        } else {
            let options = SessionOptions {
                threads,
                optimise: true,
                weights_folder: Some(weights_folder),
            };
            Some(session(&model.proto.encode_to_vec(), options)?)
        };
        let span = Self {
            session: Mutex::new(session),
            io,
        };
        span.run(zeros(&model.entry)?, &Cancel::new())?;
        Ok(span)
    }

    /// Runs the span. Waits for another thread's run of the same span to end.
    pub(crate) fn run(&self, input: Activation, cancel: &Cancel) -> Result<SpanRun> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let (output, elapsed) = self.io.run(session.as_mut(), input, cancel)?;
        Ok(SpanRun { output, elapsed })
    }
}
