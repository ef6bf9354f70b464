//! A span as ONNX Runtime rewrites it for this machine: written to files, and read back.
//!
//! The weights go to a file of their own and are read from there one at a time, and no kernel packs
//! them: with all in one file, a model of large weights was in memory six times here.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use prost::Message as _;

use super::weights::INLINE_MAX_BYTES;
use crate::graph::proto::{ModelProto, TensorProto};
use crate::graph::span::SpanModel;
use crate::runtime::environment::{environment, tail_builder};
use crate::runtime::ort_error;
use crate::{Error, ErrorKind, Result};

const GRAPH_FILE: &str = "optimised.onnx";
const WRITTEN_WEIGHTS_FILE: &str = "optimised.bin";

/// Has ONNX Runtime rewrite a span whose weights lie in `folder`, which also takes what it writes.
pub(super) fn optimise(span: &SpanModel, folder: &Path) -> Result<(ModelProto, WrittenWeights)> {
    let path = folder.join(GRAPH_FILE);
    let weights = WrittenWeights(folder.join(WRITTEN_WEIGHTS_FILE));
    let environment = environment()?;
    let build = || -> ort::Result<Session> {
        tail_builder(environment, 1)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_prepacking(false)?
            .with_optimized_model_path(&path)?
            .with_config_entry(
                "session.optimized_model_external_initializers_file_name",
                WRITTEN_WEIGHTS_FILE,
            )?
            .with_config_entry(
                "session.optimized_model_external_initializers_min_size_in_bytes",
                INLINE_MAX_BYTES.to_string(),
            )?
            .with_config_entry(
                "session.model_external_initializers_file_folder_path",
                folder.to_string_lossy(),
            )?
            .commit_from_memory(&span.proto.encode_to_vec())
    };
    drop(build().map_err(ort_error)?);
    let written = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", e))?;
    let model = ModelProto::decode(Bytes::from(written)).map_err(|e| {
        Error::with_source(
            ErrorKind::Runtime,
            "ONNX Runtime wrote an optimised graph that cannot be read",
            e,
        )
    })?;
    Ok((model, weights))
}

/// The file that an optimised graph has its large weights in; removed when dropped. There may be none.
#[derive(Debug)]
pub(super) struct WrittenWeights(PathBuf);

impl WrittenWeights {
    /// Reads a tensor's elements into the tensor, if it has them in the file.
    pub(super) fn bring_in(&self, tensor: &mut TensorProto) -> Result<()> {
        if tensor.data_location != Some(TensorProto::EXTERNAL) {
            return Ok(());
        }
        let number = |key: &str| tensor.external(key)?.parse::<u64>().ok();
        let Some((offset, length)) = number("offset").zip(number("length")) else {
            return Err(unreadable(tensor));
        };
        let io = |e| Error::io(&self.0, "read", e);
        let mut file = File::open(&self.0).map_err(io)?;
        file.seek(SeekFrom::Start(offset)).map_err(io)?;
        let mut elements = Vec::new();
        file.take(length).read_to_end(&mut elements).map_err(io)?;
        if elements.len() as u64 != length {
            return Err(unreadable(tensor));
        }
        tensor.raw_data = Some(Bytes::from(elements));
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    }
}

impl Drop for WrittenWeights {
    fn drop(&mut self) {
        // If it stays, it goes with its folder.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn unreadable(tensor: &TensorProto) -> Error {
    Error::new(
        ErrorKind::Runtime,
        format!(
            "ONNX Runtime wrote an optimised graph without the weights '{}'",
            tensor.label()
        ),
    )
}
