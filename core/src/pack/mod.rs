//! Packing: quantise, bit shuffle, code; and the one wire format for what crosses a cut.

use crate::bundle::Cut;
use crate::schedule::{Codec, Precision};
use crate::{Error, ErrorKind, Result, Tensor};

/// Turns the tensors of a cut into one self-describing message; keeps its buffers between calls.
#[derive(Debug, Default)]
pub struct Packer {}

impl Packer {
    /// Packs `tensors` (row-major f32, in the order of the cut's row).
    pub fn pack(
        &mut self,
        _cut: &Cut,
        _tensors: &[&[f32]],
        _precision: Precision,
        _codec: Codec,
    ) -> Result<Vec<u8>> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }
}

/// Index of the cut that a message names; reads the header only.
pub fn peek_cut(_message: &[u8]) -> Result<usize> {
    Err(Error::new(ErrorKind::Internal, "skeleton"))
}

/// Decodes a message into the tensors of `cut`, checking everything against its shapes first.
pub fn unpack(_message: &[u8], _cut: &Cut) -> Result<Vec<Tensor>> {
    Err(Error::new(ErrorKind::Internal, "skeleton"))
}

/// Most bytes a valid message for `cut` can have, whatever its precision and codec.
pub fn max_message_bytes(cut: &Cut) -> usize {
    cut.elements() * 4 + 1024
}
