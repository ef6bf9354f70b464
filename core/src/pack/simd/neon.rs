//! NEON, which practically every 64-bit Arm CPU has. The scalar loops are vector code as they are;
//! bits to planes and back are written out, 64 bytes at a time.

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vcombine_u8, vcreate_u8, vdupq_n_u8, vgetq_lane_u64, vld1q_u8, vorrq_u8,
    vpaddq_u8, vqtbl1q_u8, vreinterpretq_u64_u8, vst1q_u8, vtstq_u8,
};

use super::{recompile_scalar_loops, scalar};

/// Bytes of a vector, of the four handled at once, and of the bits of one plane that belong to these.
const VECTOR: usize = 16;
const BYTES: usize = 4 * VECTOR;
const BITS: usize = BYTES / 8;

/// The bit of its eight that a byte keeps.
const OWN_BIT: [u8; VECTOR] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
/// Which byte of the mask holds the bits of each byte of the four vectors.
const BYTE_OF_MASK: [[u8; VECTOR]; BYTES / VECTOR] = [
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
    [2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3],
    [4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5],
    [6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7],
];

recompile_scalar_loops!("neon");

#[target_feature(enable = "neon")]
pub(super) fn collect_bit(bytes: &[u8], bit: u32, plane: &mut [u8]) {
    let (vectors, bytes_left) = bytes.as_chunks::<BYTES>();
    let (masks, plane_left) = plane.split_at_mut(vectors.len() * BITS);
    let weight = vdupq_n_u8(1 << bit);
    let own_bit = load(&OWN_BIT);
    for (mask, bytes) in masks.as_chunks_mut::<BITS>().0.iter_mut().zip(vectors) {
        let mut own = [own_bit; BYTES / VECTOR];
        for (own, bytes) in own.iter_mut().zip(bytes.as_chunks().0) {
            *own = vandq_u8(vtstq_u8(load(bytes), weight), *own);
        }
        // Sums of pairs, three times over, are sums of eight bytes with a bit of their own each.
        let [a, b, c, d] = own;
        let sums = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
        let sums = vreinterpretq_u64_u8(vpaddq_u8(sums, sums));
        *mask = vgetq_lane_u64::<0>(sums).to_le_bytes();
    }
    scalar::collect_bit(bytes_left, bit, plane_left);
}

#[target_feature(enable = "neon")]
pub(super) fn spread_bit(plane: &[u8], bit: u32, bytes: &mut [u8]) {
    let (vectors, bytes_left) = bytes.as_chunks_mut::<BYTES>();
    let (masks, plane_left) = plane.split_at(vectors.len() * BITS);
    let weight = vdupq_n_u8(1 << bit);
    let own_bit = load(&OWN_BIT);
    for (bytes, &mask) in vectors.iter_mut().zip(masks.as_chunks::<BITS>().0) {
        let mask = vcreate_u8(u64::from_le_bytes(mask));
        let mask = vcombine_u8(mask, mask);
        for (bytes, byte_of_mask) in bytes.as_chunks_mut().0.iter_mut().zip(&BYTE_OF_MASK) {
            let is_set = vtstq_u8(vqtbl1q_u8(mask, load(byte_of_mask)), own_bit);
            let sum = vorrq_u8(load(bytes), vandq_u8(is_set, weight));
            store(sum, bytes);
        }
    }
    scalar::spread_bit(plane_left, bit, bytes_left);
}

#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; VECTOR]) -> uint8x16_t {
    // SAFETY: reads 16 bytes, which the array has, at any alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(vector: uint8x16_t, bytes: &mut [u8; VECTOR]) {
    // SAFETY: writes 16 bytes, which the array has, at any alignment.
    unsafe { vst1q_u8(bytes.as_mut_ptr(), vector) }
}
