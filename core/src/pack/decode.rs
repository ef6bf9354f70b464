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
        let message = read(message, cut)?;
        let tensors = cut.tensors.iter().zip(&message.tensors);
        tensors
            .map(|(spec, tensor)| {
                let mut values = vec![0.0; spec.elements()];
                self.tensor(cut.index, spec, tensor, &mut values)?;
                Tensor::new(spec.shape.clone(), TensorData::F32(values))
            })
            .collect()
    }

    /// As [`unpack`], into memory that is there: a slice for each tensor of `cut`, of its elements, all of which are written.
    ///
    /// After a failure they hold anything. Fails with [`ErrorKind::InvalidArgument`] if the slices are not of the cut's sizes.
    pub fn unpack_into(
        &mut self,
        message: &[u8],
        cut: &Cut,
        tensors: &mut [&mut [f32]],
    ) -> Result<()> {
        let message = read(message, cut)?;
        let fits = |(spec, values): (&TensorSpec, &&mut [f32])| spec.elements() == values.len();
        if tensors.len() != cut.tensors.len() || !cut.tensors.iter().zip(&*tensors).all(fits) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("there is not room for the tensors of cut {}", cut.index),
            ));
        }
        let rows = cut.tensors.iter().zip(&message.tensors);
        for ((spec, tensor), values) in rows.zip(tensors) {
            self.tensor(cut.index, spec, tensor, values)?;
        }
        Ok(())
    }

    /// Fills `values`, which are as many as the row and `spec` have elements.
    fn tensor(
        &mut self,
        cut: usize,
        spec: &TensorSpec,
        (row, payload): &(Row, &[u8]),
        values: &mut [f32],
    ) -> Result<()> {
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
        self.codecs
            .get(row.codec)
            .decode(&frame, payload, values)
            .map_err(|e| e.context(format_args!("cut {cut}, tensor '{}'", spec.name)))
    }
}

/// The frame of a message, if it holds tensors of the cut's sizes.
fn read<'m>(message: &'m [u8], cut: &Cut) -> Result<wire::Message<'m>> {
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
    Ok(message)
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidActivation, message)
}
