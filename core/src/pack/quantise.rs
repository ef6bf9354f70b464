//! ISQuant, the paper's input-specific quantisation: the range comes from this very input, so that
//! every level is used, whatever the photo.
//!
//! A tensor whose least element is 0 or more (the output of a ReLU) gets `lo = 0`, and code 0 means
//! exactly 0.0; any other tensor gets the affine range from its least to its greatest element. All
//! arithmetic is in f64: differences of f32 neither overflow nor vanish there, and the result is
//! the same bit for bit on every machine.

use crate::schedule::Levels;
use crate::{Error, ErrorKind, Result};

/// From the value of code 0 to the value of the last code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ValueRange {
    /// Value of code 0.
    pub(super) lo: f32,
    /// Value of the last code.
    pub(super) hi: f32,
}

impl ValueRange {
    /// The range of a tensor of no elements, and what stands in a message for fp32, which has none.
    pub(super) const ZERO: Self = Self { lo: 0.0, hi: 0.0 };

    /// The range of `values`; fails with [`ErrorKind::InvalidArgument`] if one is not finite.
    pub(super) fn of(values: &[f32]) -> Result<Self> {
        if values.is_empty() {
            return Ok(Self::ZERO);
        }
        let (least, greatest) = values.iter().fold((i32::MAX, i32::MIN), |(lo, hi), &x| {
            (lo.min(order_key(x)), hi.max(order_key(x)))
        });
        if least < order_key(f32::MIN) || greatest > order_key(f32::MAX) {
            return Err(not_finite(values));
        }
        // Adding 0.0 turns -0.0 into 0.0: equal ranges shall have equal bytes.
        Ok(Self {
            lo: (from_order_key(least) + 0.0).min(0.0),
            hi: from_order_key(greatest) + 0.0,
        })
    }
}

/// Turns elements into codes of 0 to `levels - 1`, and back.
///
/// An element comes back at most half a step from where it was (and the rounding to f32), a step
/// being `(hi - lo) / (levels - 1)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantiser {
    lo: f64,
    step: f64,
    codes_per_unit: f64,
}

impl Quantiser {
    /// For a range with `lo <= hi`, both finite.
    pub(super) fn new(range: ValueRange, levels: Levels) -> Self {
        let lo = f64::from(range.lo);
        let width = f64::from(range.hi) - lo;
        let steps = f64::from(levels.get() - 1);
        Self {
            lo,
            step: width / steps,
            codes_per_unit: if width > 0.0 { steps / width } else { 0.0 },
        }
    }

    /// Codes of `values`, all within the range: the nearest level, and the even code of two levels
    /// that are equally near.
    pub(super) fn quantise(&self, values: &[f32], codes: &mut [u32]) {
        for (code, &x) in codes.iter_mut().zip(values) {
            *code = round((f64::from(x) - self.lo) * self.codes_per_unit);
        }
    }

    /// Values of `codes`: `lo + code * step`.
    #[allow(clippy::cast_possible_truncation)] // rounding to f32 is what is meant
    pub(super) fn dequantise(&self, codes: &[u32], values: &mut [f32]) {
        for (x, &code) in values.iter_mut().zip(codes) {
            *x = (self.lo + f64::from(code) * self.step) as f32;
        }
    }
}

/// Nearest integer of `0.0 <= x < 2^32`, ties to even.
///
/// At 2^52 the last bit of an f64's mantissa counts ones, so the addition rounds and the low half
/// of the bits is the integer. Unlike `round` and a saturating cast, this becomes vector code.
#[allow(clippy::cast_possible_truncation)] // the low half is the integer
fn round(x: f64) -> u32 {
    const TWO_POW_52: f64 = 4_503_599_627_370_496.0;
    (x + TWO_POW_52).to_bits() as u32
}

/// An integer that orders as the float does (`f32::total_cmp`): NaNs lie outside the infinities,
/// so least and greatest also tell whether all elements are finite, in one pass of vector code.
fn order_key(x: f32) -> i32 {
    flip_magnitude_if_negative(x.to_bits().cast_signed())
}

fn from_order_key(key: i32) -> f32 {
    f32::from_bits(flip_magnitude_if_negative(key).cast_unsigned())
}

/// Its own inverse.
fn flip_magnitude_if_negative(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

fn not_finite(values: &[f32]) -> Error {
    let (position, value) = values
        .iter()
        .enumerate()
        .find(|(_, x)| !x.is_finite())
        .map_or((0, f32::NAN), |(i, &x)| (i, x));
    Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "element {position} is {value}, and only finite values can be quantised: send this \
             cut as fp32, or check the model and its preprocessing"
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)] // exactness is what is tested

    use super::*;

    fn round_trip(values: &[f32], levels: u32) -> (ValueRange, Vec<u32>, Vec<f32>) {
        let range = ValueRange::of(values).unwrap();
        let quantiser = Quantiser::new(range, Levels::new(levels).unwrap());
        let mut codes = vec![0; values.len()];
        quantiser.quantise(values, &mut codes);
        let mut back = vec![0.0; values.len()];
        quantiser.dequantise(&codes, &mut back);
        (range, codes, back)
    }

    #[test]
    fn relu_outputs_keep_their_zeros_and_their_greatest_element() {
        for levels in [2, 3, 5, 16, 100, 256, 257, 4096, 65_535, 65_536] {
            let (range, codes, back) = round_trip(&[0.0, 3.7, 0.0, 1.3, -0.0], levels);
            assert_eq!(range.lo.to_bits(), 0);
            assert_eq!([codes[0], codes[2], codes[4]], [0; 3]);
            assert_eq!(codes[1], levels - 1);
            assert_eq!(back[0].to_bits(), 0);
            assert_eq!(back[1], 3.7);
        }
    }

    #[test]
    fn positive_tensors_start_at_zero_and_signed_ones_at_their_least() {
        assert_eq!(
            ValueRange::of(&[0.5, 2.0]).unwrap(),
            ValueRange { lo: 0.0, hi: 2.0 }
        );
        assert_eq!(
            ValueRange::of(&[-0.5, 2.0, -3.0]).unwrap(),
            ValueRange { lo: -3.0, hi: 2.0 }
        );
        assert_eq!(
            ValueRange::of(&[-0.5, -3.0]).unwrap(),
            ValueRange { lo: -3.0, hi: -0.5 }
        );
    }

    #[test]
    fn ties_go_to_the_even_code() {
        let (_, codes, _) = round_trip(&[0.0, 0.5, 1.5, 2.5, 3.0], 4);
        assert_eq!(codes, [0, 0, 2, 2, 3]);
    }

    #[test]
    fn constant_tensors_come_back_exactly() {
        for constant in [0.0, 1.0, -2.5, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::MIN] {
            for levels in [2, 7, 256, 65_536] {
                let (_, _, back) = round_trip(&[constant; 3], levels);
                assert_eq!(back, [constant; 3]);
            }
        }
    }

    #[test]
    fn the_whole_range_of_f32_neither_overflows_nor_vanishes() {
        for values in [[f32::MIN, 0.0, f32::MAX], [-1e-45, 0.0, 1e-45]] {
            for levels in [3, 255, 65_535] {
                let (_, _, back) = round_trip(&values, levels);
                assert_eq!(back, values);
            }
        }
    }

    #[test]
    fn values_that_are_not_finite_are_named() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = ValueRange::of(&[1.0, bad, 2.0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("element 1 is"), "{error}");
        }
    }
}
