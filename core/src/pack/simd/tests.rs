//! Every set of kernels does what the scalar one does, bit for bit, whatever it is given: values that
//! are not finite, denormals, ties, every length around a vector's, slices at any alignment.
#![allow(clippy::cast_possible_truncation)] // pseudo-random bits are cut to size

use std::fmt::Debug;
use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// Around one and two vectors of every set, and up to their longest remainder.
const LENGTHS: Range<usize> = 0..if cfg!(miri) { 70 } else { 200 };
/// Miri runs the same code some hundred times slower.
const CASES: u32 = if cfg!(miri) { 4 } else { 256 };

fn vector_sets() -> impl Iterator<Item = Kernels> {
    Kernels::available().skip(1)
}

fn scalar() -> Kernels {
    Kernels(Set::Scalar)
}

/// Values that are special by themselves or to a range that begins at 0.
const SPECIAL: [f32; 18] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::from_bits(0x7F80_0001),
    f32::from_bits(0xFFFF_FFFF),
];

fn scale(lo: f32, hi: f32, last_code: u32) -> Scale {
    let (lo, hi) = (f64::from(lo), f64::from(hi));
    let last_code = f64::from(last_code);
    Scale {
        lo,
        step: (hi - lo) / last_code,
        codes_per_unit: if hi > lo { last_code / (hi - lo) } else { 0.0 },
        last_code,
    }
}

fn bits_of(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// What the sets make of `values`, which they find at `offset` in a longer slice.
fn check_values(values: &[f32], offset: usize, scale: &Scale) {
    let padded = [&vec![f32::NAN; offset][..], values].concat();
    let values = &padded[offset..];
    for set in vector_sets() {
        assert_eq!(
            set.range_keys(values),
            scalar().range_keys(values),
            "{set:?}"
        );
        check_quantise::<u8>(set, values, scale);
        check_quantise::<u16>(set, values, scale);
        check_lanes(set, values, 4, f32::to_bits);
    }
}

fn check_quantise<C: Code + Debug>(set: Kernels, values: &[f32], scale: &Scale) {
    let mut expected = vec![C::default(); values.len()];
    let mut codes = expected.clone();
    scalar().quantise(values, scale, &mut expected);
    set.quantise(values, scale, &mut codes);
    assert_eq!(codes, expected, "{set:?} {scale:?} {values:?}");
}

fn check_codes<C: Code + Debug>(codes: &[C], lanes: u32, scale: &Scale) {
    for set in vector_sets() {
        assert_eq!(set.greatest(codes), scalar().greatest(codes), "{set:?}");
        let mut expected = vec![f32::NAN; codes.len()];
        let mut values = expected.clone();
        scalar().dequantise(codes, scale, &mut expected);
        set.dequantise(codes, scale, &mut values);
        assert_eq!(
            bits_of(&values),
            bits_of(&expected),
            "{set:?} {scale:?} {codes:?}"
        );
        check_lanes(set, codes, lanes, Into::<u32>::into);
    }
}

/// Lanes out of and into words, and bits out of and into the bytes of these lanes.
fn check_lanes<W: Word>(set: Kernels, words: &[W], lanes: u32, pattern: impl Fn(W) -> u32) {
    let mut back = vec![W::default(); words.len()];
    for lane in 0..lanes {
        let mut expected = vec![0; words.len()];
        let mut bytes = vec![0xFF; words.len()];
        scalar().take_lane(words, lane, &mut expected);
        set.take_lane(words, lane, &mut bytes);
        assert_eq!(bytes, expected, "{set:?}");
        check_bits(set, &bytes);
        set.put_lane(&bytes, lane, &mut back);
    }
    assert!(
        words
            .iter()
            .zip(back)
            .all(|(&a, b)| pattern(a) == pattern(b)),
        "{set:?}"
    );
}

fn check_bits(set: Kernels, bytes: &[u8]) {
    for bit in 0..8 {
        let mut expected = vec![0; bytes.len().div_ceil(GROUP)];
        let mut plane = vec![0xFF; expected.len()];
        scalar().collect_bit(bytes, bit, &mut expected);
        set.collect_bit(bytes, bit, &mut plane);
        assert_eq!(plane, expected, "{set:?} bit {bit} of {bytes:?}");
        // Bits that are there already stay, and those behind the last element are not looked at.
        if let (Some(last), behind @ 1..) = (plane.last_mut(), bytes.len() % GROUP) {
            *last |= 0xFF << behind;
        }
        let mut expected: Vec<u8> = bytes.iter().map(|b| b.rotate_left(3)).collect();
        let mut spread = expected.clone();
        scalar().spread_bit(&plane, bit, &mut expected);
        set.spread_bit(&plane, bit, &mut spread);
        assert_eq!(spread, expected, "{set:?} bit {bit} of {plane:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        // Under Miri there are no files.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn all_sets_agree_on_any_values(
        bits in prop::collection::vec(any::<u32>(), LENGTHS),
        offset in 0..16usize,
        (a, b) in (-1e38f32..1e38, -1e38f32..1e38),
        last_code in 1..65_536u32,
    ) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        check_values(&values, offset, &scale(a.min(b), a.max(b), last_code));
    }

    #[test]
    fn all_sets_agree_on_values_in_and_around_a_range(
        values in prop::collection::vec(-1.2f32..1.2, LENGTHS),
        offset in 0..16usize,
        lo in -1.0f32..0.0,
        hi in 0.0f32..1.0,
        last_code in 1..256u32,
    ) {
        check_values(&values, offset, &scale(lo, hi, last_code));
    }

    #[test]
    fn all_sets_agree_on_any_codes(
        codes in prop::collection::vec(any::<u16>(), LENGTHS),
        (a, b) in (any::<f32>(), any::<f32>()).prop_filter("finite", |(a, b)| (a - b).is_finite()),
        last_code in 1..65_536u32,
    ) {
        let scale = scale(a.min(b), a.max(b), last_code);
        let bytes: Vec<u8> = codes.iter().map(|&c| c as u8).collect();
        check_codes(&codes, 2, &scale);
        check_codes(&codes[codes.len().min(1)..], 2, &scale);
        check_codes(&bytes, 1, &scale);
        check_codes(&bytes[bytes.len().min(1)..], 1, &scale);
    }
}

#[test]
fn all_sets_agree_on_special_values_at_every_position() {
    let scales = [
        scale(0.0, 3.0, 3),
        scale(-1.0, 1.0, 255),
        scale(f32::MIN, f32::MAX, 65_535),
        scale(-1e-45, 1e-45, 255),
        scale(-2.5, -2.5, 15),
    ];
    for length in LENGTHS.step_by(if cfg!(miri) { 13 } else { 1 }) {
        for scale in &scales {
            let values: Vec<f32> = SPECIAL
                .into_iter()
                .cycle()
                .skip(length)
                .take(length)
                .collect();
            check_values(&values, length % 16, scale);
        }
    }
}

#[test]
fn values_outside_of_the_range_get_the_code_of_its_nearer_end() {
    let values = [f32::MIN, -1.0, -0.0, 0.5, 1.5, 2.4, 3.0, 3.5, f32::MAX];
    let values: Vec<f32> = values.iter().copied().cycle().take(90).collect();
    for set in Kernels::available() {
        let mut codes = [9u8; 90];
        set.quantise(&values, &scale(0.0, 3.0, 3), &mut codes);
        for codes in codes.as_chunks::<9>().0 {
            assert_eq!(*codes, [0, 0, 0, 0, 2, 2, 3, 3, 3], "{set:?}");
        }
    }
}

#[test]
fn the_greatest_code_is_found_at_every_position() {
    for set in Kernels::available() {
        assert_eq!(set.greatest::<u8>(&[]), 0);
        for length in LENGTHS.skip(1) {
            let mut codes = vec![0x7Fu8; length];
            codes[length * 7 / 11] = 0x80;
            assert_eq!(set.greatest(&codes), 0x80, "{set:?}");
            let mut codes = vec![0x7FFFu16; length];
            codes[length * 7 / 11] = 0x8000;
            assert_eq!(set.greatest(&codes), 0x8000, "{set:?}");
        }
    }
}

#[test]
fn the_best_set_is_the_last_that_runs_here() {
    let names: Vec<_> = Kernels::available().map(Kernels::name).collect();
    assert_eq!(names[0], "scalar");
    if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
        assert_eq!(names, ["scalar", "neon"]);
    }
    assert_eq!(Some(&Kernels::best().name()), names.last());
}
