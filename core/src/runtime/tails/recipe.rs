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

use super::weights::Weights;
use crate::graph::proto::{ModelProto, StringEntry, TensorProto};
use crate::graph::span::SpanModel;
use crate::runtime::environment::{environment, tail_builder};
use crate::runtime::ort_error;
use crate::runtime::span_io::SpanIo;
use crate::{Error, ErrorKind, Result};

/// Name that the bundle's graph has for the file of its weights.
pub(super) const WEIGHTS_FILE: &str = crate::bundle::WEIGHTS_FILE;
/// The file that the written graph names for its weights; it has to exist and is never read.
const SHARED_FILE: &str = "shared";
const OPTIMISED_FILE: &str = "optimised.onnx";

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
    /// Folder for what ONNX Runtime writes.
    pub(super) folder: &'k Path,
    /// The bundle's weights, as they lie in its file.
    pub(super) source: Arc<[u8]>,
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
        let mut optimised = optimise(span, kitchen)?;
        let mut largest = 0;
        for tensor in optimised.graph.iter_mut().flat_map(|g| &mut g.initializer) {
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

/// The span as ONNX Runtime rewrites it for this machine.
fn optimise(span: &SpanModel, kitchen: &Kitchen<'_>) -> Result<ModelProto> {
    let path = kitchen.folder.join(OPTIMISED_FILE);
    let environment = environment()?;
    let build = || -> ort::Result<Session> {
        tail_builder(environment, 1)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_optimized_model_path(&path)?
            .with_external_initializer_file_in_memory(WEIGHTS_FILE, kitchen.source.clone())?
            .commit_from_memory(&span.proto.encode_to_vec())
    };
    drop(build().map_err(ort_error)?);
    let written = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", e))?;
    ModelProto::decode(bytes::Bytes::from(written)).map_err(|e| {
        Error::with_source(
            ErrorKind::Runtime,
            "ONNX Runtime wrote an optimised graph that cannot be read",
            e,
        )
    })
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
