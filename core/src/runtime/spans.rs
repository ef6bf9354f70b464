//! Sessions for spans, kept in a bounded store.

use std::sync::Arc;

use super::{Activation, Cancel, SpanRun};
use crate::bundle::Bundle;
use crate::{Error, ErrorKind, Result};

/// How a store builds and keeps its spans.
#[derive(Debug, Clone)]
pub struct SpanOptions {
    /// Threads that run one inference together.
    pub threads: usize,
    /// Most spans kept; the least recently used one goes first.
    pub capacity: usize,
}

/// The spans of one bundle: built when first asked for, kept up to a capacity.
#[derive(Debug)]
pub struct SpanStore {}

impl SpanStore {
    /// A store with no spans yet. Loads ONNX Runtime if this process has not.
    pub fn new(_bundle: Arc<Bundle>, _options: SpanOptions) -> Result<Self> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }

    /// Whether the span between two cuts is at hand.
    pub fn contains(&self, _from: usize, _to: usize) -> bool {
        false
    }

    /// Builds the span between two cuts unless it is at hand. Blocking; concurrent calls for one
    /// span build it once.
    pub fn build(&self, _from: usize, _to: usize) -> Result<()> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }

    /// Runs the span from the activation's cut to cut `to`, building it first if it is missing.
    /// Blocking: call it off the async threads.
    pub fn run(&self, _input: Activation, _to: usize, _cancel: &Cancel) -> Result<SpanRun> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }
}
