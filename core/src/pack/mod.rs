//! Packing: quantise, bit shuffle, code; and the one wire format for what crosses a cut.
//!
//! f32 → `quantise` → codes → `shuffle` → bit planes → `codec` → payload → `wire` → message, and back.
//! The steps are the paper's (DynO, section "data packing": ISQuant, bit shuffling,
//! lossless compression); `docs/wire-format.md` gives the bytes.

mod codec;
mod context;
mod decode;
mod diffuse;
mod encode;
#[cfg(feature = "internals")]
pub mod internals;
mod maps;
mod quantise;
mod shaping;
mod shuffle;
mod simd;
mod target;
#[cfg(test)]
mod tests;
mod wire;

pub use decode::{Unpacker, unpack};
pub use encode::Packer;
pub use shaping::{Shaping, TensorShaping};
pub use target::Fitted;

use crate::bundle::Cut;
use crate::schedule::{Codec, Precision};
use crate::{ElementType, Error, ErrorKind, Result, TensorSpec};

/// Bits of a code at the most levels, 65,536.
const MAX_CODE_BITS: usize = 16;

/// What a message says about itself.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MessageInfo {
    /// Version of the wire format.
    pub version: u8,
    /// Index of the cut in the bundle's cut table.
    pub cut: usize,
    /// What crosses, in the order of the cut's row.
    pub tensors: Vec<PackedTensorInfo>,
}

/// What a message says about one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PackedTensorInfo {
    /// Levels, or fp32.
    pub precision: Precision,
    /// The codec that was used: raw where the one asked for gained nothing.
    pub codec: Codec,
    /// Value of code 0; 0.0 at fp32.
    pub lo: f32,
    /// Value of the last code; 0.0 at fp32.
    pub hi: f32,
    /// Elements.
    pub elements: usize,
    /// Bytes of the payload.
    pub bytes: usize,
}

/// Describes a message without decoding it: its frame is checked, its payloads are not.
///
/// Fails as [`unpack`] does.
///
/// ```
/// let error = dyno_core::pack::inspect(b"GIF89a..").unwrap_err();
/// assert_eq!(error.kind(), dyno_core::ErrorKind::InvalidActivation);
/// ```
pub fn inspect(message: &[u8]) -> Result<MessageInfo> {
    let message = wire::read(message)?;
    let tensors = message
        .tensors
        .iter()
        .map(|(row, payload)| PackedTensorInfo {
            precision: row.precision,
            codec: row.codec,
            lo: row.range.lo,
            hi: row.range.hi,
            elements: row.elements as usize,
            bytes: payload.len(),
        });
    Ok(MessageInfo {
        version: wire::VERSION,
        cut: message.cut,
        tensors: tensors.collect(),
    })
}

/// Index of the cut that a message names; reads the first eight bytes only.
///
/// Fails as [`unpack`] does if they are not those of a message.
pub fn peek_cut(message: &[u8]) -> Result<usize> {
    wire::read_cut(message)
}

/// Most bytes of a valid message for `cut`, whatever its precision and codec; some message has them.
///
/// That is fp32 as it is, or 16 bit planes where a tensor has one to three elements.
pub fn max_message_bytes(cut: &Cut) -> usize {
    cut.tensors
        .iter()
        .map(|spec| {
            let elements = spec.elements();
            let planes_bytes = shuffle::plane_bytes(elements).saturating_mul(MAX_CODE_BITS);
            wire::uncoded_bytes(elements, Precision::Raw).max(planes_bytes)
        })
        .fold(
            wire::overhead_bytes(cut.tensors.len()),
            usize::saturating_add,
        )
}

/// Elements of a tensor that can be packed: f32, and within the bounds of all tensors.
fn elements_of(spec: &TensorSpec) -> Result<usize> {
    spec.check_bounds()?;
    if spec.element != ElementType::F32 {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "tensor '{}' holds {:?} elements, and only f32 can be packed: use another cut",
                spec.name, spec.element
            ),
        ));
    }
    Ok(spec.elements())
}
