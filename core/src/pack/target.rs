//! "At most this many bytes": the finest precision that fits, for this very activation.
//!
//! One histogram of each tensor says how much information its codes would hold at any number of
//! levels, were they independent of each other. What a codec makes of them is a share of that which
//! hardly changes with the levels, so one message shows what all others would take.

use super::encode::{Packer, at, check_count};
use super::quantise::{Quantiser, ValueRange};
use super::simd::{BLOCK, Kernels};
use super::wire;
use crate::bundle::Cut;
use crate::schedule::{Codec, Levels, Precision};
use crate::{Error, ErrorKind, Result};

/// Bins of a histogram: enough for 2,048 levels, and finer ones cost one bit more each octave.
const BINS: u32 = 1 << 12;
/// Share of the information that a codec is taken to leave before a message has shown it.
const FIRST_SHARE: f64 = 0.8;
/// Room left for the share to differ at other levels.
const MARGIN: f64 = 1.015;
/// A message that fills this much of its room is not tried again.
const GOOD_ENOUGH: f64 = 0.97;
/// Messages made where one of them fits.
const USUAL_PACKS: usize = 2;
/// Most messages made.
const MAX_PACKS: usize = 3;

/// A message within its bounds, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fitted {
    /// The message.
    pub message: Vec<u8>,
    /// Its levels.
    pub levels: Levels,
    /// Messages that were made to find it: one or two, seldom three (more often with codecs of bit
    /// planes, whose size jumps with every bit).
    pub packs: usize,
}

impl Packer {
    /// Packs `tensors` with as many levels as a message of at most `max_bytes` can hold, within a few
    /// percent.
    ///
    /// Fails as [`pack`](Self::pack) does, and with [`ErrorKind::InvalidArgument`] where not even two
    /// levels fit.
    ///
    /// ```
    /// use dyno_core::bundle::Cut;
    /// use dyno_core::pack::Packer;
    /// use dyno_core::schedule::Codec;
    /// use dyno_core::{ElementType, TensorSpec};
    ///
    /// let cut = Cut {
    ///     index: 1,
    ///     after: "relu".into(),
    ///     tensors: vec![TensorSpec {
    ///         name: "features".into(),
    ///         element: ElementType::F32,
    ///         shape: vec![1, 8, 16, 16],
    ///     }],
    ///     flops_before: 0,
    ///     flops_after: 0,
    /// };
    /// let features: Vec<f32> = (0..2048).map(|i| (i as f32 * 0.01).sin().max(0.0)).collect();
    /// let fitted = Packer::default().pack_within(&cut, &[&features], 600, Codec::Context)?;
    /// assert!(fitted.message.len() <= 600 && fitted.packs <= 2);
    /// assert!(fitted.levels.get() >= 4);
    /// # Ok::<(), dyno_core::Error>(())
    /// ```
    pub fn pack_within(
        &mut self,
        cut: &Cut,
        tensors: &[&[f32]],
        max_bytes: usize,
        codec: Codec,
    ) -> Result<Fitted> {
        check_count(cut, tensors)?;
        let histograms = tensors
            .iter()
            .zip(&cut.tensors)
            .map(|(values, spec)| Histogram::of(values).map_err(|e| at(e, cut, spec)))
            .collect::<Result<Vec<_>>>()?;
        let frame = wire::overhead_bytes(tensors.len());
        let room = max_bytes.saturating_sub(frame) as f64;
        let information = |levels| histograms.iter().map(|h| h.bytes_at(levels)).sum::<f64>();
        let mut best: Option<Fitted> = None;
        let mut share = FIRST_SHARE;
        let mut too_fine = Levels::MAX + 1;
        for packs in 1..=MAX_PACKS {
            let least = best.as_ref().map_or(Levels::MIN, |b| b.levels.get() + 1);
            let fits = |levels| share * information(levels) * MARGIN <= room;
            let levels = match finest(least, too_fine, fits) {
                Some(levels) if best.is_some() || packs < MAX_PACKS => levels,
                _ if best.is_some() || too_fine == Levels::MIN => break,
                _ => Levels::new(Levels::MIN)?,
            };
            let message = self.pack(cut, tensors, Precision::Levels(levels), codec)?;
            let payload = (message.len() - frame) as f64;
            share = payload / information(levels).max(1.0);
            if message.len() > max_bytes {
                too_fine = levels.get();
                if best.is_some() {
                    break;
                }
                continue;
            }
            let done = payload >= GOOD_ENOUGH * room || packs >= USUAL_PACKS;
            best = Some(Fitted {
                message,
                levels,
                packs,
            });
            if done {
                break;
            }
        }
        best.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "cut {} does not fit in {max_bytes} bytes even at {} levels: allow more, or cut \
                     elsewhere",
                    cut.index,
                    Levels::MIN
                ),
            )
        })
    }
}

/// The most levels from `least` to below `end` that fit, if any do; what fits at some levels is taken
/// to fit at fewer.
fn finest(least: u32, end: u32, fits: impl Fn(Levels) -> bool) -> Option<Levels> {
    let (mut low, mut high) = (least, end);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        match Levels::new(middle) {
            Ok(levels) if fits(levels) => {
                found = Some(levels);
                low = middle + 1;
            }
            _ => high = middle,
        }
    }
    found
}

/// How often the elements of a tensor lie where in its range.
struct Histogram {
    counts: Vec<u32>,
}

impl Histogram {
    fn of(values: &[f32]) -> Result<Self> {
        let range = ValueRange::of(Kernels::best(), values)?;
        let quantiser = Quantiser::new(Kernels::best(), range, Levels::new(BINS)?);
        let mut counts = vec![0; BINS as usize];
        let mut codes = [0u16; BLOCK];
        for block in values.chunks(BLOCK) {
            quantiser.quantise(block, &mut codes[..block.len()]);
            for &code in &codes[..block.len()] {
                counts[usize::from(code)] += 1;
            }
        }
        Ok(Self { counts })
    }

    /// Bytes that codes of so many levels would take, were they independent of each other.
    fn bytes_at(&self, levels: Levels) -> f64 {
        let merged = levels.get().min(BINS / 2);
        let scale = f64::from(merged - 1) / f64::from(BINS - 1);
        let (mut bits, mut code, mut count, mut elements) = (0.0, 0.0, 0.0, 0.0);
        for (bin, &more) in self.counts.iter().enumerate() {
            let next = (bin as f64 * scale).round_ties_even();
            if next > code {
                bits -= weighted_log(count);
                (code, count) = (next, 0.0);
            }
            count += f64::from(more);
            elements += f64::from(more);
        }
        bits += weighted_log(elements) - weighted_log(count);
        // Beyond the bins every octave of levels costs a bit, but for the zeros of a ReLU.
        let octaves = f64::from(levels.get()).log2() - f64::from(merged).log2();
        let spread = elements - f64::from(self.counts.iter().copied().max().unwrap_or(0));
        (bits + octaves * spread) / 8.0
    }
}

fn weighted_log(count: f64) -> f64 {
    if count > 0.0 {
        count * count.log2()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // pseudo-random bits are cut to size

    use super::super::tests::{Random, cut};
    use super::*;

    /// Smooth maps with noise, cut off at zero unless signed.
    fn maps(channels: usize, side: usize, signed: bool, seed: u64) -> Vec<f32> {
        let mut random = Random(seed | 1);
        (0..channels * side * side)
            .map(|i| {
                let (x, y, c) = (i % side, i / side % side, i / side / side);
                let wave = ((x + c) as f32 * 0.3).sin() + (y as f32 * 0.2 * (c % 5) as f32).cos();
                let value = wave + random.signed() * 0.4;
                if signed { value } else { value.max(0.0) }
            })
            .collect()
    }

    #[test]
    fn what_fits_is_found_in_two_packs_and_the_next_precision_would_not_fit_by_far() {
        let mut packer = Packer::default();
        let mut packs = Vec::new();
        for seed in 0..12 {
            let (channels, side) = [(3, 5), (16, 28), (64, 14)][seed as usize % 3];
            let cut = cut(4, &[&[1, channels, side, side]]);
            let values = maps(channels, side, seed % 2 == 0, seed);
            for &codec in Codec::ALL {
                for share in [2, 4, 10] {
                    let max_bytes = 60 + values.len() * 2 / share;
                    let fitted = packer
                        .pack_within(&cut, &[&values], max_bytes, codec)
                        .unwrap();
                    assert!(fitted.message.len() <= max_bytes);
                    let same = packer
                        .pack(&cut, &[&values], Precision::Levels(fitted.levels), codec)
                        .unwrap();
                    assert_eq!(fitted.message, same);
                    // Bit planes come in whole bits: their size jumps, and the guess with it.
                    if codec == Codec::Context && values.len() > 100 {
                        packs.push(fitted.packs);
                    }
                    if codec == Codec::Context
                        && (8..300).contains(&fitted.levels.get())
                        && values.len() > 100
                    {
                        let finer = Levels::new(fitted.levels.get() * 3 / 2 + 2).unwrap();
                        let finer = packer
                            .pack(&cut, &[&values], Precision::Levels(finer), codec)
                            .unwrap();
                        assert!(finer.len() > max_bytes, "{} levels", fitted.levels.get());
                    }
                }
            }
        }
        let more = packs.iter().filter(|&&packs| packs > 2).count();
        assert!(
            more * 10 <= packs.len(),
            "{more} of {} took three",
            packs.len()
        );
    }

    #[test]
    fn too_little_room_is_an_error_that_says_so() {
        let cut = cut(4, &[&[1, 8, 9, 9]]);
        let values = maps(8, 9, true, 3);
        let error = Packer::default()
            .pack_within(&cut, &[&values], 40, Codec::Context)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("40 bytes"), "{error}");
    }

    #[test]
    fn constants_fit_at_the_most_levels_and_values_that_are_not_finite_are_named() {
        let cut = cut(4, &[&[1, 2, 2, 2]]);
        let fitted = Packer::default()
            .pack_within(&cut, &[&[1.5; 8]], 60, Codec::Context)
            .unwrap();
        assert_eq!(fitted.levels.get(), Levels::MAX);
        let error = Packer::default()
            .pack_within(&cut, &[&[f32::NAN; 8]], 60, Codec::Context)
            .unwrap_err();
        assert!(error.to_string().contains("element 0"), "{error}");
    }
}
