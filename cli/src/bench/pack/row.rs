//! One row of `dyno bench pack`: a cut, a precision, a codec.

use dyno_core::bundle::Sent;
use dyno_core::calibrate::{Judgement, Message, Observation};
use dyno_core::schedule::Precision;
use serde::Serialize;

/// What was measured of one codec at one precision and cut.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Index in the cut table.
    pub(crate) cut: usize,
    /// Elements that cross.
    pub(crate) elements: usize,
    /// Levels; none for fp32 and for photos.
    pub(crate) levels: Option<u32>,
    /// `raw`, `lz4`, …, or that of a photo, as `jpeg:75`.
    pub(crate) codec: String,
    /// Photos that the agreement rests on.
    pub(crate) images: usize,
    /// Photos that bytes and times rest on.
    pub(crate) packed_images: usize,
    /// Mean length of a message.
    pub(crate) bytes_mean: f64,
    /// 95 of 100 messages are no longer.
    pub(crate) bytes_p95: usize,
    /// Share of photos with the unsplit model's best class; for other models 1 − distance.
    pub(crate) agreement: f64,
    /// Accuracy lost, in percentage points; none without true classes.
    pub(crate) accuracy_drop_pp: Option<f64>,
    /// Megabytes of fp32 packed in a second on one core.
    pub(crate) pack_mb_s: f64,
    /// The same for unpacking.
    pub(crate) unpack_mb_s: f64,
}

impl Row {
    /// One row a codec.
    pub(super) fn all(
        cut: usize,
        elements: usize,
        sent: Sent,
        observed: &[Observation],
        judged: &Judgement,
    ) -> Vec<Self> {
        let (agreement, drop) = match judged {
            Judgement::Agreement {
                agreement, drop, ..
            } => (*agreement, drop.map(|drop| drop.pp)),
            Judgement::Distance { mean, .. } => (1.0 - mean, None),
            _ => (f64::NAN, None),
        };
        let levels = match sent {
            Sent::Packed(_, Precision::Levels(levels)) => Some(levels.get()),
            Sent::Packed(_, Precision::Raw) | Sent::Photo(_) => None,
        };
        let plans = sent.plans(cut).into_iter().enumerate();
        let row = |(i, (codec, _)): (usize, (String, _))| {
            let messages: Vec<Message> = observed
                .iter()
                .filter_map(|o| o.messages.get(i).copied())
                .collect();
            let mut lengths: Vec<usize> = messages.iter().map(|m| m.bytes).collect();
            lengths.sort_unstable();
            let mb = 4.0 * elements as f64 / 1e6;
            let speed = |ms: fn(&Message) -> f64| mb * 1e3 / median(messages.iter().map(ms));
            Self {
                cut,
                elements,
                levels,
                codec,
                images: observed.len(),
                packed_images: messages.len(),
                bytes_mean: lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64,
                bytes_p95: nearest_rank(&lengths, 95),
                agreement,
                accuracy_drop_pp: drop,
                pack_mb_s: speed(|m| m.pack_ms),
                unpack_mb_s: speed(|m| m.unpack_ms),
            }
        };
        plans.map(row).collect()
    }

    /// Whether the photo itself is sent.
    pub(crate) fn is_photo(&self) -> bool {
        self.levels.is_none() && self.codec.parse::<dyno_core::schedule::Codec>().is_err()
    }
}

/// Of sorted lengths the first that `percent` of them do not exceed.
fn nearest_rank(sorted: &[usize], percent: usize) -> usize {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The middle one (the upper of two); not below a nanosecond, so that it divides.
fn median(times_ms: impl Iterator<Item = f64>) -> f64 {
    const NANOSECOND_MS: f64 = 1e-6;
    let mut times: Vec<f64> = times_ms.collect();
    times.sort_by(f64::total_cmp);
    let middle = times.get(times.len() / 2).copied().unwrap_or(0.0);
    middle.max(NANOSECOND_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let lengths: Vec<usize> = (1..=100).collect();
        assert_eq!(nearest_rank(&lengths, 95), 95);
        assert_eq!(nearest_rank(&[7, 9], 95), 9);
        assert_eq!(nearest_rank(&[], 95), 0);
    }

    #[test]
    fn a_median_is_not_moved_by_one_long_time() {
        let middle = median([3.0, 1.0, 500.0].into_iter());
        assert!((middle - 3.0).abs() < 1e-12);
        assert!(median([0.0].into_iter()) > 0.0);
    }
}
