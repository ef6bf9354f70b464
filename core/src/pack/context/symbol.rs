//! How one code becomes symbols and bits: is it zero, how many blocks of codes is it from where it was
//! expected, on which side, and where is it in its block.
//!
//! A context that is often far off has wide blocks, so that sixteen symbols serve any number of
//! levels: the place in a block is as good as random, and takes its bits as they are. Near misses have
//! symbols of their own, farther ones share them in groups that double, with plain bits behind.

use super::bit_model::BitModel;
use super::range_coder::{Coder, MAX_PLAIN_BITS};
use super::symbol_model::SymbolModel;
use crate::pack::simd::SYMBOLS;

/// Plain bits that tell the distances of each symbol apart: nine have one distance each, groups of 2,
/// 4, 8, … follow, and all that is farther.
const GROUP_BITS: [u32; SYMBOLS] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, MAX_PLAIN_BITS];
/// The first distance that shares its symbol.
const FIRST_GROUP: u32 = 9;
/// The first distance of each symbol.
pub(super) const FIRST_DISTANCE: [u32; SYMBOLS] = first_distances();

const fn first_distances() -> [u32; SYMBOLS] {
    let mut first = [0; SYMBOLS];
    let mut symbol = 1;
    while symbol < SYMBOLS {
        first[symbol] = first[symbol - 1] + (1 << GROUP_BITS[symbol - 1]);
        symbol += 1;
    }
    first
}

/// Which codes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alphabet {
    /// The greatest code, 1 to 65,535.
    pub(super) last: u32,
    /// Lowest code whose distance is written: 1 where zero is told apart first.
    lowest: u32,
}

/// What was learnt where the neighbours looked alike.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))] // a cache line
pub(super) struct Context {
    pub(super) not_zero: BitModel,
    pub(super) symbols: SymbolModel,
    /// A block has two to the power of this many codes.
    pub(super) block_bits: u32,
}

impl Alphabet {
    /// Codes 0 to `last` (at most 65,535); `zero_apart` for data that are zero more often than near
    /// zero, as behind a ReLU.
    pub(super) const fn new(last: u32, zero_apart: bool) -> Self {
        Self {
            last,
            lowest: zero_apart as u32,
        }
    }

    /// Whether zero is told apart first.
    pub(super) const fn zero_apart(self) -> bool {
        self.lowest == 1
    }

    /// Codes one element; `predicted` is where its context expects it.
    ///
    /// Returns the code that was read, which is of no use if the coder had to refuse it.
    #[inline(always)]
    pub(super) fn code<C: Coder>(
        self,
        coder: &mut C,
        context: &mut Context,
        predicted: u32,
        code: u32,
    ) -> u32 {
        if self.zero_apart() && !coder.bit(&mut context.not_zero, code != 0) {
            return 0;
        }
        let last = self.last - self.lowest;
        let predicted = predicted.clamp(self.lowest, self.last) - self.lowest;
        let wanted = code.wrapping_sub(self.lowest);
        let bits = context.block_bits;
        let symbols = &mut context.symbols;
        if bits == 0 {
            let here = Place::new(predicted, last);
            let (read, _) = here.block(coder, symbols, wanted, 0, 0);
            return read.wrapping_add(self.lowest);
        }
        let mask = (1 << bits) - 1;
        // Moves the blocks so that the prediction is in the middle of one.
        let moved = (1u32 << (bits - 1)).wrapping_sub(predicted) & mask;
        let here = Place::new((predicted + moved) >> bits, (last + moved) >> bits);
        let wanted = wanted.wrapping_add(moved);
        let (block, within) = here.block(coder, symbols, wanted >> bits, bits, wanted & mask);
        if C::WRITES {
            return code;
        }
        let read = (block << bits | within).wrapping_sub(moved);
        coder.refuse_if(read > last);
        read.wrapping_add(self.lowest)
    }
}

/// Where a code is expected, in blocks.
#[derive(Debug, Clone, Copy)]
struct Place {
    predicted: u32,
    last: u32,
    /// How far both sides reach as far as they mirror.
    mirrored: u32,
}

impl Place {
    #[inline(always)]
    fn new(predicted: u32, last: u32) -> Self {
        Self {
            predicted,
            last,
            mirrored: predicted.min(last - predicted),
        }
    }

    /// Codes which block it is, and the place within, of `bits` bits.
    #[inline(always)]
    fn block<C: Coder>(
        self,
        coder: &mut C,
        symbols: &mut SymbolModel,
        block: u32,
        bits: u32,
        within: u32,
    ) -> (u32, u32) {
        let distance = self.distance(block);
        let (symbol, within) = coder.symbol(symbols, symbol_of(distance), bits, within);
        let first = FIRST_DISTANCE[symbol % SYMBOLS];
        let mut read = first;
        if first >= FIRST_GROUP {
            let bits = GROUP_BITS[symbol % SYMBOLS];
            // What foreign bytes say can be anything, and is refused below.
            read = first.wrapping_add(coder.plain(bits, distance.wrapping_sub(first)));
        }
        if C::WRITES {
            return (block, within);
        }
        coder.refuse_if(read > self.last);
        (self.at_distance(read), within)
    }

    /// 0 where predicted, then 1 below, 2 above, 3 two below, … and straight on where one side ends.
    #[inline(always)]
    fn distance(self, block: u32) -> u32 {
        let apart = block.abs_diff(self.predicted);
        // The decoder has no block to ask for: what comes out is not used.
        let nearer = apart
            .wrapping_mul(2)
            .wrapping_sub(u32::from(block < self.predicted));
        if apart <= self.mirrored {
            nearer
        } else {
            self.mirrored.wrapping_add(apart)
        }
    }

    /// Inverse of [`distance`](Self::distance); anything for a distance that no block has, which is
    /// one greater than the last.
    #[inline(always)]
    fn at_distance(self, distance: u32) -> u32 {
        let half = distance.div_ceil(2);
        let (apart, below) = if distance <= 2 * self.mirrored {
            (half, distance % 2 == 1)
        } else {
            let above = self.last - self.predicted;
            (distance - self.mirrored, above <= self.predicted)
        };
        if below {
            self.predicted.wrapping_sub(apart)
        } else {
            self.predicted.wrapping_add(apart)
        }
    }
}

#[inline(always)]
fn symbol_of(distance: u32) -> usize {
    if distance < FIRST_GROUP {
        return distance as usize;
    }
    // Counted from two before them, groups begin at powers of two.
    let doubling = (distance - (FIRST_GROUP - 2)).ilog2();
    ((FIRST_GROUP - 1 + doubling) as usize).min(SYMBOLS - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // small numbers

    use super::super::range_coder::{Decoder, Encoder};
    use super::*;

    #[test]
    fn every_distance_has_a_symbol() {
        assert_eq!(
            FIRST_DISTANCE,
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 23, 39, 71, 135]
        );
        for distance in 0..=65_535 {
            let symbol = symbol_of(distance);
            let within = distance - FIRST_DISTANCE[symbol];
            assert!(within < 1 << GROUP_BITS[symbol], "{distance}");
        }
    }

    #[test]
    fn distances_are_the_blocks_in_another_order() {
        for last in 0..40 {
            for predicted in 0..=last {
                let place = Place::new(predicted, last);
                let mut seen = [false; 64];
                for block in 0..=last {
                    let distance = place.distance(block);
                    assert!(distance <= last);
                    assert_eq!(place.at_distance(distance), block);
                    assert!(!std::mem::replace(&mut seen[distance as usize], true));
                }
            }
        }
    }

    #[test]
    fn every_code_of_every_alphabet_comes_back() {
        for last in [1, 2, 3, 6, 7, 15, 255, 256, 4_095, 65_535] {
            for zero_apart in [false, true] {
                for block_bits in [0, 1, 3, 7, 15] {
                    let alphabet = Alphabet::new(last, zero_apart);
                    let codes: Vec<u32> = (0..500u32).map(|i| i * i * 7919 % (last + 1)).collect();
                    let fresh = Context {
                        not_zero: BitModel::new(1 << 15),
                        symbols: SymbolModel::new(&[1; SYMBOLS]),
                        block_bits,
                    };
                    let mut bytes = Vec::new();
                    let mut context = fresh;
                    let mut encoder = Encoder::new(&mut bytes);
                    for (i, &code) in codes.iter().enumerate() {
                        let predicted = i as u32 * 37 % (last + 9);
                        alphabet.code(&mut encoder, &mut context, predicted, code);
                    }
                    encoder.finish();
                    let mut context = fresh;
                    let mut decoder = Decoder::new(&bytes);
                    for (i, &code) in codes.iter().enumerate() {
                        let predicted = i as u32 * 37 % (last + 9);
                        let read = alphabet.code(&mut decoder, &mut context, predicted, 0);
                        assert_eq!(read, code, "{last} {block_bits}");
                    }
                    assert!(decoder.is_canonical());
                }
            }
        }
    }
}
