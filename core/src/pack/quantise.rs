//! ISQuant, the paper's input-specific quantisation: the range comes from this very input, so that
//! every level is used, whatever the photo.
//!
//! A tensor whose least element is 0 or more (the output of a ReLU) gets `lo = 0`, and code 0 means
//! exactly 0.0; any other tensor gets the affine range from its least to its greatest element. All
//! arithmetic is in f64: differences of f32 neither overflow nor vanish there, and the result is
//! the same bit for bit on every machine.

use super::diffuse::{Errors, diffuse};
use super::maps::Maps;
use super::shuffle::{shuffle, unshuffle};
use super::simd::{Code, Kernels, Scale, from_order_key, order_key};
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
    pub(super) fn of(kernels: Kernels, values: &[f32]) -> Result<Self> {
        if values.is_empty() {
            return Ok(Self::ZERO);
        }
        let (least, greatest) = kernels.range_keys(values);
        if least < order_key(f32::MIN) || greatest > order_key(f32::MAX) {
            return Err(not_finite(values));
        }
        // Adding 0.0 turns -0.0 into 0.0: equal ranges shall have equal bytes. It comes last, because
        // `min` may return either zero.
        Ok(Self {
            lo: from_order_key(least).min(0.0) + 0.0,
            hi: from_order_key(greatest) + 0.0,
        })
    }

    /// From one end to the other.
    pub(super) fn width(self) -> f64 {
        f64::from(self.hi) - f64::from(self.lo)
    }
}

/// Turns elements into codes of 0 to `levels - 1`, and back.
///
/// An element of the range comes back at most half a step from where it was, one and a half with
/// errors diffused (and the rounding to f32), a step being `(hi - lo) / (levels - 1)`; one outside comes back as the nearer end.
///
/// Codes are u8 up to 256 levels and u16 above.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantiser {
    kernels: Kernels,
    scale: Scale,
    levels: Levels,
    /// Share of each error that is handed on.
    diffusion: f32,
}

impl Quantiser {
    /// For a range with `lo <= hi`, both finite.
    pub(super) fn new(kernels: Kernels, range: ValueRange, levels: Levels) -> Self {
        let width = range.width();
        let last_code = f64::from(levels.get() - 1);
        Self {
            kernels,
            scale: Scale {
                lo: range.lo.into(),
                step: width / last_code,
                codes_per_unit: if width > 0.0 { last_code / width } else { 0.0 },
                last_code,
            },
            levels,
            diffusion: 0.0,
        }
    }

    /// With this share of each error (0.0 to 1.0) diffused where that can be: in maps of which nothing
    /// is below 0.0.
    pub(super) const fn diffusing(self, diffusion: f32) -> Self {
        Self { diffusion, ..self }
    }

    pub(super) const fn levels(&self) -> Levels {
        self.levels
    }

    /// Whether codes are u8.
    pub(super) const fn codes_have_one_byte(&self) -> bool {
        self.levels.bits() <= u8::BITS
    }

    /// The code nearest to 0.0 where the range has values below it, none where it begins there.
    pub(super) fn zero_code(&self) -> Option<u32> {
        (self.scale.lo < 0.0).then(|| {
            let mut code = [0u16];
            self.quantise(&[0.0], &mut code);
            code[0].into()
        })
    }

    /// Codes of finite `values`: the nearest level, and the even code of two levels that are equally
    /// near.
    pub(super) fn quantise<C: Code>(&self, values: &[f32], codes: &mut [C]) {
        self.kernels.quantise(values, &self.scale, codes);
    }

    /// Codes of all `values` of a tensor of these maps: as [`quantise`](Self::quantise) has them, or
    /// with errors diffused.
    pub(super) fn quantise_maps<C: Code>(
        &self,
        values: &[f32],
        maps: Maps,
        codes: &mut [C],
        errors: &mut Errors,
    ) {
        if self.diffusion > 0.0 && self.scale.lo >= 0.0 && maps.are_spatial() {
            diffuse(values, maps, &self.scale, self.diffusion, codes, errors);
        } else {
            self.quantise(values, codes);
        }
    }

    /// Values of `codes`, `lo + code * step`; fails with [`ErrorKind::InvalidActivation`] if a code
    /// is none of the levels.
    pub(super) fn dequantise<C: Code>(&self, codes: &[C], values: &mut [f32]) -> Result<()> {
        let greatest: u32 = self.kernels.greatest(codes).into();
        if greatest >= self.levels.get() {
            return Err(Error::new(
                ErrorKind::InvalidActivation,
                format!(
                    "code {greatest} is none of the {} levels",
                    self.levels.get()
                ),
            ));
        }
        self.kernels.dequantise(codes, &self.scale, values);
        Ok(())
    }

    /// Fills `planes` with the bit planes of the codes of `values`, a block at a time, so that codes
    /// never leave the first-level cache.
    pub(super) fn shuffled(&self, values: &[f32], planes: &mut [u8]) {
        if self.codes_have_one_byte() {
            self.shuffled_as::<u8>(values, planes);
        } else {
            self.shuffled_as::<u16>(values, planes);
        }
    }

    /// Inverse of [`shuffled`](Self::shuffled); fails as [`dequantise`](Self::dequantise) does.
    pub(super) fn unshuffled(&self, planes: &[u8], values: &mut [f32]) -> Result<()> {
        if self.codes_have_one_byte() {
            self.unshuffled_as::<u8>(planes, values)
        } else {
            self.unshuffled_as::<u16>(planes, values)
        }
    }

    fn shuffled_as<C: Code>(&self, values: &[f32], planes: &mut [u8]) {
        shuffle(
            self.kernels,
            values.len(),
            planes,
            |first, codes: &mut [C]| {
                self.quantise(&values[first..], codes);
            },
        );
    }

    fn unshuffled_as<C: Code>(&self, planes: &[u8], values: &mut [f32]) -> Result<()> {
        unshuffle(self.kernels, values.len(), planes, |first, codes: &[C]| {
            self.dequantise(codes, &mut values[first..])
        })
    }
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
    // Exactness is what is tested, and rounding to f32 what is meant.
    #![allow(clippy::float_cmp, clippy::cast_possible_truncation)]

    use super::*;

    fn round_trip(values: &[f32], levels: u32) -> (ValueRange, Vec<u16>, Vec<f32>) {
        let range = ValueRange::of(Kernels::best(), values).unwrap();
        let quantiser = Quantiser::new(Kernels::best(), range, Levels::new(levels).unwrap());
        let mut codes = vec![0; values.len()];
        quantiser.quantise(values, &mut codes);
        let mut back = vec![0.0; values.len()];
        quantiser.dequantise(&codes, &mut back).unwrap();
        (range, codes, back)
    }

    #[test]
    fn relu_outputs_keep_their_zeros_and_their_greatest_element() {
        for levels in [2, 3, 5, 16, 100, 256, 257, 4096, 65_535, 65_536] {
            let (range, codes, back) = round_trip(&[0.0, 3.7, 0.0, 1.3, -0.0], levels);
            assert_eq!(range.lo.to_bits(), 0);
            assert_eq!([codes[0], codes[2], codes[4]], [0; 3]);
            assert_eq!(u32::from(codes[1]), levels - 1);
            assert_eq!(back[0].to_bits(), 0);
            assert_eq!(back[1], 3.7);
        }
    }

    #[test]
    fn positive_tensors_start_at_zero_and_signed_ones_at_their_least() {
        assert_eq!(
            ValueRange::of(Kernels::best(), &[0.5, 2.0]).unwrap(),
            ValueRange { lo: 0.0, hi: 2.0 }
        );
        assert_eq!(
            ValueRange::of(Kernels::best(), &[-0.5, 2.0, -3.0]).unwrap(),
            ValueRange { lo: -3.0, hi: 2.0 }
        );
        assert_eq!(
            ValueRange::of(Kernels::best(), &[-0.5, -3.0]).unwrap(),
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
            let error = ValueRange::of(Kernels::best(), &[1.0, bad, 2.0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("element 1 is"), "{error}");
        }
    }

    #[test]
    fn in_one_go_is_the_same_as_step_by_step() {
        let values: Vec<f32> = (0..5000u16)
            .map(|i| f32::from(i.wrapping_mul(40_503)) / 65_535.0 - 0.3)
            .collect();
        // Narrower than the values, so that some are clipped.
        let range = ValueRange { lo: -0.25, hi: 0.6 };
        for kernels in Kernels::available() {
            for levels in [2, 16, 255, 256, 257, 65_536] {
                let levels = Levels::new(levels).unwrap();
                let quantiser = Quantiser::new(kernels, range, levels);
                let mut planes = vec![0; values.len() / 8 * levels.bits() as usize];
                quantiser.shuffled(&values, &mut planes);
                let mut back = vec![f32::NAN; values.len()];
                quantiser.unshuffled(&planes, &mut back).unwrap();
                for (&x, y) in values.iter().zip(back) {
                    let last_code = f64::from(levels.get() - 1);
                    let width = f64::from(range.hi) - f64::from(range.lo);
                    let exact = (f64::from(x) - f64::from(range.lo)) * (last_code / width);
                    let code = exact.round_ties_even().clamp(0.0, last_code);
                    let value = f64::from(range.lo) + code * (width / last_code);
                    assert_eq!(y, value as f32);
                }
            }
        }
    }

    #[test]
    fn codes_that_are_no_level_are_refused() {
        let quantiser = Quantiser::new(
            Kernels::best(),
            ValueRange { lo: 0.0, hi: 1.0 },
            Levels::new(300).unwrap(),
        );
        let mut values = [0.0; 3];
        quantiser.dequantise(&[0u16, 299, 5], &mut values).unwrap();
        let error = quantiser
            .dequantise(&[0u16, 300, 5], &mut values)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidActivation);
    }
}
