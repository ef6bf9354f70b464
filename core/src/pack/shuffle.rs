//! Bit shuffle: bits of equal significance lie together, so that the zeros which small codes have
//! in common become long runs of zero bytes, and bits that no code uses are not stored at all.
//!
//! Elements of `bits` bits become `bits` planes, least significant first, each of
//! `ceil(elements / 8)` bytes. Bit `i % 8` of byte `i / 8` of a plane belongs to element `i`; the
//! bits behind the last element are zero. (After K. Masui et al., "A compression scheme for radio
//! data in high performance computing", 2015, but over the whole tensor instead of blocks of it.)

use crate::Result;

/// Elements handled at once: few enough that they stay in the first-level cache.
const BLOCK: usize = 1024;
/// Elements whose bits share a byte.
const GROUP: usize = 8;
const GROUPS: usize = BLOCK / GROUP;

/// Bytes of one plane.
pub(super) const fn plane_bytes(elements: usize) -> usize {
    elements.div_ceil(GROUP)
}

/// Fills `planes` (a whole number of planes of `elements` elements) from the low bits of elements
/// that `fill` provides a block at a time: it is given the index of the first.
pub(super) fn shuffle(elements: usize, planes: &mut [u8], mut fill: impl FnMut(usize, &mut [u32])) {
    let plane_bytes = plane_bytes(elements);
    for first in (0..elements).step_by(BLOCK) {
        let mut words = [0; BLOCK];
        let count = BLOCK.min(elements - first);
        fill(first, &mut words[..count]);
        let used = first / GROUP..(first + count).div_ceil(GROUP);
        for (lane, planes) in planes.chunks_mut(plane_bytes * GROUP).enumerate() {
            let groups = gather(&words, lane);
            for (bit, plane) in planes.chunks_mut(plane_bytes).enumerate() {
                for (byte, group) in plane[used.clone()].iter_mut().zip(groups) {
                    *byte = group.to_le_bytes()[bit];
                }
            }
        }
    }
}

/// Inverse of [`shuffle`]: hands the elements to `drain` a block at a time, with the index of the
/// first, and stops at its first error.
pub(super) fn unshuffle(
    elements: usize,
    planes: &[u8],
    mut drain: impl FnMut(usize, &[u32]) -> Result<()>,
) -> Result<()> {
    let plane_bytes = plane_bytes(elements);
    for first in (0..elements).step_by(BLOCK) {
        let mut words = [0; BLOCK];
        let count = BLOCK.min(elements - first);
        let used = first / GROUP..(first + count).div_ceil(GROUP);
        for (lane, planes) in planes.chunks(plane_bytes * GROUP).enumerate() {
            let mut groups = [0; GROUPS];
            for (bit, plane) in planes.chunks(plane_bytes).enumerate() {
                for (group, &byte) in groups.iter_mut().zip(&plane[used.clone()]) {
                    *group |= u64::from(byte) << (8 * bit);
                }
            }
            scatter(&groups, lane, &mut words);
        }
        drain(first, &words[..count])?;
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

/// Byte number `lane` of every word, in groups of eight, each group with its bits transposed.
fn gather(words: &[u32; BLOCK], lane: usize) -> [u64; GROUPS] {
    let mut groups = [0; GROUPS];
    for (group, words) in groups.iter_mut().zip(words.as_chunks::<GROUP>().0) {
        *group = transpose(u64::from_le_bytes(words.map(|w| w.to_le_bytes()[lane])));
    }
    groups
}

/// Inverse of [`gather`] for words in which byte number `lane` is still zero.
fn scatter(groups: &[u64; GROUPS], lane: usize, words: &mut [u32; BLOCK]) {
    for (&group, words) in groups.iter().zip(words.as_chunks_mut::<GROUP>().0) {
        for (word, byte) in words.iter_mut().zip(transpose(group).to_le_bytes()) {
            *word |= u32::from(byte) << (8 * lane);
        }
    }
}

/// Transposes 8 × 8 bits: bit `c` of byte `r` becomes bit `r` of byte `c`.
///
/// Swaps 1 × 1, 2 × 2 and 4 × 4 blocks across the diagonal (Warren, Hacker's Delight, 7-3).
const fn transpose(mut x: u64) -> u64 {
    let t = (x ^ (x >> 7)) & 0x00AA_00AA_00AA_00AA;
    x ^= t ^ (t << 7);
    let t = (x ^ (x >> 14)) & 0x0000_CCCC_0000_CCCC;
    x ^= t ^ (t << 14);
    let t = (x ^ (x >> 28)) & 0x0000_0000_F0F0_F0F0;
    x ^ t ^ (t << 28)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // pseudo-random bits are cut to size

    use super::*;
    use crate::{Error, ErrorKind};

    /// A sequence that visits all bits; multiplication by an odd constant mixes them.
    fn words(count: usize, bits: u32) -> Vec<u32> {
        (0..count as u64)
            .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - bits)) as u32)
            .collect()
    }

    fn planes_of(words: &[u32], bits: u32) -> Vec<u8> {
        let mut planes = vec![0xFF; plane_bytes(words.len()) * bits as usize];
        shuffle(words.len(), &mut planes, |first, block| {
            block.copy_from_slice(&words[first..first + block.len()]);
        });
        planes
    }

    #[test]
    fn every_bit_lies_where_the_format_says() {
        for count in [1, 7, 8, 9, 63, 1023, 1024, 1025, 3000] {
            for bits in [1, 3, 8, 9, 16, 32] {
                let words = words(count, bits);
                let planes = planes_of(&words, bits);
                let stride = count.div_ceil(8);
                for (i, &word) in words.iter().enumerate() {
                    for bit in 0..bits as usize {
                        let stored = planes[bit * stride + i / 8] >> (i % 8) & 1;
                        assert_eq!(u32::from(stored), word >> bit & 1);
                    }
                }
                assert!(padding_is_zero(count, &planes));
            }
        }
    }

    #[test]
    fn unshuffle_undoes_shuffle() {
        for count in [0, 1, 8, 1000, 1024, 5000] {
            for bits in 1..=32 {
                let words = words(count, bits);
                let mut back = Vec::new();
                unshuffle(count, &planes_of(&words, bits), |first, block| {
                    assert_eq!(first, back.len());
                    back.extend_from_slice(block);
                    Ok(())
                })
                .unwrap();
                assert_eq!(back, words);
            }
        }
    }

    #[test]
    fn padding_is_seen_in_any_plane() {
        let mut planes = planes_of(&words(11, 3), 3);
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
        let result = unshuffle(5000, &[0; 625], |_, _| {
            blocks += 1;
            Err(Error::new(ErrorKind::InvalidActivation, "stop"))
        });
        assert!(result.is_err());
        assert_eq!(blocks, 1);
    }
}
