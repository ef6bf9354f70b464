//! What holds for whole messages: they come back, they stay the same, and bad ones are refused.
// Pseudo-random bits are cut to size, and exactness is what is tested.
#![allow(clippy::cast_possible_truncation, clippy::float_cmp)]

mod golden;
mod hostile;
mod round_trip;

use crate::bundle::Cut;
use crate::{ElementType, TensorSpec};

/// A cut whose tensors have these shapes.
pub(super) fn cut(index: usize, shapes: &[&[usize]]) -> Cut {
    let tensors = shapes.iter().enumerate().map(|(i, shape)| TensorSpec {
        name: format!("t{i}"),
        element: ElementType::F32,
        shape: shape.to_vec(),
    });
    Cut {
        index,
        after: "node".into(),
        tensors: tensors.collect(),
        flops_before: 0,
        flops_after: 0,
    }
}

/// Writes the CRC that fits the rest of `message`, so that what lies behind it gets tested.
fn fix_crc(message: &mut [u8]) {
    if let Some((body, crc)) = message.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(body).to_le_bytes();
    }
}

/// Pseudo-random numbers that are the same on every run (Marsaglia's xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Uniform in -1.0..1.0.
    pub(super) fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
