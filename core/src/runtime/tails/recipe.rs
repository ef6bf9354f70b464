//! What is kept of a tail to make sessions from: the graph as ONNX Runtime has optimised it, without
//! its weights, which all tails of the model share.
//!
//! A session that optimises a graph rearranges the weights into blocks and keeps them to itself: as
//! many copies as there are tails. So the graph is optimised once, written out, its weights moved to
//! [`Weights`], and sessions are made from what is left, as it stands. They compute the same numbers
//! in the same time (docs/adr/0018).

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights};
use ort::value::DynValue;
use prost::Message as _;

use super::optimised::optimise;
use super::weights::Weights;
use crate::graph::proto::{StringEntry, TensorProto};
use crate::graph::span::SpanModel;
use crate::runtime::environment::{environment, tail_builder};
use crate::runtime::ort_error;
use crate::runtime::span_io::SpanIo;
use crate::{Error, Result};

/// The file that the written graph names for its weights; it has to exist and is never read.
const SHARED_FILE: &str = "shared";

/// A tail that sessions can be made of.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) io: SpanIo,
    /// Whether its sessions are right for several activations together; not known until that was tried.
    pub(super) takes_batches: OnceLock<bool>,
    /// Empty if there is nothing to run.
    model: Vec<u8>,
    weights: Vec<(String, Arc<DynValue>)>,
}

/// Where recipes are made.
#[derive(Debug)]
pub(super) struct Kitchen<'k> {
    /// Where the bundle's weights lie, and for what ONNX Runtime writes.
    pub(super) folder: &'k Path,
    pub(super) shared: &'k Weights,
}

impl Recipe {
    /// `is_open` says whether the span's first dimension is open.
    pub(super) fn make(
        span: &SpanModel,
        to: usize,
        is_open: bool,
        kitchen: &Kitchen<'_>,
    ) -> Result<Self> {
        let mut recipe = Self {
            io: SpanIo::new(span, to),
            takes_batches: if is_open {
                OnceLock::new()
            } else {
                OnceLock::from(false)
            },
            model: Vec::new(),
            weights: Vec::new(),
        };
        if recipe.io.is_empty() {
            return Ok(recipe);
        }
        let (mut optimised, written) = optimise(span, kitchen.folder)?;
        let mut largest = 0;
        for tensor in optimised.graph.iter_mut().flat_map(|g| &mut g.initializer) {
            written.bring_in(tensor)?;
            if let Some(value) = kitchen.shared.share(tensor)? {
                largest = largest.max(move_out(tensor));
                recipe.weights.push((tensor.label().to_owned(), value));
            }
        }
        set_length(&kitchen.folder.join(SHARED_FILE), largest)?;
        recipe.model = optimised.encode_to_vec();
        Ok(recipe)
    }

    /// A session of its own; none if there is nothing to run.
    pub(super) fn session(
        &self,
        folder: &Path,
        threads: usize,
        prepacked: &PrepackedWeights,
    ) -> Result<Option<Session>> {
        if self.io.is_empty() {
            return Ok(None);
        }
        let environment = environment()?;
        let build = || -> ort::Result<Session> {
            let mut builder = tail_builder(environment, threads)?
                .with_optimization_level(GraphOptimizationLevel::Disable)?
                .with_prepacked_weights(prepacked)?
                .with_config_entry(
                    "session.model_external_initializers_file_folder_path",
                    folder.to_string_lossy(),
                )?;
            for (name, value) in &self.weights {
                builder = builder.with_initializer(name, value.clone())?;
            }
            builder.commit_from_memory(&self.model)
        };
        build().map(Some).map_err(ort_error)
    }
}

/// Makes a tensor refer to [`SHARED_FILE`]; returns its bytes.
fn move_out(tensor: &mut TensorProto) -> u64 {
    let bytes = tensor.raw_data.take().map_or(0, |raw| raw.len());
    let entry = |key: &str, value: String| StringEntry {
        key: Some(key.to_owned()),
        value: Some(value),
    };
    tensor.data_location = Some(TensorProto::EXTERNAL);
    tensor.external_data = vec![
        entry("location", SHARED_FILE.to_owned()),
        entry("offset", "0".to_owned()),
        entry("length", bytes.to_string()),
    ];
    bytes as u64
}

/// A file of zeros that takes no room, as long as the longest tensor that refers to it.
fn set_length(path: &Path, length: u64) -> Result<()> {
    let io = |e| Error::io(path, "write", e);
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(io)?;
    let longer = length.max(file.metadata().map_err(io)?.len());
    file.set_len(longer).map_err(io)
}
