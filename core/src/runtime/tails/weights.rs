//! Weights that all sessions of a model share, in the form in which ONNX Runtime computes with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ort::value::{DynValue, Tensor};
use sha2::{Digest as _, Sha256};

use crate::Result;
use crate::graph::proto::{TensorProto, data_type};
use crate::runtime::ort_error;

/// Constants up to this size stay in each session: shapes, axes, scales.
const INLINE_MAX_BYTES: usize = 1024;

/// Tensors by content: what several tails hold alike is held once.
#[derive(Debug, Default)]
pub(super) struct Weights(Mutex<HashMap<[u8; 32], Arc<DynValue>>>);

impl Weights {
    /// The tensor's elements as a value that sessions refer to; none if it stays where it is.
    pub(super) fn share(&self, tensor: &TensorProto) -> Result<Option<Arc<DynValue>>> {
        let Some(raw) = tensor
            .raw_data
            .as_ref()
            .filter(|raw| raw.len() > INLINE_MAX_BYTES)
        else {
            return Ok(None);
        };
        if tensor.data_type != Some(data_type::FLOAT) {
            return Ok(None);
        }
        let mut hash = Sha256::new();
        for dim in &tensor.dims {
            hash.update(dim.to_le_bytes());
        }
        hash.update(raw);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match held.entry(hash.finalize().into()) {
            std::collections::hash_map::Entry::Occupied(known) => known.get().clone(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(Arc::new(floats(&tensor.dims, raw)?)).clone()
            }
        };
        Ok(Some(value))
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |value: &Arc<DynValue>| {
            value
                .try_extract_tensor::<f32>()
                .map_or(0, |(_, data)| size_of_val(data))
        };
        held.values().map(bytes).sum()
    }
}

/// In memory of our own, which ONNX Runtime demands of values that sessions share.
fn floats(dims: &[i64], raw: &[u8]) -> Result<DynValue> {
    let (values, _) = raw.as_chunks::<4>();
    let data: Box<[f32]> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
    let tensor = Tensor::from_array((dims.to_vec(), data)).map_err(ort_error)?;
    Ok(tensor.into_dyn())
}
