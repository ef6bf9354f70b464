//! Packing without a codec, with a set of kernels of the caller's choice instead of the CPU's best:
//! for the benchmarks, which compare them. No part of the stable API (feature `kernels`).

use super::quantise::{Quantiser, ValueRange};
use super::simd::Kernels;
use super::{shuffle, wire};
use crate::schedule::{Levels, Precision};
use crate::{Error, ErrorKind, Result};

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
