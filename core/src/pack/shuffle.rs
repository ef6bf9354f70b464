//! Bit shuffle: bits of equal significance lie together, so that the zeros which small codes have
//! in common become long runs of zero bytes, and bits that no code uses are not stored at all.
//!
//! Elements of `bits` bits become `bits` planes, least significant first, each of
//! `ceil(elements / 8)` bytes. Bit `i % 8` of byte `i / 8` of a plane belongs to element `i`; the
//! bits behind the last element are zero. (After K. Masui et al., "A compression scheme for radio
//! data in high performance computing", 2015, but over the whole tensor instead of blocks of it.)

use super::simd::{BLOCK, GROUP, Kernels, Word};
use crate::Result;

/// Bytes of one plane.
pub(super) const fn plane_bytes(elements: usize) -> usize {
    elements.div_ceil(GROUP)
}

/// Fills `planes` (a whole number of planes of `elements` elements) from the low bits of elements
/// that `fill` provides a block at a time: it is given the index of the first.
pub(super) fn shuffle<W: Word>(
    kernels: Kernels,
    elements: usize,
    planes: &mut [u8],
    mut fill: impl FnMut(usize, &mut [W]),
) {
    let plane_bytes = plane_bytes(elements);
    let (mut words, mut bytes) = ([W::default(); BLOCK], [0; BLOCK]);
    for first in (0..elements).step_by(BLOCK) {
        let count = BLOCK.min(elements - first);
        let (words, bytes) = (&mut words[..count], &mut bytes[..count]);
        fill(first, words);
        let used = first / GROUP..(first + count).div_ceil(GROUP);
        for (lane, planes) in (0..).zip(planes.chunks_mut(plane_bytes * GROUP)) {
            kernels.take_lane(words, lane, bytes);
            for (bit, plane) in (0..).zip(planes.chunks_mut(plane_bytes)) {
                kernels.collect_bit(bytes, bit, &mut plane[used.clone()]);
            }
        }
    }
}

/// Inverse of [`shuffle`]: hands the elements to `drain` a block at a time, with the index of the
/// first, and stops at its first error.
pub(super) fn unshuffle<W: Word>(
    kernels: Kernels,
    elements: usize,
    planes: &[u8],
    mut drain: impl FnMut(usize, &[W]) -> Result<()>,
) -> Result<()> {
    let plane_bytes = plane_bytes(elements);
    // Bytes of the words for which there are no planes stay zero.
    let (mut words, mut bytes) = ([W::default(); BLOCK], [0; BLOCK]);
    for first in (0..elements).step_by(BLOCK) {
        let count = BLOCK.min(elements - first);
        let (words, bytes) = (&mut words[..count], &mut bytes[..count]);
        let used = first / GROUP..(first + count).div_ceil(GROUP);
        for (lane, planes) in (0..).zip(planes.chunks(plane_bytes * GROUP)) {
            bytes.fill(0);
            for (bit, plane) in (0..).zip(planes.chunks(plane_bytes)) {
                kernels.spread_bit(&plane[used.clone()], bit, bytes);
            }
            kernels.put_lane(bytes, lane, words);
        }
        drain(first, words)?;
    }
    Ok(())
}

/// Whether the bits behind the last element are zero in every plane, as [`shuffle`] leaves them.
pub(super) fn padding_is_zero(elements: usize, planes: &[u8]) -> bool {
    let in_last_byte = elements % GROUP;
    in_last_byte == 0
        || planes
            .chunks(plane_bytes(elements))
            .all(|plane| plane.last().is_none_or(|last| last >> in_last_byte == 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // pseudo-random bits are cut to size

    use super::*;
    use crate::pack::simd::Code;
    use crate::{Error, ErrorKind};

    const COUNTS: [usize; 13] = [0, 1, 7, 8, 9, 63, 64, 65, 1000, 2047, 2048, 2049, 5000];

    /// A sequence that visits all bits; multiplication by an odd constant mixes them.
    fn bits_of(i: usize, bits: u32) -> u32 {
        ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - bits)) as u32
    }

    fn codes<C: Code>(count: usize, bits: u32) -> Vec<C> {
        (0..count)
            .map(|i| C::from_low_bits(bits_of(i, bits).into()))
            .collect()
    }

    /// Patterns of signalling NaNs and of all else.
    fn floats(count: usize, bits: u32) -> Vec<f32> {
        (0..count)
            .map(|i| f32::from_bits(bits_of(i, bits)))
            .collect()
    }

    fn planes_of<W: Word>(kernels: Kernels, words: &[W], bits: u32) -> Vec<u8> {
        let mut planes = vec![0xFF; plane_bytes(words.len()) * bits as usize];
        shuffle(kernels, words.len(), &mut planes, |first, block| {
            block.copy_from_slice(&words[first..first + block.len()]);
        });
        planes
    }

    fn words_of<W: Word>(kernels: Kernels, count: usize, planes: &[u8]) -> Vec<W> {
        let mut words = Vec::new();
        unshuffle(kernels, count, planes, |first, block| {
            assert_eq!(first, words.len());
            words.extend_from_slice(block);
            Ok(())
        })
        .unwrap();
        words
    }

    /// Every set of kernels, every count: the layout is the format's, and the way back exists.
    fn check<W: Word>(bits: u32, words: impl Fn(usize, u32) -> Vec<W>, pattern: impl Fn(W) -> u32) {
        for kernels in Kernels::available() {
            for count in COUNTS {
                let words = words(count, bits);
                let planes = planes_of(kernels, &words, bits);
                let stride = count.div_ceil(8);
                for (i, &word) in words.iter().enumerate() {
                    for bit in 0..bits as usize {
                        let stored = planes[bit * stride + i / 8] >> (i % 8) & 1;
                        assert_eq!(u32::from(stored), pattern(word) >> bit & 1);
                    }
                }
                assert!(padding_is_zero(count, &planes));
                let back = words_of(kernels, count, &planes);
                assert!(
                    words
                        .iter()
                        .map(|&w| pattern(w))
                        .eq(back.into_iter().map(&pattern))
                );
            }
        }
    }

    #[test]
    fn every_bit_lies_where_the_format_says_and_comes_back() {
        for bits in 1..=8 {
            check(bits, codes::<u8>, u32::from);
        }
        for bits in 9..=16 {
            check(bits, codes::<u16>, u32::from);
        }
        check(32, floats, f32::to_bits);
    }

    #[test]
    fn padding_is_seen_in_any_plane() {
        let mut planes = planes_of(Kernels::best(), &codes::<u8>(11, 3), 3);
        for plane in 0..3 {
            planes[plane * 2 + 1] ^= 1 << 3;
            assert!(!padding_is_zero(11, &planes));
            planes[plane * 2 + 1] ^= 1 << 3;
        }
        assert!(padding_is_zero(11, &planes));
        assert!(padding_is_zero(16, &[0xFF; 6]));
    }

    #[test]
    fn an_error_stops_the_walk() {
        let mut blocks = 0;
        let result = unshuffle(Kernels::best(), 5000, &[0; 625], |_, _: &[u8]| {
            blocks += 1;
            Err(Error::new(ErrorKind::InvalidActivation, "stop"))
        });
        assert!(result.is_err());
        assert_eq!(blocks, 1);
    }
}
