//! Axes: where a number is drawn, and which numbers are written beside them.

use super::plot::text_width;

/// Size of the ticks' text.
const TICK_PX: f64 = 11.0;
/// Between texts beside each other.
const TICK_GAP: f64 = 6.0;
/// Decades are the whole powers of ten within these.
const LEAST_POWER: i32 = -6;
const MOST_POWER: i32 = 12;
/// Linear axes have about so many ticks.
const LINEAR_TICKS: f64 = 8.0;

/// A written number.
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// A logarithmic axis; what is below its least number is drawn at its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    low: f64,
    high: f64,
    length: f64,
}

impl Log {
    /// From the least to the greatest of the numbers above 0, a little apart at least.
    pub(super) fn new(numbers: impl Iterator<Item = f64>, length: f64) -> Self {
        let numbers = numbers
            .filter(|n| n.is_finite() && *n > 0.0)
            .map(f64::log10);
        let (low, high) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), n| {
            (low.min(n), high.max(n))
        });
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let missing = (0.3 - (high - low)).max(0.0) / 2.0;
        Self {
            low: low - missing,
            high: high + missing,
            length,
        }
    }

    /// Some room at both ends.
    pub(super) fn padded(self) -> Self {
        let pad = 0.04 * (self.high - self.low);
        Self {
            low: self.low - pad,
            high: self.high + pad,
            ..self
        }
    }

    /// From the beginning.
    pub(super) fn at(&self, number: f64) -> f64 {
        if number <= 0.0 {
            return 0.0;
        }
        let share = (number.log10() - self.low) / (self.high - self.low);
        share.clamp(0.0, 1.0) * self.length
    }

    /// 1, 2 and 5 of every decade if there is room for them, else fewer.
    pub(super) fn ticks(&self, apart: f64) -> Vec<Tick> {
        let choices: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
        let all = choices.iter().map(|multiples| self.candidates(multiples));
        let mut ticks: Vec<Tick> = Vec::new();
        for choice in all {
            let fits = choice.windows(2).all(|two| two[1].at - two[0].at >= apart);
            ticks = choice;
            if fits {
                break;
            }
        }
        ticks
    }

    /// Those of the numbers that have room for their texts.
    pub(super) fn ticks_of(&self, numbers: &[f64]) -> Vec<Tick> {
        let mut ticks: Vec<Tick> = Vec::new();
        for &number in numbers {
            let label = number.to_string();
            let at = self.at(number);
            let has_room = ticks.last().is_none_or(|last| {
                let texts = text_width(&label, TICK_PX) + text_width(&last.label, TICK_PX);
                at - last.at >= texts / 2.0 + TICK_GAP
            });
            if has_room {
                ticks.push(Tick { at, label });
            }
        }
        ticks
    }

    fn candidates(&self, multiples: &[f64]) -> Vec<Tick> {
        let powers = LEAST_POWER..=MOST_POWER;
        let numbers = powers.flat_map(|p| multiples.iter().map(move |m| m * 10f64.powi(p)));
        let within = numbers.filter(|n| (self.low..=self.high).contains(&n.log10()));
        within
            .map(|number| Tick {
                at: self.at(number),
                label: short(number),
            })
            .collect()
    }
}

/// Ticks of an axis from 0 to `most` on `length`, at round numbers.
pub(super) fn linear_ticks(most: f64, length: f64) -> Vec<Tick> {
    let rough = (most / LINEAR_TICKS).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|m| m * power);
    let step = steps.into_iter().find(|s| *s >= rough).unwrap_or(rough);
    let numbers = (0..100).map(|i| f64::from(i) * step);
    numbers
        .take_while(|n| *n <= most * (1.0 + 1e-9))
        .map(|number| Tick {
            at: number / most.max(f64::MIN_POSITIVE) * length,
            label: short(number),
        })
        .collect()
}

/// A round number in few letters.
pub(super) fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{} M", round(n / 1e6)),
        n if n >= 1e4 => format!("{} k", round(n / 1e3)),
        n => round(n),
    }
}

/// Without the last digits of a sum or a power.
fn round(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn decades_have_as_many_ticks_as_have_room() {
        let log = Log::new([0.5, 200.0].into_iter(), 200.0);
        assert_eq!(
            labels(&log.ticks(14.0)),
            ["0.5", "1", "2", "5", "10", "20", "50", "100", "200"]
        );
        assert_eq!(labels(&log.ticks(50.0)), ["1", "10", "100"]);
        assert!(log.at(0.0).abs() < 1e-9 && (log.at(200.0) - 200.0).abs() < 1e-9);
        assert_eq!(
            labels(&log.ticks_of(&[0.5, 0.55, 1.0, 200.0])),
            ["0.5", "1", "200"]
        );
    }

    #[test]
    fn anything_makes_an_axis() {
        for numbers in [
            vec![],
            vec![0.0],
            vec![f64::NAN, -1.0],
            vec![7.0],
            vec![f64::INFINITY],
        ] {
            let log = Log::new(numbers.into_iter(), 100.0).padded();
            assert!(log.at(3.0).is_finite() && !log.ticks(10.0).is_empty());
        }
        assert_eq!(labels(&linear_ticks(120.0, 600.0)).last(), Some(&"120"));
        assert_eq!(labels(&linear_ticks(1.0, 600.0))[1], "0.2");
        assert_eq!(labels(&linear_ticks(0.0, 600.0)), ["0"]);
    }

    #[test]
    fn numbers_are_written_short() {
        for (number, text) in [
            (0.05, "0.05"),
            (5000.0, "5000"),
            (2e5, "200 k"),
            (3e6, "3 M"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
