//! Where bytes and agreement lie in a panel, and which ticks they have.

use std::ops::RangeInclusive;

use super::{TEXT_PX, text_width};

/// Font size of ticks.
pub(super) const TICK_PX: f64 = TEXT_PX - 1.0;
/// Between the ends of an axis and the outermost values, in pixels.
const PAD: f64 = 10.0;
/// Least distance of the ticks of bytes (to their neighbour's text) and of agreement (to the next).
const TICK_GAP_X: f64 = 8.0;
const TICK_GAP_Y: f64 = 12.5;
/// Where agreement is complete, above the logarithmic part, as a share of the height.
const COMPLETE_SHARE: f64 = 0.13;
/// The logarithmic part covers at least this much.
const LEAST_DISAGREEMENT: f64 = 0.01;
const MOST_DISAGREEMENT: f64 = 0.1;
/// Smaller disagreement than one photo in a million is none.
const NO_DISAGREEMENT: f64 = 1e-6;
/// Multiples of powers of ten that are ticks of bytes and of disagreement, the finest choice first.
const BYTES_TICKS: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
const DISAGREEMENT_TICKS: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 5.0], &[1.0]];

/// Powers of ten from one tick to the next at most.
const MAX_STEP: usize = 20;
/// Powers of ten that may be ticks: all there are above a byte, and a photo in a million.
const BYTES_POWERS: RangeInclusive<i32> = 0..=f64::MAX_10_EXP;
const DISAGREEMENT_POWERS: RangeInclusive<i32> = -6..=0;

/// A place on an axis, and what it is called.
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// The logarithmic axis of bytes, from left to right.
pub(super) struct Bytes {
    low: f64,
    high: f64,
    width: f64,
}

impl Bytes {
    pub(super) fn new(values: impl Iterator<Item = f64>, width: f64) -> Self {
        let (low, high) = values
            .map(log_bytes)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
                (low.min(x), high.max(x))
            });
        let (low, high) = if low <= high { (low, high) } else { (3.0, 4.0) };
        // At least half a power of ten, around what there is.
        let more = ((0.5 - (high - low)) / 2.0).max(0.0);
        Self {
            low: low - more,
            high: high + more,
            width,
        }
    }

    /// Distance from the left.
    pub(super) fn x(&self, bytes: f64) -> f64 {
        let share = (log_bytes(bytes) - self.low) / (self.high - self.low);
        PAD + share * (self.width - 2.0 * PAD)
    }

    /// As many round numbers as have room, texts included.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let fine = BYTES_TICKS
            .iter()
            .map(|multiples| self.candidates(multiples, 1));
        let coarse = (2..=MAX_STEP).map(|step| self.candidates(&[1.0], step));
        let mut choices = fine.chain(coarse);
        choices.find(|ticks| Self::fit(ticks)).unwrap_or_default()
    }

    fn candidates(&self, multiples: &[f64], step: usize) -> Vec<Tick> {
        BYTES_POWERS
            .step_by(step)
            .flat_map(|power| multiples.iter().map(move |m| m * 10f64.powi(power)))
            .map(|bytes| Tick {
                at: self.x(bytes),
                label: in_bytes(bytes),
            })
            .filter(|tick| {
                let half = text_width(&tick.label, TICK_PX) / 2.0;
                // The next panel's texts begin soon after this one's end.
                tick.at >= half - 4.0 && tick.at <= self.width - half + 4.0
            })
            .collect()
    }

    fn fit(ticks: &[Tick]) -> bool {
        ticks.windows(2).all(|pair| {
            let texts = text_width(&pair[0].label, TICK_PX) + text_width(&pair[1].label, TICK_PX);
            pair[1].at - pair[0].at >= texts / 2.0 + TICK_GAP_X
        })
    }
}

/// Nothing is drawn as one byte.
fn log_bytes(bytes: f64) -> f64 {
    bytes.max(1.0).log10()
}

/// Bytes in words, for round numbers.
fn in_bytes(bytes: f64) -> String {
    match bytes {
        b if b < 1e3 => format!("{b:.0} B"),
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.0} GB", b / 1e9),
    }
}

/// The axis of agreement, upwards: the logarithm of the disagreement, because what matters lies
/// between 0.9 and 1; complete agreement, which has no logarithm, a step above.
pub(super) struct Agreement {
    /// Logarithms of the disagreement at the upper and the lower end.
    least: f64,
    most: f64,
    height: f64,
}

impl Agreement {
    pub(super) fn new(values: impl Iterator<Item = f64>, height: f64) -> Self {
        let (least, most) = values.filter_map(disagreement).fold(
            (LEAST_DISAGREEMENT, MOST_DISAGREEMENT),
            |(least, most), d| (least.min(d), most.max(d)),
        );
        Self {
            least: least.log10(),
            most: most.log10(),
            height,
        }
    }

    /// Distance from the top.
    pub(super) fn y(&self, agreement: f64) -> f64 {
        disagreement(agreement).map_or(PAD, |d| self.y_of(d))
    }

    fn y_of(&self, disagreement: f64) -> f64 {
        let share = (disagreement.log10() - self.least) / (self.most - self.least);
        self.least_y() + share * (self.height - PAD - self.least_y())
    }

    /// Where the logarithmic part begins.
    pub(super) fn least_y(&self) -> f64 {
        PAD + self.height * COMPLETE_SHARE
    }

    /// 1, and as many round numbers below as have room.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let fine = DISAGREEMENT_TICKS
            .iter()
            .map(|multiples| self.candidates(multiples, 1));
        let coarse = (2..=MAX_STEP).map(|step| self.candidates(&[1.0], step));
        let apart = |pair: &[Tick]| pair[1].at - pair[0].at >= TICK_GAP_Y;
        let below = fine.chain(coarse).find(|ticks| ticks.windows(2).all(apart));
        let complete = Tick {
            at: PAD,
            label: "1".into(),
        };
        std::iter::once(complete)
            .chain(below.unwrap_or_default())
            .collect()
    }

    fn candidates(&self, multiples: &[f64], step: usize) -> Vec<Tick> {
        DISAGREEMENT_POWERS
            .step_by(step)
            .flat_map(|power| {
                multiples
                    .iter()
                    .map(move |m| (power, m * 10f64.powi(power)))
            })
            .filter(|&(_, d)| (self.least - 1e-9..=self.most + 1e-9).contains(&d.log10()))
            .map(|(power, d)| Tick {
                at: self.y_of(d),
                label: format!(
                    "{:.*}",
                    usize::try_from(-power).unwrap_or_default(),
                    1.0 - d
                ),
            })
            .collect()
    }
}

fn disagreement(agreement: f64) -> Option<f64> {
    let d = (1.0 - agreement).clamp(0.0, 1.0);
    (d >= NO_DISAGREEMENT).then_some(d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bytes_are_further_right_and_more_agreement_is_higher() {
        let bytes = Bytes::new([800.0, 90_000.0].into_iter(), 200.0);
        assert!((bytes.x(800.0) - PAD).abs() < 1e-9);
        assert!((bytes.x(90_000.0) - (200.0 - PAD)).abs() < 1e-9);
        assert!(bytes.x(8_000.0) < bytes.x(9_000.0));
        let agreement = Agreement::new([0.4, 0.9, 0.998, 1.0].into_iter(), 140.0);
        let y: Vec<f64> = [1.0, 0.998, 0.98, 0.9, 0.4].map(|a| agreement.y(a)).into();
        assert!(y.is_sorted(), "{y:?}");
        assert!((y[0] - PAD).abs() < 1e-9 && (y[4] - (140.0 - PAD)).abs() < 1e-9);
    }

    #[test]
    fn ticks_are_round_numbers_that_keep_their_distance() {
        for width in [200.0, 380.0] {
            for (low, high) in [(800.0, 90_000.0), (10.0, 1e7), (5e3, 6e3), (1.0, 1e12)] {
                let bytes = Bytes::new([low, high].into_iter(), width);
                let ticks = bytes.ticks();
                assert!(!ticks.is_empty(), "{low} to {high}");
                assert!(Bytes::fit(&ticks));
            }
        }
        let labels = |values: &[f64], height| -> Vec<String> {
            let scale = Agreement::new(values.iter().copied(), height);
            scale.ticks().into_iter().map(|t| t.label).collect()
        };
        let labels_of_one = labels(&[1.0], 140.0);
        assert_eq!(labels_of_one, ["1", "0.99", "0.98", "0.95", "0.9"]);
        let wide = labels(&[0.0, 0.5, 0.9995], 140.0);
        assert!(
            wide.contains(&"0.9".to_owned()) && wide.contains(&"0.99".to_owned()),
            "{wide:?}"
        );
    }

    #[test]
    fn nothing_and_everything_have_a_place() {
        let bytes = Bytes::new([0.0].into_iter(), 200.0);
        assert!(bytes.x(0.0).is_finite());
        assert!(Bytes::new(std::iter::empty(), 200.0).x(5.0).is_finite());
        let agreement = Agreement::new(std::iter::empty(), 140.0);
        assert!(agreement.y(1.0) < agreement.y(0.95));
        assert!((agreement.y(2.0) - agreement.y(1.0)).abs() < 1e-9);
    }
}
