//! AVX2 and AVX-512. Both sets compile the scalar loops again; bits to planes and back are written
//! out: AVX2 takes the sign bits of 32 bytes at once, AVX-512 has masks of 64 bytes.

use super::{recompile_scalar_loops, scalar};

pub(super) mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm_cvtsi32_si128, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256,
        _mm256_movemask_epi8, _mm256_or_si256, _mm256_set_epi64x, _mm256_set1_epi8,
        _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_shuffle_epi8, _mm256_sll_epi16,
        _mm256_storeu_si256,
    };

    use super::{recompile_scalar_loops, scalar};

    /// Bytes of a vector, and of the bits of one plane that belong to it.
    const BYTES: usize = 32;
    const BITS: usize = BYTES / 8;

    recompile_scalar_loops!("avx2");

    #[target_feature(enable = "avx2")]
    pub(in super::super) fn collect_bit(bytes: &[u8], bit: u32, plane: &mut [u8]) {
        let (vectors, bytes_left) = bytes.as_chunks::<BYTES>();
        let (masks, plane_left) = plane.split_at_mut(vectors.len() * BITS);
        // Shifted left by this, the bit is the sign of its byte; what comes over from the
        // neighbour in the same 16 bits stays below it.
        let to_sign = _mm_cvtsi32_si128(7 - bit.cast_signed());
        for (mask, bytes) in masks.as_chunks_mut::<BITS>().0.iter_mut().zip(vectors) {
            let signs = _mm256_sll_epi16(load(bytes), to_sign);
            *mask = _mm256_movemask_epi8(signs).to_le_bytes();
        }
        scalar::collect_bit(bytes_left, bit, plane_left);
    }

    #[target_feature(enable = "avx2")]
    pub(in super::super) fn spread_bit(plane: &[u8], bit: u32, bytes: &mut [u8]) {
        let (vectors, bytes_left) = bytes.as_chunks_mut::<BYTES>();
        let (masks, plane_left) = plane.split_at(vectors.len() * BITS);
        let weight = _mm256_set1_epi8(1i8.wrapping_shl(bit));
        // Every eight bytes get the same byte of the mask, and keep one bit of it each.
        let byte_of_mask = _mm256_set_epi64x(
            0x0303_0303_0303_0303,
            0x0202_0202_0202_0202,
            0x0101_0101_0101_0101,
            0,
        );
        let own_bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
        for (bytes, &mask) in vectors.iter_mut().zip(masks.as_chunks::<BITS>().0) {
            let mask = _mm256_set1_epi32(i32::from_le_bytes(mask));
            let own = _mm256_and_si256(_mm256_shuffle_epi8(mask, byte_of_mask), own_bit);
            let is_set = _mm256_cmpeq_epi8(own, own_bit);
            let sum = _mm256_or_si256(load(bytes), _mm256_and_si256(is_set, weight));
            store(sum, bytes);
        }
        scalar::spread_bit(plane_left, bit, bytes_left);
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; BYTES]) -> __m256i {
        // SAFETY: reads 32 bytes, which the array has, at any alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(vector: __m256i, bytes: &mut [u8; BYTES]) {
        // SAFETY: writes 32 bytes, which the array has, at any alignment.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
    }
}

pub(super) mod avx512 {
    use std::arch::x86_64::{
        __m512i, _mm512_loadu_si512, _mm512_maskz_set1_epi8, _mm512_or_si512, _mm512_set1_epi8,
        _mm512_storeu_si512, _mm512_test_epi8_mask,
    };

    use super::{recompile_scalar_loops, scalar};

    /// Bytes of a vector, and of the bits of one plane that belong to it.
    const BYTES: usize = 64;
    const BITS: usize = BYTES / 8;

    recompile_scalar_loops!("avx512f,avx512bw,avx512dq,avx512vl");

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(in super::super) fn collect_bit(bytes: &[u8], bit: u32, plane: &mut [u8]) {
        let (vectors, bytes_left) = bytes.as_chunks::<BYTES>();
        let (masks, plane_left) = plane.split_at_mut(vectors.len() * BITS);
        let weight = _mm512_set1_epi8(1i8.wrapping_shl(bit));
        for (mask, bytes) in masks.as_chunks_mut::<BITS>().0.iter_mut().zip(vectors) {
            *mask = _mm512_test_epi8_mask(load(bytes), weight).to_le_bytes();
        }
        scalar::collect_bit(bytes_left, bit, plane_left);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(in super::super) fn spread_bit(plane: &[u8], bit: u32, bytes: &mut [u8]) {
        let (vectors, bytes_left) = bytes.as_chunks_mut::<BYTES>();
        let (masks, plane_left) = plane.split_at(vectors.len() * BITS);
        let weight = 1i8.wrapping_shl(bit);
        for (bytes, &mask) in vectors.iter_mut().zip(masks.as_chunks::<BITS>().0) {
            let spread = _mm512_maskz_set1_epi8(u64::from_le_bytes(mask), weight);
            store(_mm512_or_si512(load(bytes), spread), bytes);
        }
        scalar::spread_bit(plane_left, bit, bytes_left);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(bytes: &[u8; BYTES]) -> __m512i {
        // SAFETY: reads 64 bytes, which the array has, at any alignment.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(vector: __m512i, bytes: &mut [u8; BYTES]) {
        // SAFETY: writes 64 bytes, which the array has, at any alignment.
        unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
    }
}
