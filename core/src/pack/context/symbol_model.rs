//! What is expected of the next of sixteen symbols in a context, learnt from the symbols before it.

use crate::pack::simd::{SYMBOLS, Shares, make_likelier, symbol_at};

/// Bits of a share.
pub(super) const SHARE_BITS: u32 = 16;
/// Symbols that what is expected at first is worth.
const FIRST_WEIGHT: usize = 8;
/// A new symbol weighs 1 / (n + 8) after n others, and never less than after this many: data change.
/// Measured on the cuts of three classifiers: 80 takes 0.4 % more bytes, 250 as many.
const COUNT_LIMIT: usize = 160;

/// Shares of the symbols in a context.
#[derive(Debug, Clone, Copy)]
pub(super) struct SymbolModel {
    below: Shares,
    seen: u8,
}

impl SymbolModel {
    /// Expects each symbol as often as its `mass` says, and all of them now and then.
    pub(super) fn new(mass: &[u64; SYMBOLS]) -> Self {
        const SPARE: u64 = (1 << SHARE_BITS) - SYMBOLS as u64;
        let total = mass.iter().sum::<u64>().max(1);
        let mut below = Shares::default();
        let mut sum = 0u64;
        for ((begin, mass), units) in below.iter_mut().zip(mass).zip(0..) {
            let share = u128::from(sum) * u128::from(SPARE) / u128::from(total);
            *begin = u16::try_from(share)
                .unwrap_or(u16::MAX)
                .saturating_add(units);
            sum += mass;
        }
        Self { below, seen: 0 }
    }

    /// Where the symbol's share begins and how wide it is, in units of 2^-16; the width is at least 1.
    #[inline(always)]
    pub(super) fn share(&self, symbol: usize) -> (u64, u64) {
        let begin = self.below[symbol % SYMBOLS];
        // Behind the last symbol comes 2^16, which is 0 here as the first one's beginning is.
        let end = self.below[(symbol + 1) % SYMBOLS];
        (begin.into(), end.wrapping_sub(begin).into())
    }

    /// The symbol in whose share this one lies.
    #[inline(always)]
    pub(super) fn symbol_at(&self, share: u16) -> usize {
        symbol_at(&self.below, share)
    }

    /// Moves towards `symbol`.
    #[inline(always)]
    pub(super) fn learn(&mut self, symbol: usize) {
        make_likelier(&mut self.below, symbol, WEIGHTS[usize::from(self.seen)]);
        self.seen = self.seen.saturating_add(1);
    }
}

/// 2^16 / (n + 8), for every count that a byte holds.
static WEIGHTS: [u16; 256] = weights();

#[expect(clippy::cast_possible_truncation, reason = "at most 2^16 / 8")]
const fn weights() -> [u16; 256] {
    let mut weights = [0; 256];
    let mut n = 0;
    while n < weights.len() {
        let count = if n < COUNT_LIMIT { n } else { COUNT_LIMIT };
        weights[n] = ((1 << SHARE_BITS) / (count + FIRST_WEIGHT)) as u16;
        n += 1;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_begin_as_expected_and_fill_the_whole() {
        for mass in [[0; SYMBOLS], [1; SYMBOLS], [u64::from(u32::MAX); SYMBOLS]] {
            let model = SymbolModel::new(&mass);
            let widths: Vec<u64> = (0..SYMBOLS).map(|s| model.share(s).1).collect();
            assert_eq!(widths.iter().sum::<u64>(), 1 << SHARE_BITS);
            assert!(widths.iter().all(|&width| width > 0));
        }
        let mut one = [0; SYMBOLS];
        one[3] = 7;
        assert_eq!(SymbolModel::new(&one).share(3), (3, 65_521));
    }

    #[test]
    fn a_model_follows_what_it_sees() {
        let mut model = SymbolModel::new(&[1; SYMBOLS]);
        for _ in 0..10_000 {
            model.learn(5);
        }
        assert!(model.share(5).1 > 64_000);
        for i in 0..20_000u32 {
            model.learn((i.wrapping_mul(2_654_435_761) >> 30) as usize);
        }
        for symbol in 0..4 {
            let share = model.share(symbol).1;
            assert!(share.abs_diff(1 << 14) < 6_000, "{share}");
        }
    }
}
