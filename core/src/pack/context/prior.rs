//! What a context expects before it has seen anything.
//!
//! Where the neighbours are great or differ much, codes are farther from where they were expected.
//! How much farther was measured once, over the cuts of three classifiers at 4, 16 and 64 levels; the
//! contexts soon learn what is different elsewhere. Small tensors gain from it, and the width of blocks
//! needs it: that cannot change once a symbol was coded.

use super::bit_model::BitModel;
use super::symbol::{Alphabet, Context, FIRST_DISTANCE};
use super::symbol_model::SymbolModel;
use crate::pack::simd::SYMBOLS;

/// How the neighbours of an element lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// They are all the same.
    Flat,
    /// They differ little against what they predict; in signed data, they predict what 0.0 is coded as.
    Little,
    Middling,
    /// They differ much; in signed data, they predict something far from 0.0.
    Much,
    /// There is but the one to the left: the first row.
    Unknown,
}

impl Spread {
    pub(super) const ALL: [Self; 5] = [
        Self::Flat,
        Self::Little,
        Self::Middling,
        Self::Much,
        Self::Unknown,
    ];
}

/// Codes are counted in 256ths here.
const CODE: u64 = 256;
/// Most bits of a block; with a symbol's share they fit the coder's narrowest interval.
const MAX_BLOCK_BITS: u32 = 15;

/// A context that has seen nothing: `step` is what the neighbours predict (in signed data, how much
/// they differ), on the logarithmic scale of [`lane`](super::lane), in 16ths of a code.
pub(super) fn context(alphabet: Alphabet, step: u32, spread: Spread) -> Context {
    let block_bits = block_bits(alphabet, step, spread);
    let mean = (mean_distance(alphabet, step, spread) + CODE / 32) >> block_bits;
    let greatest = (alphabet.last >> block_bits) + 1;
    Context {
        not_zero: BitModel::new(not_zero(step, spread)),
        symbols: SymbolModel::new(&masses(mean, greatest)),
        block_bits,
    }
}

/// What the step stands for, in 256ths of a code.
fn value_of(step: u32) -> u64 {
    // A step is a quarter of a doubling; its middle, of 16ths.
    let middle = (u64::from(4 + step % 4) << (step / 4 + 2)) * 9 / 8;
    if step == 0 { 0 } else { middle - CODE / 16 }
}

/// A block is as wide as leaves distances of about three blocks.
fn block_bits(alphabet: Alphabet, step: u32, spread: Spread) -> u32 {
    let narrow_until = match (alphabet.zero_apart(), spread) {
        (true, Spread::Flat) => return 0,
        (true, Spread::Little) => 33,
        (true, Spread::Much | Spread::Unknown) => 24,
        (true, Spread::Middling) | (false, _) => 28,
    };
    (step.saturating_sub(narrow_until) / 4).min(MAX_BLOCK_BITS)
}

/// Mean distance of a code, if it is not zero, from where it is expected: 256ths.
fn mean_distance(alphabet: Alphabet, step: u32, spread: Spread) -> u64 {
    let value = value_of(step);
    let last = u64::from(alphabet.last);
    // Of what is not zero among zeros: the more levels, the farther.
    let from_zero = last * last * (CODE / 8) / (last + 12);
    if alphabet.zero_apart() {
        return match spread {
            Spread::Flat if step == 0 => from_zero,
            Spread::Flat => value / 10,
            Spread::Little => value / 5,
            Spread::Middling if value < CODE * 4 / 5 => value / 2 + from_zero * 3 / 5,
            Spread::Middling => value / 2,
            Spread::Much | Spread::Unknown => value + from_zero * 3 / 5,
        };
    }
    let nearest = CODE * 4 / 5;
    match spread {
        Spread::Unknown => nearest + from_zero,
        _ if step == 0 => nearest,
        _ => 2 * nearest + value * 3 / 5,
    }
}

/// Probability, in units of 2^-16, that a code is not zero.
fn not_zero(step: u32, spread: Spread) -> u32 {
    // Half of the codes are zero where this is predicted.
    let even = match spread {
        Spread::Flat | Spread::Little => CODE / 20,
        Spread::Middling => CODE * 7 / 20,
        Spread::Much | Spread::Unknown => CODE * 6 / 5,
    };
    let value = value_of(step);
    let probability = (value << 16) / (value + even) + (1 << 16) * 3 / 100;
    u32::try_from(probability.min((1 << 16) * 97 / 100)).unwrap_or(u32::MAX)
}

/// How often each symbol comes if distances, of at most `greatest`, are `mean` 256ths on average:
/// nine tenths of them fall off exponentially, and the last tenth six times as slowly.
fn masses(mean: u64, greatest: u32) -> [u64; SYMBOLS] {
    const ONE: u64 = 1 << 32;
    let mut masses = [0; SYMBOLS];
    for (parts, mean) in [(9, mean * 2 / 3), (1, mean * 4)] {
        // Both are below 2^32, or just that in one of them.
        let times = |a: u64, b: u64| (a * b) >> 32;
        // How much rarer a distance is than the one before it.
        let rarer = (mean << 32) / (mean + CODE);
        let mut beyond = ONE;
        let mut power = rarer;
        let mut width = 1;
        for (symbol, &first) in FIRST_DISTANCE.iter().enumerate() {
            let after = FIRST_DISTANCE.get(symbol + 1).map_or(0, |next| {
                while next - first > width {
                    power = times(power, power);
                    width *= 2;
                }
                times(beyond, power)
            });
            if first <= greatest {
                masses[symbol] += parts * (beyond - after);
            }
            beyond = after;
        }
    }
    masses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_expects_what_was_measured() {
        // 64 levels behind a ReLU, neighbours of about one code that differ much: 0.655 are zero,
        // and the others 5.9 codes off.
        let alphabet = Alphabet::new(63, true);
        assert_eq!(value_of(16), 272);
        assert!((32_000..36_000).contains(&not_zero(16, Spread::Much)));
        assert!((4 * CODE..6 * CODE).contains(&mean_distance(alphabet, 16, Spread::Much)));
        // All zero around: 0.06 are not.
        assert!(not_zero(0, Spread::Flat) < 4_000);
        assert!(not_zero(32, Spread::Little) > 60_000);
    }

    #[test]
    fn masses_have_the_mean_that_was_asked_for() {
        for mean in [10, 256, 1000, 3000] {
            let masses = masses(mean, u32::MAX);
            let total: u64 = masses.iter().sum();
            assert!(total.abs_diff(10 << 32) < 100);
            assert!(masses[..9].is_sorted_by(|a, b| a >= b));
            let of_single: u64 = masses[..9].iter().zip(0..).map(|(m, d)| m * d).sum();
            assert!(of_single / (total / CODE) <= mean);
        }
        assert_eq!(masses(256, 3)[4..], [0; 12]);
    }

    #[test]
    fn every_step_of_every_alphabet_has_a_context() {
        for last in [1, 2, 15, 255, 65_535] {
            for zero_apart in [false, true] {
                for step in 0..84 {
                    for spread in Spread::ALL {
                        let context = context(Alphabet::new(last, zero_apart), step, spread);
                        assert!(context.block_bits <= MAX_BLOCK_BITS);
                        assert!((0..SYMBOLS).all(|s| context.symbols.share(s).1 > 0));
                    }
                }
            }
        }
    }
}
