//! The one decoder: a message to the tensors of a cut, trusting nothing that it says.

use super::codec::{Codecs, Frame, Grid};
use super::elements_of;
use super::quantise::Quantiser;
use super::simd::Kernels;
use super::wire::{self, Row};
use crate::bundle::Cut;
use crate::schedule::Precision;
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
    Unpacker::default().unpack(message, cut)
}

/// Decodes messages as [`unpack`] does, and keeps its buffers between calls: about as many bytes as
/// the largest tensor's codes, and zstd's context once that codec has been met.
///
/// What comes out depends on the arguments alone, not on what was unpacked before.
#[derive(Debug, Default)]
pub struct Unpacker {
    codecs: Codecs,
}

impl Unpacker {
    /// Lets up to `threads` cores work on one large tensor; 1 unless told.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.codecs.set_threads(threads);
        self
    }

    /// See [`unpack`].
    pub fn unpack(&mut self, message: &[u8], cut: &Cut) -> Result<Vec<Tensor>> {
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
                self.tensor(spec, row, payload).map_err(|e| {
                    e.context(format_args!("cut {}, tensor '{}'", cut.index, spec.name))
                })
            })
            .collect()
    }

    /// For a row whose elements are those of `spec`.
    fn tensor(&mut self, spec: &TensorSpec, row: &Row, payload: &[u8]) -> Result<Tensor> {
        let grid = match row.precision {
            Precision::Raw => Grid::Raw,
            Precision::Levels(levels) => {
                Grid::Levels(Quantiser::new(Kernels::best(), row.range, levels))
            }
        };
        let frame = Frame {
            shape: &spec.shape,
            grid,
        };
        let mut values = vec![0.0; row.elements as usize];
        self.codecs
            .get(row.codec)
            .decode(&frame, payload, &mut values)?;
        Tensor::new(spec.shape.clone(), TensorData::F32(values))
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidActivation, message)
}
