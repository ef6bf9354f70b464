//! The one decoder: a message to the tensors of a cut, trusting nothing that it says.

use super::quantise::Quantiser;
use super::simd::Kernels;
use super::wire::{self, Row};
use super::{codec, elements_of, shuffle};
use crate::bundle::Cut;
use crate::schedule::{Codec, Precision};
use crate::{Error, ErrorKind, Result, Tensor, TensorData, TensorSpec};

/// Decodes a message into the tensors of `cut`, in the order and with the shapes of its row.
///
/// The whole frame is checked, and every tensor against its shape, before anything is allocated
/// for the elements. Memory is bounded by the cut: 4 bytes an element for the result, up to as
/// much again for one tensor's bit planes, and zstd's context of about 160 kB.
///
/// Fails with [`ErrorKind::UnsupportedActivation`] for a version or a codec that this build does
/// not know, with [`ErrorKind::InvalidActivation`] for anything else that is wrong with the
/// message or does not fit the cut, and as [`Packer::pack`](super::Packer::pack) does for a cut
/// that cannot be packed at all.
pub fn unpack(message: &[u8], cut: &Cut) -> Result<Vec<Tensor>> {
    let message = wire::read(message)?;
    if message.cut != cut.index || message.tensors.len() != cut.tensors.len() {
        return Err(invalid(format!(
            "the message holds {} tensors of cut {}, expected {} of cut {}",
            message.tensors.len(),
            message.cut,
            cut.tensors.len(),
            cut.index
        )));
    }
    for (spec, (row, _)) in cut.tensors.iter().zip(&message.tensors) {
        let elements = elements_of(spec)?;
        if row.elements as usize != elements {
            return Err(invalid(format!(
                "tensor '{}' has {} elements, expected {elements} for the shape {:?}",
                spec.name, row.elements, spec.shape
            )));
        }
    }
    cut.tensors
        .iter()
        .zip(&message.tensors)
        .map(|(spec, (row, payload))| {
            tensor(spec, row, payload)
                .map_err(|e| e.context(format_args!("cut {}, tensor '{}'", cut.index, spec.name)))
        })
        .collect()
}

/// For a row whose elements are those of `spec`.
fn tensor(spec: &TensorSpec, row: &Row, payload: &[u8]) -> Result<Tensor> {
    if (row.precision, row.codec) == (Precision::Raw, Codec::Raw) {
        let data = TensorData::from_le_bytes(spec.element, payload);
        return Tensor::new(spec.shape.clone(), data);
    }
    let elements = row.elements as usize;
    let planes_bytes = wire::planes_bytes(elements, row.precision);
    let planes = codec::decode(row.codec, payload, planes_bytes)?;
    if !shuffle::padding_is_zero(elements, &planes) {
        return Err(invalid("bits behind the last element are set"));
    }
    let mut values = vec![0.0; elements];
    let kernels = Kernels::best();
    match row.precision {
        Precision::Raw => shuffle::unshuffle(kernels, elements, &planes, |first, words| {
            values[first..][..words.len()].copy_from_slice(words);
            Ok(())
        })?,
        Precision::Levels(levels) => {
            Quantiser::new(kernels, row.range, levels).unshuffled(&planes, &mut values)?;
        }
    }
    Tensor::new(spec.shape.clone(), TensorData::F32(values))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidActivation, message)
}
