//! Arithmetic coding: bits and symbols and what is expected of them to bytes, and back.
//!
//! A range coder with 64-bit registers (after G. N. N. Martin, "Range encoding", 1979): the interval
//! is cut in proportion to what is expected, and 32 bits leave it at a time, so that the branch that
//! moves them is almost never taken. Of all numbers in the last interval the one with the fewest
//! bytes is written, and its trailing zero bytes are left out; the decoder insists on that one, so
//! that what decodes encodes to the same bytes.

use super::bit_model::{BitModel, PROBABILITY_BITS};
use super::symbol_model::{SHARE_BITS, SymbolModel};

/// The interval is never narrower than this when something is coded.
const MIN_RANGE: u64 = 1 << 32;
/// Bits that leave the registers at once.
const WORD_BITS: u32 = 32;
/// Most plain bits at a time: the interval's narrowest unit is 1 beside a symbol's share, too.
pub(super) const MAX_PLAIN_BITS: u32 = 16;

/// What codes: the same walk over the elements and the same cuts of the interval drive the encoder and
/// the decoder, so that they cannot differ.
///
/// The encoder writes what it is given and returns it; the decoder ignores it and returns what it
/// read.
pub(super) trait Coder {
    /// Whether this is the encoder, which knows beforehand what comes back.
    const WRITES: bool;

    /// How wide the interval is.
    fn range(&self) -> u64;

    /// Goes on in the part of the interval that starts at `from` and is `range` wide.
    fn narrow(&mut self, from: u64, range: u64);

    /// Whether the stream's number lies in the first `split` of the interval.
    fn lies_below(&self, split: u64, wanted: bool) -> bool;

    /// Which of the interval's first 2^`bits` units the stream's number lies in (`bits` up to 32).
    fn unit_at(&mut self, unit: u64, bits: u32, wanted: u32) -> u32;

    /// Remembers that the decoder has read what no encoder writes, if it has.
    fn refuse_if(&mut self, foreign: bool);

    /// Codes a bit with what `model` expects of it, and lets the model learn it.
    #[inline(always)]
    fn bit(&mut self, model: &mut BitModel, bit: bool) -> bool {
        let split = (self.range() >> PROBABILITY_BITS) * model.probability();
        let bit = self.lies_below(split, bit);
        if bit {
            self.narrow(0, split);
        } else {
            self.narrow(split, self.range() - split);
        }
        model.learn(bit);
        bit
    }

    /// Codes `symbol`, which is below 16, with what `model` expects of it, and `plain`, which has
    /// `bits` bits of which nothing is expected; lets the model learn the symbol.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the share is what is low")]
    fn symbol(
        &mut self,
        model: &mut SymbolModel,
        symbol: usize,
        bits: u32,
        plain: u32,
    ) -> (usize, u32) {
        let unit = self.range() >> (SHARE_BITS + bits);
        let at = self.unit_at(unit, SHARE_BITS + bits, plain << SHARE_BITS);
        let plain = at >> SHARE_BITS;
        let symbol = if Self::WRITES {
            symbol
        } else {
            model.symbol_at(at as u16)
        };
        let (begin, width) = model.share(symbol);
        let begin = u64::from(plain) << SHARE_BITS | begin;
        self.narrow(unit * begin, unit * width);
        model.learn(symbol);
        (symbol, plain)
    }

    /// Codes `value`, which has `bits` bits of which nothing is expected.
    #[inline(always)]
    fn plain(&mut self, bits: u32, value: u32) -> u32 {
        let unit = self.range() >> bits;
        let value = self.unit_at(unit, bits, value);
        self.narrow(unit * u64::from(value), unit);
        value
    }
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

impl Coder for Encoder<'_> {
    const WRITES: bool = true;

    #[inline(always)]
    fn range(&self) -> u64 {
        self.range
    }

    #[inline(always)]
    fn narrow(&mut self, from: u64, range: u64) {
        let (low, carry) = self.low.overflowing_add(from);
        self.low = low;
        self.range = range;
        if carry {
            self.carry();
        }
        if self.range < MIN_RANGE {
            self.shift();
        }
    }

    #[inline(always)]
    fn lies_below(&self, _: u64, wanted: bool) -> bool {
        wanted
    }

    #[inline(always)]
    fn unit_at(&mut self, _: u64, _: u32, wanted: u32) -> u32 {
        wanted
    }

    #[inline(always)]
    fn refuse_if(&mut self, _: bool) {}
}

/// Reads from a slice; behind its end there are zeros without end.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    /// What the stream's number exceeds the interval's lower end by.
    code: u64,
    range: u64,
    /// The last 64 bits taken of the stream's number.
    window: u64,
    bytes: &'a [u8],
    /// Bytes taken, those behind the end too.
    taken: usize,
    /// Not 0 once something was read that no encoder writes: a number out of bounds, or one where no
    /// encoder goes, since a range that is not divided without rest has an end that belongs to nothing.
    foreign: u64,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self {
            code: 0,
            range: u64::MAX,
            window: 0,
            bytes,
            taken: 0,
            foreign: 0,
        };
        decoder.code = decoder.word() << WORD_BITS | decoder.word();
        decoder.window = decoder.code;
        decoder
    }

    /// Whether the bytes are those that an encoder would have written for the same things.
    pub(super) fn is_canonical(&self) -> bool {
        let (tail, _) = shortest(self.window.wrapping_sub(self.code), self.range);
        let all_taken = self.taken >= self.bytes.len();
        all_taken
            && self.foreign == 0
            && self.code < self.range
            && self.window == tail
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
        let word = self.word();
        self.code = self.code << WORD_BITS | word;
        self.window = self.window << WORD_BITS | word;
        self.range <<= WORD_BITS;
    }
}

impl Coder for Decoder<'_> {
    const WRITES: bool = false;

    #[inline(always)]
    fn range(&self) -> u64 {
        self.range
    }

    /// `from` is not above the code.
    #[inline(always)]
    fn narrow(&mut self, from: u64, range: u64) {
        self.code -= from;
        self.range = range;
        if self.range < MIN_RANGE {
            self.shift();
        }
    }

    #[inline(always)]
    fn lies_below(&self, split: u64, _: bool) -> bool {
        self.code < split
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is lost is remembered as foreign"
    )]
    fn unit_at(&mut self, unit: u64, bits: u32, _: u32) -> u32 {
        let at = self.code / unit;
        self.foreign |= at >> bits;
        at as u32
    }

    #[inline(always)]
    fn refuse_if(&mut self, foreign: bool) {
        self.foreign |= u64::from(foreign);
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
    use super::super::symbol_model::SymbolModel;
    use super::*;

    const BIT_MODELS: usize = 4;

    /// Something to code.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Item {
        Bit(usize, bool),
        Symbol(usize, u32, u32),
        Plain(u32, u32),
    }
    use Item::{Bit, Plain, Symbol};

    struct Models([BitModel; BIT_MODELS], SymbolModel);

    impl Models {
        fn new() -> Self {
            Self(
                [BitModel::new(1 << 15); BIT_MODELS],
                SymbolModel::new(&[1; 16]),
            )
        }

        fn code(&mut self, coder: &mut impl Coder, item: Item) -> Item {
            match item {
                Bit(model, bit) => Bit(model, coder.bit(&mut self.0[model], bit)),
                Symbol(symbol, bits, plain) => {
                    let (symbol, plain) = coder.symbol(&mut self.1, symbol, bits, plain);
                    Symbol(symbol, bits, plain)
                }
                Plain(bits, value) => Plain(bits, coder.plain(bits, value)),
            }
        }
    }

    fn encode(items: &[Item]) -> Vec<u8> {
        let mut bytes = vec![7];
        let mut models = Models::new();
        let mut encoder = Encoder::new(&mut bytes);
        for &item in items {
            assert_eq!(models.code(&mut encoder, item), item);
        }
        encoder.finish();
        assert_eq!(bytes.remove(0), 7, "what was there is left alone");
        bytes
    }

    /// What is read in place of `items`, and whether the bytes are canonical.
    fn decode(bytes: &[u8], items: &[Item]) -> (Vec<Item>, bool) {
        let mut models = Models::new();
        let mut decoder = Decoder::new(bytes);
        let items = items
            .iter()
            .map(|&item| models.code(&mut decoder, item))
            .collect();
        (items, decoder.is_canonical())
    }

    /// Bits with runs and surprises, and symbols and plain bits among them.
    fn items(count: u64, seed: u64) -> Vec<Item> {
        (0..count)
            .map(|i| {
                let mixed = (i ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
                let bits = (mixed >> 8) as u32 % (MAX_PLAIN_BITS + 1);
                let plain = (mixed >> 16) as u32 & ((1 << bits) - 1);
                match mixed >> 4 & 7 {
                    0 => Plain(bits, plain),
                    1 => Symbol(15, bits, plain),
                    2 | 3 => Symbol((mixed % 3) as usize, 0, 0),
                    4 => Symbol((mixed % 16) as usize, bits, plain),
                    _ => Bit((mixed % 4) as usize, mixed % 97 < 5 * (mixed % 4)),
                }
            })
            .collect()
    }

    #[test]
    fn items_come_back_and_their_bytes_are_the_only_ones() {
        for seed in 0..40 {
            for count in [0, 1, 2, 31, 500, 20_000] {
                let items = items(count, seed);
                let bytes = encode(&items);
                assert_eq!(decode(&bytes, &items), (items.clone(), true));
                for longer in [0, 1, 0x80] {
                    let other = [&bytes[..], &[longer]].concat();
                    let (decoded, canonical) = decode(&other, &items);
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
        let mut accepted = 0;
        for seed in 0..30 {
            let items = items(60, seed);
            let bytes = encode(&items);
            for i in 0..bytes.len() * 8 {
                let mut other = bytes.clone();
                other[i / 8] ^= 1 << (i % 8);
                let (decoded, canonical) = decode(&other, &items);
                assert!(!canonical || encode(&decoded) == other);
                assert!(!canonical || decoded != items);
                accepted += usize::from(canonical);
            }
        }
        assert!(accepted > 0);
    }

    #[test]
    fn a_number_where_no_encoder_goes_is_refused() {
        // The range is 2^64 - 1 at first: sixteen plain bits leave 65,535 of it to nothing.
        let items = [Plain(16, 65_535)];
        assert!(!decode(&[0xFF; 8], &items).1);
        assert!(!decode(&[0xFF; 8], &[Symbol(15, 0, 0)]).1);
    }

    #[test]
    fn carries_run_back_through_what_was_written() {
        // A long run of the likely bit followed by others makes every kind of interval.
        let mut carried = 0;
        for run in 0..3000 {
            let items: Vec<_> = (0..run + 200).map(|i| Bit(0, i % 131 != 7)).collect();
            let bytes = encode(&items);
            carried += usize::from(bytes.contains(&0xFF));
            assert_eq!(decode(&bytes, &items), (items, true));
        }
        assert!(carried > 0);
    }

    #[test]
    fn what_is_expected_costs_next_to_nothing() {
        assert!(encode(&vec![Bit(0, false); 80_000]).len() < 30);
        assert!(encode(&vec![Symbol(0, 0, 0); 80_000]).len() < 100);
        assert!(encode(&[Plain(16, 77); 100]).len() <= 201);
    }
}
