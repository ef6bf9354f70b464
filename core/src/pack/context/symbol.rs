//! How one code becomes bits: is it zero, how far is it from what was predicted, and on which side.
//!
//! The distance is written as Elias' gamma code, bit by bit through models of its own, so that a few
//! models serve any number of levels: a near miss costs one or two bits, a far one twice the
//! logarithm of its distance.

use super::bit_model::BitModel;
use super::range_coder::BitCoder;

/// Most bits of a code.
const MAX_BITS: u32 = 16;
/// Buckets of Elias' gamma code: distances 0, 1–2, 3–6, 7–14, …
const BUCKETS: usize = MAX_BITS as usize + 1;
/// Buckets whose places all have models of their own.
const SMALL_BUCKETS: u32 = 2;

const ZERO: usize = 0;
const BUCKET: usize = ZERO + 1;
const SMALL_PLACE: usize = BUCKET + BUCKETS;
/// 1 place model in bucket 1, 3 in bucket 2.
const PLACE: usize = SMALL_PLACE + 4;
/// In larger buckets: the upper two bits of the place as a tree, its last bit, those between.
const PLACE_MODELS: usize = 5;
const LAST_BIT: usize = 3;
const MIDDLE_BITS: usize = 4;
/// Models of one context.
pub(super) const MODELS: usize = PLACE + PLACE_MODELS * (BUCKETS - 1 - SMALL_BUCKETS as usize);

/// Which codes there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alphabet {
    /// The greatest code, 1 to 65,535.
    last: u32,
    /// Lowest code whose distance is written: 1 where zero is told apart first.
    lowest: u32,
    /// Greatest bucket of a distance.
    last_bucket: u32,
}

impl Alphabet {
    /// Codes 0 to `last` (at most 65,535); `zero_apart` for data that are zero more often than near
    /// zero, as behind a ReLU.
    pub(super) const fn new(last: u32, zero_apart: bool) -> Self {
        let lowest = zero_apart as u32;
        Self {
            last,
            lowest,
            last_bucket: bucket_of(last.saturating_sub(lowest)),
        }
    }

    /// Whether zero is told apart first.
    pub(super) const fn zero_apart(self) -> bool {
        self.lowest == 1
    }

    /// Codes one element; `predicted` is where its context expects it.
    ///
    /// Returns the code that was read, which may lie above the last if the bytes are foreign.
    #[inline(always)]
    pub(super) fn code(
        self,
        coder: &mut impl BitCoder,
        models: &mut [BitModel; MODELS],
        predicted: u32,
        code: u32,
    ) -> u32 {
        if self.zero_apart() && !coder.code(&mut models[ZERO], code != 0) {
            return 0;
        }
        let place = self.place_of(predicted);
        let distance = place.distance(code.wrapping_sub(self.lowest));
        let distance = gamma(coder, models, self.last_bucket, distance);
        // What fell off the lower end is far above the last code, and stays there.
        place.at_distance(distance).saturating_add(self.lowest)
    }

    /// The prediction within the alphabet, and how far both sides reach as far as they mirror.
    #[inline(always)]
    fn place_of(self, predicted: u32) -> Place {
        let predicted = predicted.clamp(self.lowest, self.last);
        let (below, above) = (predicted - self.lowest, self.last - predicted);
        Place {
            predicted: below,
            mirrored: below.min(above),
            above_is_longer: above > below,
        }
    }
}

/// Where a code is expected, counted from the lowest.
#[derive(Debug, Clone, Copy)]
struct Place {
    predicted: u32,
    mirrored: u32,
    above_is_longer: bool,
}

impl Place {
    /// 0 where predicted, then 1 below, 2 above, 3 two below, … and straight on where one side ends.
    #[inline(always)]
    fn distance(self, code: u32) -> u32 {
        let apart = code.abs_diff(self.predicted);
        if apart <= self.mirrored {
            (2 * apart).wrapping_sub(u32::from(code < self.predicted))
        } else {
            self.mirrored.wrapping_add(apart)
        }
    }

    /// Inverse of [`distance`](Self::distance).
    #[inline(always)]
    fn at_distance(self, distance: u32) -> u32 {
        let apart = distance.div_ceil(2);
        let (apart, below) = if distance <= 2 * self.mirrored {
            (apart, distance % 2 == 1)
        } else {
            (distance - self.mirrored, !self.above_is_longer)
        };
        if below {
            // A distance too far wraps round to a code above the last.
            self.predicted.wrapping_sub(apart)
        } else {
            self.predicted + apart
        }
    }
}

const fn bucket_of(distance: u32) -> u32 {
    (distance + 1).ilog2()
}

/// Codes a distance of at most 2^17 as its bucket in unary and its place in the bucket in binary.
#[inline(always)]
fn gamma(
    coder: &mut impl BitCoder,
    models: &mut [BitModel; MODELS],
    last_bucket: u32,
    distance: u32,
) -> u32 {
    let number = distance.wrapping_add(1);
    let wanted = number.checked_ilog2().unwrap_or(0);
    let mut bucket = 0;
    while bucket < last_bucket && coder.code(&mut models[BUCKET + bucket as usize], wanted > bucket)
    {
        bucket += 1;
    }
    let number = match bucket {
        0 => 1,
        1 => 2 | u32::from(coder.code(&mut models[SMALL_PLACE], number & 1 != 0)),
        SMALL_BUCKETS => {
            let high = coder.code(&mut models[SMALL_PLACE + 1], number & 2 != 0);
            let low = &mut models[SMALL_PLACE + 2 + usize::from(high)];
            4 | u32::from(high) << 1 | u32::from(coder.code(low, number & 1 != 0))
        }
        _ => large(coder, models, bucket, number),
    };
    number - 1
}

#[inline(never)]
fn large(
    coder: &mut impl BitCoder,
    models: &mut [BitModel; MODELS],
    bucket: u32,
    number: u32,
) -> u32 {
    let first = PLACE + PLACE_MODELS * (bucket - SMALL_BUCKETS - 1) as usize;
    let mut read = 1;
    for shift in (0..bucket).rev() {
        let model = match (bucket - 1 - shift, shift) {
            (0, _) => 0,
            (1, _) => 1 + (read & 1) as usize,
            (_, 0) => LAST_BIT,
            _ => MIDDLE_BITS,
        };
        let bit = coder.code(&mut models[first + model], number >> shift & 1 != 0);
        read = read << 1 | u32::from(bit);
    }
    read
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // small numbers

    use super::super::range_coder::{Decoder, Encoder};
    use super::*;

    #[test]
    fn distances_are_the_codes_in_another_order() {
        for zero_apart in [false, true] {
            for last in 1..40 {
                let alphabet = Alphabet::new(last, zero_apart);
                for predicted in 0..=last + 3 {
                    let mut seen = [false; 64];
                    for code in u32::from(zero_apart)..=last {
                        let place = alphabet.place_of(predicted);
                        let distance = place.distance(code - alphabet.lowest);
                        assert!(distance <= last - u32::from(zero_apart));
                        assert!(bucket_of(distance) <= alphabet.last_bucket);
                        assert_eq!(place.at_distance(distance) + alphabet.lowest, code);
                        assert!(!std::mem::replace(&mut seen[distance as usize], true));
                    }
                }
            }
        }
    }

    #[test]
    fn every_code_of_every_alphabet_comes_back() {
        for last in [1, 2, 3, 6, 7, 15, 255, 256, 4_095, 65_535] {
            for zero_apart in [false, true] {
                let alphabet = Alphabet::new(last, zero_apart);
                let codes: Vec<u32> = (0..500u32).map(|i| i * i * 7919 % (last + 1)).collect();
                let mut bytes = Vec::new();
                let mut models = [BitModel::NEW; MODELS];
                let mut encoder = Encoder::new(&mut bytes);
                for (i, &code) in codes.iter().enumerate() {
                    alphabet.code(&mut encoder, &mut models, i as u32 * 37 % (last + 9), code);
                }
                encoder.finish();
                let mut models = [BitModel::NEW; MODELS];
                let mut decoder = Decoder::new(&bytes);
                for (i, &code) in codes.iter().enumerate() {
                    let predicted = i as u32 * 37 % (last + 9);
                    assert_eq!(alphabet.code(&mut decoder, &mut models, predicted, 0), code);
                }
                assert!(decoder.is_canonical());
            }
        }
    }
}
