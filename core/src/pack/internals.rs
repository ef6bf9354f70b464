//! What benchmarks and fuzz targets need of the inside: packing with a set of kernels of the caller's
//! choice instead of the CPU's best, and the context coder without a message around it. No part of
//! the stable API (feature `internals`).

use super::context::{Scratch, Shape, decode, encode};
use super::maps::Maps;
use super::quantise::{Quantiser, ValueRange};
use super::simd::Kernels;
use super::{shuffle, wire};
use crate::schedule::{Levels, Precision};
use crate::{Error, ErrorKind, Result};

/// Decodes a payload of the context codec and encodes what it held: the same bytes, unless it is
/// refused.
///
/// `background` is the code of 0.0 of a signed tensor. With `lane_elements`, lanes have about as many
/// elements instead of the 65,536 of the format. Fails with
/// [`ErrorKind::InvalidActivation`] if the payload is not one for `shape` and `levels`.
pub fn recode_context(
    payload: &[u8],
    shape: &[usize],
    levels: Levels,
    background: Option<u32>,
    lane_elements: Option<usize>,
) -> Result<Vec<u8>> {
    let mut codes = vec![0u16; shape.iter().product()];
    let mut shape = Shape::new(Maps::of(shape), levels.get() - 1, background);
    if let Some(elements) = lane_elements {
        shape = shape.with_lanes_of(elements);
    }
    let mut scratch = Scratch::default();
    decode(payload, &shape, &mut scratch, &mut codes)?;
    let mut again = Vec::new();
    encode(&mut codes, &shape, &mut scratch, &mut again);
    Ok(again)
}

/// A set of kernels that this CPU can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelSet(Kernels);

impl KernelSet {
    /// Every set, the scalar one first.
    pub fn available() -> impl Iterator<Item = Self> {
        Kernels::available().map(Self)
    }

    /// Name of the vector unit, or "scalar".
    pub const fn name(self) -> &'static str {
        self.0.name()
    }

    /// Range, codes and bit planes of `values`; says from which value to which the range goes.
    pub fn quantise(
        self,
        values: &[f32],
        levels: Levels,
        planes: &mut Vec<u8>,
    ) -> Result<[f32; 2]> {
        let range = ValueRange::of(self.0, values)?;
        planes.resize(
            wire::planes_bytes(values.len(), Precision::Levels(levels)),
            0,
        );
        Quantiser::new(self.0, range, levels).shuffled(values, planes);
        Ok([range.lo, range.hi])
    }

    /// Inverse of [`quantise`](Self::quantise), with all checks of codes.
    pub fn dequantise(
        self,
        planes: &[u8],
        [lo, hi]: [f32; 2],
        levels: Levels,
        values: &mut [f32],
    ) -> Result<()> {
        check(planes, values, Precision::Levels(levels))?;
        Quantiser::new(self.0, ValueRange { lo, hi }, levels).unshuffled(planes, values)
    }

    /// Bit planes of `values` as they are.
    pub fn shuffle(self, values: &[f32], planes: &mut Vec<u8>) {
        planes.resize(wire::planes_bytes(values.len(), Precision::Raw), 0);
        shuffle::shuffle(self.0, values.len(), planes, |first, words| {
            words.copy_from_slice(&values[first..][..words.len()]);
        });
    }

    /// Inverse of [`shuffle`](Self::shuffle).
    pub fn unshuffle(self, planes: &[u8], values: &mut [f32]) -> Result<()> {
        check(planes, values, Precision::Raw)?;
        shuffle::unshuffle(self.0, values.len(), planes, |first, words| {
            values[first..][..words.len()].copy_from_slice(words);
            Ok(())
        })
    }
}

fn check(planes: &[u8], values: &[f32], precision: Precision) -> Result<()> {
    let expected = wire::planes_bytes(values.len(), precision);
    if planes.len() == expected {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "the planes have {} bytes, expected {expected}",
            planes.len()
        ),
    ))
}
