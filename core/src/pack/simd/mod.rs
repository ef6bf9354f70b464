//! The inner loops of packing, once for each kind of vector unit, chosen at run time.
//!
//! `scalar.rs` says what every kernel computes, in plain Rust. The other sets are that same code
//! compiled again for a wider vector unit and, for the two loops that no compiler vectorises (bits
//! to planes and back), intrinsics. All sets give the same bits on every input; the tests compare
//! each set that the CPU can run with the scalar one.
//!
//! This is the one place of packing with `unsafe`: calls of functions that need a CPU feature, and
//! loads and stores of whole vectors from and to arrays of their size.
#![expect(
    unsafe_code,
    reason = "functions with a target feature, vector loads and stores"
)]

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod scalar;
mod shares;
#[cfg(test)]
mod tests;
mod word;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use scalar::{from_order_key, order_key};
pub(super) use shares::{SYMBOLS, Shares, make_likelier, symbol_at};
pub(super) use word::{Code, Word};

/// Elements handled at once by the loops around kernels: few enough that they and their codes stay
/// in the first-level cache.
pub(super) const BLOCK: usize = 2048;
/// Elements whose bits share a byte of a plane.
pub(super) const GROUP: usize = 8;

/// Calls the function of this name of a set.
macro_rules! dispatch {
    ($kernels:ident, $function:ident($($argument:ident),*)) => {
        match $kernels.0 {
            Set::Scalar => scalar::$function($($argument),*),
            // SAFETY: the function asks for nothing but its CPU features, and no `Kernels` holds
            // this set unless `Set::runs_here` has found them.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { x86::avx2::$function($($argument),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { x86::avx512::$function($($argument),*) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Set::Neon => unsafe { neon::$function($($argument),*) },
        }
    };
}

/// A set of kernels that this CPU can run; that is checked before one is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kernels(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
    Neon,
}

impl Kernels {
    /// The fastest set.
    pub(super) fn best() -> Self {
        Self(
            Set::ALL
                .iter()
                .copied()
                .rfind(|set| set.runs_here())
                .unwrap_or(Set::Scalar),
        )
    }

    /// Every set, the scalar one first.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn available() -> impl Iterator<Item = Self> {
        Set::ALL
            .iter()
            .copied()
            .filter(|set| set.runs_here())
            .map(Self)
    }

    /// What benchmarks call the set.
    #[cfg(any(test, feature = "internals"))]
    pub(super) const fn name(self) -> &'static str {
        match self.0 {
            Set::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Set::Neon => "neon",
        }
    }

    /// Least and greatest [`order_key`]; `(i32::MAX, i32::MIN)` of no values.
    pub(super) fn range_keys(self, values: &[f32]) -> (i32, i32) {
        dispatch!(self, range_keys(values))
    }

    /// Codes of `values`: the nearest level, and the even code of two levels that are equally near.
    /// A value outside of the range gets the code of its nearer end; NaN gets 0.
    pub(super) fn quantise<C: Code>(self, values: &[f32], scale: &Scale, codes: &mut [C]) {
        dispatch!(self, quantise(values, scale, codes));
    }

    /// Values of `codes`: `lo + code * step`, rounded to f32.
    pub(super) fn dequantise<C: Code>(self, codes: &[C], scale: &Scale, values: &mut [f32]) {
        dispatch!(self, dequantise(codes, scale, values));
    }

    /// The greatest code; 0 of none.
    pub(super) fn greatest<C: Code>(self, codes: &[C]) -> C {
        dispatch!(self, greatest(codes))
    }

    /// Byte `lane` of every word, 0 being the least significant.
    pub(super) fn take_lane<W: Word>(self, words: &[W], lane: u32, bytes: &mut [u8]) {
        dispatch!(self, take_lane(words, lane, bytes));
    }

    /// Inverse of [`take_lane`](Self::take_lane): the words keep their other bytes.
    pub(super) fn put_lane<W: Word>(self, bytes: &[u8], lane: u32, words: &mut [W]) {
        dispatch!(self, put_lane(bytes, lane, words));
    }

    /// Bit `bit` of every byte, eight to a byte of `plane` (which has just enough), the first in
    /// the least significant bit; bits behind the last are 0.
    pub(super) fn collect_bit(self, bytes: &[u8], bit: u32, plane: &mut [u8]) {
        debug_assert!(bit < u8::BITS && plane.len() == bytes.len().div_ceil(GROUP));
        dispatch!(self, collect_bit(bytes, bit, plane));
    }

    /// Inverse of [`collect_bit`](Self::collect_bit): sets bit `bit` of the bytes for which it is
    /// set in `plane`; the bytes keep all other bits.
    pub(super) fn spread_bit(self, plane: &[u8], bit: u32, bytes: &mut [u8]) {
        debug_assert!(bit < u8::BITS && plane.len() == bytes.len().div_ceil(GROUP));
        dispatch!(self, spread_bit(plane, bit, bytes));
    }
}

impl Set {
    /// From the slowest to the fastest.
    const ALL: &[Self] = &[
        Self::Scalar,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Self::Neon,
    ];

    /// Whether the CPU has the features that the set's functions are compiled for.
    fn runs_here(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
        }
    }
}

/// How values become codes, and codes values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Value of code 0.
    pub(super) lo: f64,
    /// From one code's value to the next.
    pub(super) step: f64,
    /// Inverse of `step`; 0 for a range of one value.
    pub(super) codes_per_unit: f64,
    /// The greatest code.
    pub(super) last_code: f64,
}

/// The kernels that the compiler vectorises by itself, for a CPU with `$features`.
macro_rules! recompile_scalar_loops {
    ($features:literal) => {
        use $crate::pack::simd::{Code, Scale, Word};

        #[target_feature(enable = $features)]
        pub(in $crate::pack::simd) fn range_keys(values: &[f32]) -> (i32, i32) {
            scalar::range_keys(values)
        }

        #[target_feature(enable = $features)]
        pub(in $crate::pack::simd) fn quantise<C: Code>(
            values: &[f32],
            scale: &Scale,
            codes: &mut [C],
        ) {
            scalar::quantise(values, scale, codes);
        }

        #[target_feature(enable = $features)]
        pub(in $crate::pack::simd) fn dequantise<C: Code>(
            codes: &[C],
            scale: &Scale,
            values: &mut [f32],
        ) {
            scalar::dequantise(codes, scale, values);
        }

        #[target_feature(enable = $features)]
        pub(in $crate::pack::simd) fn greatest<C: Code>(codes: &[C]) -> C {
            scalar::greatest(codes)
        }

        #[target_feature(enable = $features)]
        pub(in $crate::pack::simd) fn take_lane<W: Word>(words: &[W], lane: u32, bytes: &mut [u8]) {
            scalar::take_lane(words, lane, bytes);
        }

        #[target_feature(enable = $features)]
        pub(in $crate::pack::simd) fn put_lane<W: Word>(bytes: &[u8], lane: u32, words: &mut [W]) {
            scalar::put_lane(bytes, lane, words);
        }
    };
}
use recompile_scalar_loops;
