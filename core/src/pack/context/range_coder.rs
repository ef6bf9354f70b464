//! Binary arithmetic coding: bits and their probabilities to bytes, and back.
//!
//! A range coder with 64-bit registers (after G. N. N. Martin, "Range encoding", 1979): the interval
//! is cut in proportion to the probability, and 32 bits leave it at a time, so that the branch that
//! moves them is almost never taken. Of all numbers in the last interval the one with the fewest
//! bytes is written, and its trailing zero bytes are left out; the decoder insists on that one, so
//! that what decodes encodes to the same bytes.

use super::bit_model::{BitModel, PROBABILITY_BITS};

/// The interval is never narrower than this when a bit is coded.
const MIN_RANGE: u64 = 1 << 32;
/// Bits that leave the registers at once.
const WORD_BITS: u32 = 32;

/// What codes bits: the same walk over the elements drives the encoder and the decoder, so that they
/// cannot differ.
pub(super) trait BitCoder {
    /// Codes a bit with what `model` expects of it, and lets the model learn it.
    ///
    /// The encoder writes `bit` and returns it; the decoder ignores it and returns what it read.
    fn code(&mut self, model: &mut BitModel, bit: bool) -> bool;
}

/// Appends to a buffer.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    low: u64,
    range: u64,
    /// Where this coder's bytes start: a carry never goes further back.
    start: usize,
    bytes: &'a mut Vec<u8>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self {
            low: 0,
            range: u64::MAX,
            start: bytes.len(),
            bytes,
        }
    }

    /// Writes what is still in the registers.
    pub(super) fn finish(mut self) {
        let (tail, carry) = shortest(self.low, self.range);
        if carry {
            self.carry();
        }
        self.bytes.extend(tail.to_be_bytes());
        while self.bytes.len() > self.start && self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
    }

    /// Adds one to the number that the written bytes are; it fits, since the interval never leaves
    /// the unit it began with.
    #[cold]
    fn carry(&mut self) {
        for byte in self.bytes[self.start..].iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return;
            }
        }
    }

    #[cold]
    fn shift(&mut self) {
        let [a, b, c, d, ..] = self.low.to_be_bytes();
        self.bytes.extend([a, b, c, d]);
        self.low <<= WORD_BITS;
        self.range <<= WORD_BITS;
    }
}

impl BitCoder for Encoder<'_> {
    #[inline(always)]
    fn code(&mut self, model: &mut BitModel, bit: bool) -> bool {
        let split = (self.range >> PROBABILITY_BITS) * model.probability();
        if bit {
            self.range = split;
        } else {
            let (low, carry) = self.low.overflowing_add(split);
            self.low = low;
            self.range -= split;
            if carry {
                self.carry();
            }
        }
        model.learn(bit);
        if self.range < MIN_RANGE {
            self.shift();
        }
        bit
    }
}

/// Reads from a slice; behind its end there are zeros without end.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    /// What the stream's number exceeds `low` by.
    code: u64,
    low: u64,
    range: u64,
    bytes: &'a [u8],
    /// Bytes taken, those behind the end too.
    taken: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self {
            code: 0,
            low: 0,
            range: u64::MAX,
            bytes,
            taken: 0,
        };
        decoder.code = decoder.word() << WORD_BITS;
        decoder.code |= decoder.word();
        decoder
    }

    /// Whether the bytes are those that an encoder would have written for the same bits.
    pub(super) fn is_canonical(&self) -> bool {
        let (tail, _) = shortest(self.low, self.range);
        let all_taken = self.taken >= self.bytes.len();
        all_taken
            && self.code < self.range
            && self.low.wrapping_add(self.code) == tail
            && self.bytes.last() != Some(&0)
    }

    fn word(&mut self) -> u64 {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        self.taken = self.taken.saturating_add(4);
        let word = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 4];
            for (to, &from) in word.iter_mut().zip(rest) {
                *to = from;
            }
            word
        });
        u32::from_be_bytes(word).into()
    }

    #[cold]
    fn shift(&mut self) {
        self.code = self.code << WORD_BITS | self.word();
        self.low <<= WORD_BITS;
        self.range <<= WORD_BITS;
    }
}

impl BitCoder for Decoder<'_> {
    #[inline(always)]
    fn code(&mut self, model: &mut BitModel, _: bool) -> bool {
        let split = (self.range >> PROBABILITY_BITS) * model.probability();
        let bit = self.code < split;
        if bit {
            self.range = split;
        } else {
            self.code -= split;
            self.low = self.low.wrapping_add(split);
            self.range -= split;
        }
        model.learn(bit);
        if self.range < MIN_RANGE {
            self.shift();
        }
        bit
    }
}

/// The number from `low` to below `low + range` with the most trailing zero bytes, the largest of
/// them, and whether it lies beyond 64 bits.
fn shortest(low: u64, range: u64) -> (u64, bool) {
    let last = u128::from(low) + u128::from(range) - 1;
    let number = (0..u64::BITS)
        .step_by(8)
        .rev()
        .map(|zeros| last >> zeros << zeros)
        .find(|&number| number >= low.into())
        .unwrap_or(last);
    let low_half = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    (low_half, number >> u64::BITS != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // small numbers

    use super::super::bit_model::BitModel;
    use super::*;

    fn encode(bits: &[(usize, bool)]) -> Vec<u8> {
        let mut bytes = vec![7];
        let mut models = [BitModel::NEW; 4];
        let mut encoder = Encoder::new(&mut bytes);
        for &(model, bit) in bits {
            encoder.code(&mut models[model], bit);
        }
        encoder.finish();
        assert_eq!(bytes.remove(0), 7, "what was there is left alone");
        bytes
    }

    fn decode(bytes: &[u8], which: &[(usize, bool)]) -> (Vec<(usize, bool)>, bool) {
        let mut models = [BitModel::NEW; 4];
        let mut decoder = Decoder::new(bytes);
        let bits = which
            .iter()
            .map(|&(model, _)| (model, decoder.code(&mut models[model], false)))
            .collect();
        (bits, decoder.is_canonical())
    }

    /// Bits with runs and surprises.
    fn bits(count: u64, seed: u64) -> Vec<(usize, bool)> {
        (0..count)
            .map(|i| {
                let mixed = (i ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
                ((mixed % 4) as usize, mixed % 97 < 5 * (mixed % 4))
            })
            .collect()
    }

    #[test]
    fn bits_come_back_and_their_bytes_are_the_only_ones() {
        for seed in 0..40 {
            for count in [0, 1, 2, 31, 500, 20_000] {
                let bits = bits(count, seed);
                let bytes = encode(&bits);
                assert_eq!(decode(&bytes, &bits), (bits.clone(), true));
                for longer in [0, 1, 0x80] {
                    let other = [&bytes[..], &[longer]].concat();
                    let (decoded, canonical) = decode(&other, &bits);
                    assert!(
                        !canonical || encode(&decoded) == other,
                        "{count} and {longer}"
                    );
                    assert!(!canonical || longer != 0);
                }
            }
        }
    }

    #[test]
    fn every_other_byte_string_is_another_message_or_refused() {
        let bits = bits(60, 3);
        let bytes = encode(&bits);
        for i in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[i / 8] ^= 1 << (i % 8);
            let (decoded, canonical) = decode(&other, &bits);
            assert!(!canonical || encode(&decoded) == other);
            assert!(!canonical || decoded != bits);
        }
    }

    #[test]
    fn carries_run_back_through_what_was_written() {
        // A long run of the likely bit followed by others makes every kind of interval.
        let mut carried = 0;
        for run in 0..3000 {
            let bits: Vec<_> = (0..run + 200).map(|i| (0, i % 131 != 7)).collect();
            let bytes = encode(&bits);
            carried += usize::from(bytes.contains(&0xFF));
            assert_eq!(decode(&bytes, &bits), (bits, true));
        }
        assert!(carried > 0);
    }

    #[test]
    fn what_is_expected_costs_next_to_nothing() {
        let zeros = vec![(0, false); 80_000];
        assert!(encode(&zeros).len() < 30);
    }
}
