//! Weights that all sessions of a model share, in the form in which ONNX Runtime computes with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{Array1, IxDyn, s};
use ort::value::{DynValue, Tensor};
use sha2::{Digest as _, Sha256};

use crate::graph::proto::{TensorProto, data_type};
use crate::runtime::ort_error;
use crate::{Error, ErrorKind, Result};

/// Constants up to this size stay in each session: shapes, axes, scales.
pub(super) const INLINE_MAX_BYTES: usize = 1024;
/// A cache line, and a vector of AVX-512.
const LINE_BYTES: usize = 64;
const LINE_ELEMENTS: usize = LINE_BYTES / size_of::<f32>();

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

/// In memory of our own, which ONNX Runtime demands of values that sessions share, and where a
/// session of its own would have it: kernels load whole cache lines of weights, and tails take 6 to 15 %
/// longer if each load touches two.
fn floats(dims: &[i64], raw: &[u8]) -> Result<DynValue> {
    let (values, _) = raw.as_chunks::<4>();
    let mut memory: Vec<f32> = Vec::with_capacity(values.len() + LINE_ELEMENTS);
    let ahead = memory.as_ptr().align_offset(LINE_BYTES).min(LINE_ELEMENTS);
    memory.resize(ahead, 0.0);
    memory.extend(values.iter().map(|v| f32::from_le_bytes(*v)));
    let mut elements = Array1::from_vec(memory);
    elements.slice_collapse(s![ahead..]);
    let dims: Vec<usize> = dims
        .iter()
        .map(|&dim| usize::try_from(dim).unwrap_or(0))
        .collect();
    let shaped = elements
        .into_shape_with_order(IxDyn(&dims))
        .map_err(|e| Error::with_source(ErrorKind::Runtime, "a weight is not of its shape", e))?;
    Ok(Tensor::from_array(shaped).map_err(ort_error)?.into_dyn())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_are_held_once_and_begin_a_cache_line() {
        let weights = Weights::default();
        for elements in [300u16, 301, 1_000, 40_000] {
            let raw: Vec<u8> = (0..elements)
                .flat_map(|i| f32::from(i).to_le_bytes())
                .collect();
            let tensor = TensorProto {
                dims: vec![1, i64::from(elements)],
                data_type: Some(data_type::FLOAT),
                raw_data: Some(raw.into()),
                ..TensorProto::default()
            };
            let value = weights.share(&tensor).unwrap().unwrap();
            let again = weights.share(&tensor).unwrap().unwrap();
            assert!(Arc::ptr_eq(&value, &again));
            let (shape, data) = value.try_extract_tensor::<f32>().unwrap();
            assert_eq!(&shape[..], [1, i64::from(elements)]);
            assert_eq!(data.as_ptr().addr() % LINE_BYTES, 0);
            let expected: Vec<f32> = (0..elements).map(f32::from).collect();
            assert_eq!(data, expected);
        }
    }
}
