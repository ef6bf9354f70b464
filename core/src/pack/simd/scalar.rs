//! What every kernel computes. The other sets compile these functions again for their vector unit,
//! which is why they are inlined, or do the same by hand.
#![expect(
    clippy::inline_always,
    reason = "only what is inlined is compiled for the caller's CPU features"
)]

use super::{Code, GROUP, Scale, Word};

/// A one in every byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Least and greatest [`order_key`]; `(i32::MAX, i32::MIN)` of no values.
#[inline(always)]
pub(super) fn range_keys(values: &[f32]) -> (i32, i32) {
    values.iter().fold((i32::MAX, i32::MIN), |(lo, hi), &x| {
        (lo.min(order_key(x)), hi.max(order_key(x)))
    })
}

/// An integer that orders as the float does (`f32::total_cmp`): NaNs lie outside the infinities,
/// so least and greatest also tell whether all elements are finite.
#[inline(always)]
pub(in crate::pack) fn order_key(x: f32) -> i32 {
    flip_magnitude_if_negative(x.to_bits().cast_signed())
}

/// Inverse of [`order_key`].
pub(in crate::pack) fn from_order_key(key: i32) -> f32 {
    f32::from_bits(flip_magnitude_if_negative(key).cast_unsigned())
}

/// Its own inverse.
#[inline(always)]
fn flip_magnitude_if_negative(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

/// Codes of `values`; those outside of the range get the code of its nearer end, NaN gets 0.
#[inline(always)]
pub(super) fn quantise<C: Code>(values: &[f32], scale: &Scale, codes: &mut [C]) {
    /// At 2^52 the last bit of an f64's mantissa counts ones, so that adding this rounds to the
    /// nearest integer, ties to even, and leaves it in the low bits. Unlike `round` and a
    /// saturating cast, this becomes vector code.
    const TWO_POW_52: f64 = 4_503_599_627_370_496.0;
    for (code, &x) in codes.iter_mut().zip(values) {
        let exact = (f64::from(x) - scale.lo) * scale.codes_per_unit;
        // Written as the comparisons that vector units have; false for NaN.
        let exact = if exact > 0.0 { exact } else { 0.0 };
        let exact = if exact < scale.last_code {
            exact
        } else {
            scale.last_code
        };
        *code = C::from_low_bits((exact + TWO_POW_52).to_bits());
    }
}

/// Values of `codes`: `lo + code * step`, rounded to f32.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // rounding to f32 is what is meant
pub(super) fn dequantise<C: Code>(codes: &[C], scale: &Scale, values: &mut [f32]) {
    for (x, &code) in values.iter_mut().zip(codes) {
        *x = (scale.lo + Into::<f64>::into(code) * scale.step) as f32;
    }
}

/// The greatest code; 0 of none.
#[inline(always)]
pub(super) fn greatest<C: Code>(codes: &[C]) -> C {
    codes.iter().fold(C::default(), |a, &b| a.max(b))
}

/// Byte `lane` of every word, byte 0 being the least significant.
#[inline(always)]
pub(super) fn take_lane<W: Word>(words: &[W], lane: u32, bytes: &mut [u8]) {
    for (byte, word) in bytes.iter_mut().zip(words) {
        *byte = word.byte(lane);
    }
}

/// Inverse of [`take_lane`]: the words keep their other bytes.
#[inline(always)]
pub(super) fn put_lane<W: Word>(bytes: &[u8], lane: u32, words: &mut [W]) {
    for (word, &byte) in words.iter_mut().zip(bytes) {
        *word = word.with_byte(lane, byte);
    }
}

/// Bit `bit` of every byte, eight to a byte of `plane`, the first in the least significant bit;
/// bits of the last byte that belong to no byte are 0.
pub(super) fn collect_bit(bytes: &[u8], bit: u32, plane: &mut [u8]) {
    let (groups, rest) = bytes.as_chunks::<GROUP>();
    let mut last = [0; GROUP];
    last[..rest.len()].copy_from_slice(rest);
    for (collected, group) in plane.iter_mut().zip(groups.iter().chain([&last])) {
        // The factor has bits 7, 14, … 56. Bit 8 i of the ones, times bit 56 - 7 i, lands at bit
        // 56 + i; no two products meet, and all others stay below bit 56 or overflow.
        let ones = (u64::from_le_bytes(*group) >> bit) & ONES;
        *collected = (ones.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    }
}

/// Sets bit `bit` of the bytes for which it is set in `plane`.
pub(super) fn spread_bit(plane: &[u8], bit: u32, bytes: &mut [u8]) {
    let (groups, rest) = bytes.as_chunks_mut::<GROUP>();
    for (group, &collected) in groups.iter_mut().zip(plane) {
        *group = (u64::from_le_bytes(*group) | spread(collected) << bit).to_le_bytes();
    }
    if let Some(&collected) = plane.get(groups.len()) {
        for (byte, spread) in rest.iter_mut().zip(spread(collected).to_le_bytes()) {
            *byte |= spread << bit;
        }
    }
}

/// Bit `i` becomes the least significant bit of byte `i`.
fn spread(bits: u8) -> u64 {
    // Each byte keeps its own bit of the eight; adding 0x7F carries any of them to the top.
    let own = (u64::from(bits) * ONES) & 0x8040_2010_0804_0201;
    ((own + 0x7F * ONES) >> 7) & ONES
}
