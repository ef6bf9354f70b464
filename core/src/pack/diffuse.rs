//! Error diffusion: what rounding takes from an element is handed on to its neighbours.
//!
//! The tail begins with convolutions and pools, which add up neighbourhoods. Behind a ReLU most
//! elements are zero or small, and rounding each to its nearest level loses the small ones: sums come
//! out too low. Floyd and Steinberg ("An adaptive algorithm for spatial greyscale", 1976) hand the
//! error of each element on to the next in its row and three below, so that sums over a
//! neighbourhood stay. What was zero stays zero, and hands on what reached it. Signed tensors gain
//! nothing by it (`docs/packing.md`), and are rounded to the nearest level.
//!
//! The sender alone is concerned: any codes are as good as others to who reads them.

use super::maps::Maps;
use super::simd::{Code, Scale};

/// Channels that are walked side by side: one element waits for the one before it, so that vectors
/// go across channels.
const LANES: usize = 8;
/// Shares of its error that an element hands on to the one on its right, and below: straight, to the
/// right and to the left.
const RIGHT: f32 = 7.0 / 16.0;
const BELOW: f32 = 5.0 / 16.0;
const BELOW_RIGHT: f32 = 1.0 / 16.0;
const BELOW_LEFT: f32 = 3.0 / 16.0;
/// Elements of less than this share of a step are zero.
const ZERO: f32 = 0.01;
/// Adding this to a level of less than 2^22 rounds it to the nearest integer, and leaves that in the
/// low bits.
const TWO_POW_23: f32 = 8_388_608.0;

/// Errors of a row of maps, and room at both ends.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<[f32; LANES]>);

/// Codes of `values`, which are not below 0.0 and whose range starts there, with the share `kept` of
/// each error (0.0 to 1.0) diffused over its map. An element comes back at most 1.5 steps from where
/// it was.
pub(super) fn diffuse<C: Code>(
    values: &[f32],
    maps: Maps,
    scale: &Scale,
    kept: f32,
    codes: &mut [C],
    errors: &mut Errors,
) {
    let plane = maps.plane();
    let group = plane * LANES;
    for (values, codes) in values.chunks(group).zip(codes.chunks_mut(group)) {
        errors.0.clear();
        errors.0.resize(maps.width + 2, [0.0; LANES]);
        if values.len() == group {
            walk::<C, LANES>(values, maps, scale, kept, codes, &mut errors.0);
        } else {
            for (values, codes) in values.chunks(plane).zip(codes.chunks_mut(plane)) {
                errors.0.fill([0.0; LANES]);
                walk::<C, 1>(values, maps, scale, kept, codes, &mut errors.0);
            }
        }
    }
}

/// Walks the first `N` maps side by side.
fn walk<C: Code, const N: usize>(
    values: &[f32],
    maps: Maps,
    scale: &Scale,
    kept: f32,
    codes: &mut [C],
    errors: &mut [[f32; LANES]],
) {
    let plane = maps.plane();
    for y in 0..maps.height {
        let mut above_left = [0.0; LANES];
        let mut left = [0.0; LANES];
        for x in 0..maps.width {
            let at = y * maps.width + x;
            let mut elements = [0.0; N];
            for (lane, element) in elements.iter_mut().enumerate() {
                *element = values[lane * plane + at];
            }
            // Errors are kept one to the right of their elements: the row begins and ends with none.
            let (above, above_right) = (errors[x + 1], errors[x + 2]);
            let mut error = [0.0; LANES];
            let mut rounded = [0.0; N];
            for lane in 0..N {
                let reaches = RIGHT * left[lane]
                    + BELOW * above[lane]
                    + BELOW_RIGHT * above_left[lane]
                    + BELOW_LEFT * above_right[lane];
                (rounded[lane], error[lane]) = round(elements[lane], kept * reaches, scale);
            }
            for (lane, &level) in rounded.iter().enumerate() {
                codes[lane * plane + at] = to_code(level);
            }
            above_left = above;
            left = error;
            errors[x + 1] = error;
        }
    }
}

/// The level of an element that errors of `handed_on` have reached, and its own error.
#[allow(clippy::cast_possible_truncation)] // rounding to f32 is what is meant
fn round(element: f32, handed_on: f32, scale: &Scale) -> (f32, f32) {
    let exact = (f64::from(element) * scale.codes_per_unit) as f32;
    let last = scale.last_code as f32;
    let wanted = exact + handed_on;
    let level = (wanted.max(0.0).min(last) + TWO_POW_23) - TWO_POW_23;
    if exact <= ZERO {
        (0.0, handed_on)
    } else {
        (level, (wanted - level).clamp(-1.0, 1.0))
    }
}

/// A level as a code: the last bit of the mantissa counts ones.
fn to_code<C: Code>(level: f32) -> C {
    C::from_low_bits((level + TWO_POW_23).to_bits().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)]

    use proptest::prelude::*;

    use super::super::quantise::{Quantiser, ValueRange};
    use super::super::simd::Kernels;
    use super::super::tests::Random;
    use super::*;
    use crate::schedule::Levels;

    fn diffused(values: &[f32], shape: &[usize], levels: u32) -> (Vec<u16>, Vec<f32>) {
        let range = ValueRange::of(Kernels::best(), values).unwrap();
        let quantiser = Quantiser::new(Kernels::best(), range, Levels::new(levels).unwrap());
        let mut codes = vec![0u16; values.len()];
        quantiser.diffusing(1.0).quantise_maps(
            values,
            Maps::of(shape),
            &mut codes,
            &mut Errors::default(),
        );
        let mut back = vec![0.0; values.len()];
        quantiser.dequantise(&codes, &mut back).unwrap();
        (codes, back)
    }

    #[test]
    fn small_elements_add_up_to_levels() {
        // Rounded one by one, a third of a step is nothing.
        let mut values = vec![0.3; 400];
        values[399] = 3.0;
        let (codes, back) = diffused(&values, &[1, 1, 20, 20], 4);
        assert!(codes[..399].iter().all(|&code| code <= 1));
        let (before, after) = (values.iter().sum::<f32>(), back.iter().sum::<f32>());
        assert!((before - after).abs() < 0.1 * before, "{before} {after}");
    }

    #[test]
    fn levels_and_zeros_stay() {
        let values = [0.0, 1.0, 2.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.0];
        let (codes, back) = diffused(&values, &[1, 3, 3], 4);
        assert_eq!(codes, [0, 1, 2, 0, 3, 0, 0, 1, 0]);
        assert_eq!(back, values);
    }

    #[test]
    fn maps_do_not_touch_each_other_however_many_are_walked_side_by_side() {
        let mut random = Random(9);
        let map: Vec<f32> = (0..7 * 5).map(|_| random.signed().max(0.0)).collect();
        let (alone, _) = diffused(&map, &[1, 7, 5], 6);
        for maps in [2, 8, 9, 23] {
            let (codes, _) = diffused(&map.repeat(maps), &[maps, 7, 5], 6);
            assert_eq!(codes, alone.repeat(maps), "{maps} maps");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_element_moves_by_more_than_a_step_and_a_half(
            seed: u64, levels in 2..=65_536u32, height in 2..9usize, width in 1..9usize,
            exponent in -120..120i32,
        ) {
            let mut random = Random(seed | 1);
            let unit = 2f32.powi(exponent);
            let values: Vec<f32> = (0..3 * height * width)
                .map(|_| random.signed().max(0.0) * unit)
                .collect();
            let range = ValueRange::of(Kernels::best(), &values).unwrap();
            let step = range.width() / f64::from(levels - 1);
            let (codes, back) = diffused(&values, &[3, height, width], levels);
            prop_assert!(codes.iter().all(|&code| u32::from(code) < levels));
            for (&x, &y) in values.iter().zip(&back) {
                // Levels are f32: of 65,536 the last ones are good to 1/256 of a step.
                let rounding = f64::from(x) * 1e-6 + step / 256.0;
                prop_assert!((f64::from(x) - f64::from(y)).abs() <= 1.5 * step + rounding);
                prop_assert!(x != 0.0 || y == 0.0);
            }
        }
    }
}
