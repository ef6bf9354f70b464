//! Sixteen cumulative shares at once, for the entropy coder: which of them is the last at or below a
//! number, and all of them moved.
//!
//! 128-bit vectors are part of every x86-64 and 64-bit Arm CPU that Rust is compiled for, so nothing
//! is chosen at run time here.

/// Symbols whose shares are kept together.
pub(in crate::pack) const SYMBOLS: usize = 16;

/// Where each symbol's share begins, in units of 2^-16: 0 first, then strictly ascending.
pub(in crate::pack) type Shares = [u16; SYMBOLS];

/// The last symbol whose share begins at or below `share`.
#[inline]
pub(in crate::pack) fn symbol_at(below: &Shares, share: u16) -> usize {
    #[cfg(target_arch = "x86_64")]
    return sse2::symbol_at(below, share);
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    return neon::symbol_at(below, share);
    #[allow(unreachable_code)] // on the two above
    scalar::symbol_at(below, share)
}

/// Moves each beginning `weight` / 2^16 of its way: those of the symbols after `symbol` up, the
/// others down, as far as leaves one unit to every symbol.
#[inline]
pub(in crate::pack) fn make_likelier(below: &mut Shares, symbol: usize, weight: u16) {
    let (flip, end) = (&FLIP[symbol % SYMBOLS], &END[symbol % SYMBOLS]);
    #[cfg(target_arch = "x86_64")]
    return sse2::move_down(below, flip, end, weight);
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    return neon::move_down(below, flip, end, weight);
    #[allow(unreachable_code)] // on the two above
    scalar::move_down(below, flip, end, weight);
}

/// All bits of what moves up when the symbol of this row becomes likelier: flipped, it moves down.
static FLIP: [Shares; SYMBOLS] = for_each_pair(true);
/// How far down each can move.
static END: [Shares; SYMBOLS] = for_each_pair(false);

#[expect(clippy::cast_possible_truncation, reason = "below 16")]
const fn for_each_pair(flip: bool) -> [Shares; SYMBOLS] {
    let mut table = [[0; SYMBOLS]; SYMBOLS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let mut i = 0;
        while i < SYMBOLS {
            let up = i > symbol;
            table[symbol][i] = match (flip, up) {
                (true, true) => u16::MAX,
                (true, false) => 0,
                (false, true) => (SYMBOLS - 1 - i) as u16,
                (false, false) => i as u16,
            };
            i += 1;
        }
        symbol += 1;
    }
    table
}

/// What the vector code computes.
#[allow(dead_code)] // what the other two are tested against
mod scalar {
    use super::{SYMBOLS, Shares};

    pub(super) fn symbol_at(below: &Shares, share: u16) -> usize {
        let found = below.iter().filter(|&&begin| begin <= share).count();
        found.saturating_sub(1) % SYMBOLS
    }

    pub(super) fn move_down(below: &mut Shares, flip: &Shares, end: &Shares, weight: u16) {
        for ((begin, flip), end) in below.iter_mut().zip(flip).zip(end) {
            let flipped = *begin ^ flip;
            let way = u32::from(flipped.wrapping_sub(*end));
            let step = (way * u32::from(weight)) >> u16::BITS;
            *begin = flipped.wrapping_sub(step as u16) ^ flip;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_mulhi_epu16,
        _mm_packs_epi16, _mm_set1_epi16, _mm_setzero_si128, _mm_storeu_si128, _mm_sub_epi16,
        _mm_subs_epu16, _mm_xor_si128,
    };

    use super::Shares;

    /// Shares in a vector.
    const HALF: usize = 8;

    #[inline]
    pub(super) fn symbol_at(below: &Shares, share: u16) -> usize {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let share = _mm_set1_epi16(share.cast_signed());
            let at_most = load(below).map(|begins| {
                // What saturates at 0 is at or below the share.
                _mm_cmpeq_epi16(_mm_subs_epu16(begins, share), _mm_setzero_si128())
            });
            let mask = _mm_movemask_epi8(_mm_packs_epi16(at_most[0], at_most[1]));
            // The first begins at 0, so its bit is set anyway.
            (mask.cast_unsigned() | 1).ilog2() as usize
        }
    }

    #[inline]
    pub(super) fn move_down(below: &mut Shares, flip: &Shares, end: &Shares, weight: u16) {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let weight = _mm_set1_epi16(weight.cast_signed());
            let (begins, flip, end) = (load(below), load(flip), load(end));
            let moved = [0, 1].map(|half: usize| {
                let flipped = _mm_xor_si128(begins[half], flip[half]);
                let step = _mm_mulhi_epu16(_mm_sub_epi16(flipped, end[half]), weight);
                _mm_xor_si128(_mm_sub_epi16(flipped, step), flip[half])
            });
            store(moved, below);
        }
    }

    #[inline]
    fn load(shares: &Shares) -> [__m128i; 2] {
        let halves = shares.as_chunks::<HALF>().0;
        // SAFETY: reads 8 numbers of 2 bytes, which the array has, at any alignment.
        [0, 1].map(|half: usize| unsafe { _mm_loadu_si128(halves[half].as_ptr().cast()) })
    }

    #[inline]
    fn store(vectors: [__m128i; 2], shares: &mut Shares) {
        for (half, vector) in shares.as_chunks_mut::<HALF>().0.iter_mut().zip(vectors) {
            // SAFETY: writes 8 numbers of 2 bytes, which the array has, at any alignment.
            unsafe { _mm_storeu_si128(half.as_mut_ptr().cast(), vector) }
        }
    }
}

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon {
    use std::arch::aarch64::{
        uint16x8_t, vaddq_u16, vaddvq_u16, vcleq_u16, vdupq_n_u16, veorq_u16, vget_low_u16,
        vld1q_u16, vmull_high_u16, vmull_u16, vreinterpretq_u16_u32, vshrq_n_u16, vst1q_u16,
        vsubq_u16, vuzp2q_u16,
    };

    use super::{SYMBOLS, Shares};

    /// Shares in a vector.
    const HALF: usize = 8;

    #[inline]
    pub(super) fn symbol_at(below: &Shares, share: u16) -> usize {
        // SAFETY: NEON is part of the 64-bit Arm targets that have an operating system.
        unsafe {
            let share = vdupq_n_u16(share);
            let at_most = load(below).map(|begins| vshrq_n_u16::<15>(vcleq_u16(begins, share)));
            let found = usize::from(vaddvq_u16(vaddq_u16(at_most[0], at_most[1])));
            found.saturating_sub(1) % SYMBOLS
        }
    }

    #[inline]
    pub(super) fn move_down(below: &mut Shares, flip: &Shares, end: &Shares, weight: u16) {
        // SAFETY: as above.
        unsafe {
            let weight = vdupq_n_u16(weight);
            let (begins, flip, end) = (load(below), load(flip), load(end));
            let moved = [0, 1].map(|half: usize| {
                let flipped = veorq_u16(begins[half], flip[half]);
                let way = vsubq_u16(flipped, end[half]);
                let low = vmull_u16(vget_low_u16(way), vget_low_u16(weight));
                let high = vmull_high_u16(way, weight);
                // The upper halves of the products.
                let step = vuzp2q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
                veorq_u16(vsubq_u16(flipped, step), flip[half])
            });
            store(moved, below);
        }
    }

    #[inline]
    fn load(shares: &Shares) -> [uint16x8_t; 2] {
        let halves = shares.as_chunks::<HALF>().0;
        // SAFETY: reads 8 numbers of 2 bytes, which the array has, at any alignment.
        [0, 1].map(|half: usize| unsafe { vld1q_u16(halves[half].as_ptr()) })
    }

    #[inline]
    fn store(vectors: [uint16x8_t; 2], shares: &mut Shares) {
        for (half, vector) in shares.as_chunks_mut::<HALF>().0.iter_mut().zip(vectors) {
            // SAFETY: writes 8 numbers of 2 bytes, which the array has, at any alignment.
            unsafe { vst1q_u16(half.as_mut_ptr(), vector) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any shares, and any way they are moved: the vector code gives what the plain code gives, and
    /// no symbol is left without a share.
    #[test]
    fn shares_move_as_the_scalar_code_says_and_stay_ascending() {
        let mut random = 1u32;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            random
        };
        let mut below: Shares = std::array::from_fn(|i| u16::try_from(i).unwrap() * 4_000);
        let rounds: u32 = if cfg!(miri) { 500 } else { 20_000 };
        for round in 0..rounds {
            let run = round / 400 % 2 == 0;
            let symbol = if run {
                round as usize / 800 % SYMBOLS
            } else {
                next() as usize % SYMBOLS
            };
            let weight = u16::try_from(next() % (1 << (round % 17))).unwrap();
            let mut expected = below;
            scalar::move_down(&mut expected, &FLIP[symbol], &END[symbol], weight);
            make_likelier(&mut below, symbol, weight);
            assert_eq!(below, expected);
            assert_eq!(below[0], 0);
            assert!(below.is_sorted_by(|a, b| a < b), "{below:?}");
            for share in [0, 1, 0x7FFF, 0x8000, u16::MAX, below[symbol]] {
                let found = symbol_at(&below, share);
                assert_eq!(found, scalar::symbol_at(&below, share));
                assert!(below[found] <= share && below.get(found + 1).is_none_or(|&b| b > share));
            }
        }
    }
}
