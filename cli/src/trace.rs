//! A network's rate over time, read from a recording: what links replay, in simulations as in
//! measurements.
//!
//! A trace is a list of steps, each with one rate, and starts again when it ends. Time within it is
//! in milliseconds from its start.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// First line of a trace file.
const HEADER: &str = "t_ms,kbit_s";
/// Largest file that is read: days of steps of 100 ms.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Highest rate that a step may have: above any network, so that a slip in the unit is noticed.
const MAX_KBIT_S: f64 = 1e9;
/// Length of the step of a constant rate, and of the last step of a file with one row: any would
/// do.
const LONE_STEP_MS: f64 = 1e3;

/// A rate over time; repeats when it ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trace {
    /// In the order of time, without gaps, at least one.
    steps: Vec<Step>,
    /// What one pass through all steps carries.
    bits: f64,
}

/// A stretch of one rate.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    end_ms: f64,
    rate_bps: f64,
}

impl Trace {
    /// Reads a CSV file with the columns `t_ms,kbit_s`, a row a step. The first step starts at 0;
    /// the last is as long as the one before it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path)
            .with_context(|| format!("cannot read the trace {}", path.display()))?
            .len();
        if size > MAX_FILE_BYTES {
            bail!(
                "the trace {} has {size} bytes, more than {MAX_FILE_BYTES}: use a part of it",
                path.display()
            );
        }
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the trace {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the trace {}", path.display()))
    }

    /// The same rate for all time; negative ones and NaN count as 0.
    pub(crate) fn constant(rate_bps: f64) -> Self {
        Self::new(vec![Step {
            end_ms: LONE_STEP_MS,
            rate_bps: rate_bps.max(0.0),
        }])
    }

    /// How long it is until it repeats.
    pub(crate) fn duration_ms(&self) -> f64 {
        self.steps.last().map_or(0.0, |step| step.end_ms)
    }

    /// The rate at a time.
    pub(crate) fn rate_bps_at(&self, t_ms: f64) -> f64 {
        let (_, index) = self.locate(t_ms);
        self.steps[index].rate_bps
    }

    /// When `bytes` that start at `start_ms` have been sent, nothing else being under way;
    /// infinity if the rate is 0 throughout.
    pub(crate) fn finish_ms(&self, start_ms: f64, bytes: f64) -> f64 {
        let start_ms = start_ms.max(0.0);
        let mut bits = bytes * 8.0;
        if bits <= 0.0 {
            return start_ms;
        }
        if self.bits <= 0.0 {
            return f64::INFINITY;
        }
        // Whole passes first, but for the one in which it ends: a trailing outage is not waited for.
        let passes = ((bits / self.bits).ceil() - 1.0).max(0.0);
        bits -= passes * self.bits;
        let (mut at_ms, mut index) = self.locate(start_ms);
        let mut pass_start_ms = start_ms - at_ms + passes * self.duration_ms();
        loop {
            let step = self.steps[index];
            let capacity = step.rate_bps * (step.end_ms - at_ms) / 1e3;
            if bits <= capacity {
                return pass_start_ms + at_ms + bits / step.rate_bps * 1e3;
            }
            bits -= capacity;
            at_ms = step.end_ms;
            index += 1;
            if index == self.steps.len() {
                pass_start_ms += at_ms;
                (at_ms, index) = (0.0, 0);
            }
        }
    }

    fn new(steps: Vec<Step>) -> Self {
        let starts = std::iter::once(0.0).chain(steps.iter().map(|step| step.end_ms));
        let bits = steps
            .iter()
            .zip(starts)
            .map(|(step, start_ms)| step.rate_bps * (step.end_ms - start_ms) / 1e3)
            .sum();
        Self { steps, bits }
    }

    /// Time from the start of the pass that `t_ms` is in, and the step there.
    fn locate(&self, t_ms: f64) -> (f64, usize) {
        let at_ms = t_ms.max(0.0) % self.duration_ms();
        let index = self.steps.partition_point(|step| step.end_ms <= at_ms);
        (at_ms, index.min(self.steps.len() - 1))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.lines().enumerate();
        match lines.next() {
            Some((_, header)) if header.trim() == HEADER => {}
            _ => bail!("line 1 is not '{HEADER}'"),
        }
        let mut rows: Vec<(f64, f64)> = Vec::new();
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let row = row(line, rows.last().map(|row| row.0))
                .with_context(|| format!("line {}", index + 1))?;
            rows.push(row);
        }
        let Some(&(last_ms, _)) = rows.last() else {
            bail!("there is no row below the header");
        };
        let last_length_ms = match rows.as_slice() {
            [.., (before_ms, _), _] => last_ms - before_ms,
            _ => LONE_STEP_MS,
        };
        let ends = rows.iter().skip(1).map(|row| row.0);
        let steps = rows.iter().zip(ends.chain([last_ms + last_length_ms])).map(
            |(&(_, kbit_s), end_ms)| Step {
                end_ms,
                rate_bps: kbit_s * 1e3,
            },
        );
        Ok(Self::new(steps.collect()))
    }
}

/// One row, which must follow the one before it.
fn row(line: &str, before_ms: Option<f64>) -> Result<(f64, f64)> {
    let Some((t_ms, kbit_s)) = line.split_once(',') else {
        bail!("'{}' is not two numbers with a comma", shortened(line));
    };
    let (t_ms, kbit_s) = (number(t_ms)?, number(kbit_s)?);
    match before_ms {
        None if t_ms != 0.0 => bail!("the first step starts at {t_ms} ms, not at 0"),
        Some(before_ms) if t_ms <= before_ms => {
            bail!("{t_ms} ms does not come after {before_ms} ms");
        }
        _ => {}
    }
    if !(0.0..=MAX_KBIT_S).contains(&kbit_s) {
        bail!("a rate of {kbit_s} kbit/s is not within 0 to {MAX_KBIT_S}");
    }
    Ok((t_ms, kbit_s))
}

fn number(text: &str) -> Result<f64> {
    match text.trim().parse() {
        Ok(value) if f64::is_finite(value) => Ok(value),
        _ => bail!("'{}' is not a number", shortened(text)),
    }
}

/// Enough of a text to recognise it by.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 Mbit/s for 100 ms, nothing for 200 ms, 2 Mbit/s for 200 ms: 500,000 bits in 500 ms.
    fn uneven() -> Trace {
        Trace::parse("t_ms,kbit_s\n0,1000\n100,0\n300,2000\n").unwrap()
    }

    #[test]
    fn the_rate_is_that_of_the_step_and_repeats() {
        let trace = uneven();
        assert!((trace.duration_ms() - 500.0).abs() < 1e-9);
        for (t_ms, rate_bps) in [
            (0.0, 1e6),
            (99.9, 1e6),
            (100.0, 0.0),
            (299.9, 0.0),
            (300.0, 2e6),
            (499.9, 2e6),
            (500.0, 1e6),
            (600.0, 0.0),
            (5_000_300.0, 2e6),
            (-1.0, 1e6),
        ] {
            let found = trace.rate_bps_at(t_ms);
            assert!((found - rate_bps).abs() < 1e-9, "{t_ms} ms: {found}");
        }
    }

    #[test]
    fn sending_is_integrated_over_steps_and_passes() {
        let trace = uneven();
        for (start_ms, bytes, finish_ms) in [
            (0.0, 0.0, 0.0),
            (150.0, 0.0, 150.0),
            (0.0, 6_250.0, 50.0),
            // As much as the first step carries: the outage behind it is not waited for.
            (0.0, 12_500.0, 100.0),
            (0.0, 12_500.0 + 25_000.0, 400.0),
            (50.0, 12_500.0, 325.0),
            (100.0, 250.0, 301.0),
            (450.0, 12_500.0 + 6_250.0, 550.0),
            // One pass to the bit, and three and a half.
            (0.0, 62_500.0, 500.0),
            (0.0, 3.0 * 62_500.0 + 6_250.0, 1_550.0),
            (500.0, 62_500.0, 1_000.0),
            (50.0, 62_500.0, 550.0),
        ] {
            let found = trace.finish_ms(start_ms, bytes);
            assert!(
                (found - finish_ms).abs() < 1e-6,
                "{bytes} from {start_ms}: {found}"
            );
        }
    }

    #[test]
    fn many_small_pieces_take_as_long_as_one_large() {
        let trace = uneven();
        let pieces = (0..1_000).fold(7.0, |at_ms, _| trace.finish_ms(at_ms, 1_500.0));
        assert!((pieces - trace.finish_ms(7.0, 1_500_000.0)).abs() < 1e-3);
    }

    #[test]
    fn a_constant_rate_has_no_steps_to_notice() {
        let trace = Trace::constant(20e6);
        assert!((trace.rate_bps_at(12_345.6) - 20e6).abs() < 1e-9);
        assert!((trace.finish_ms(0.0, 256e3) - 102.4).abs() < 1e-9);
        assert!((trace.finish_ms(950.0, 1e9) - 400_950.0).abs() < 1e-3);
    }

    #[test]
    fn without_any_rate_nothing_ever_arrives() {
        let zeros = Trace::parse("t_ms,kbit_s\n0,0\n100,0").unwrap();
        for trace in [zeros, Trace::constant(-1.0), Trace::constant(f64::NAN)] {
            assert!(trace.finish_ms(3.0, 1.0).is_infinite());
            assert!((trace.finish_ms(3.0, 0.0) - 3.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_file_may_have_one_row_blank_lines_and_windows_line_ends() {
        let trace = Trace::parse("t_ms,kbit_s\r\n0,8\r\n\r\n").unwrap();
        assert_eq!(trace, Trace::constant(8e3));
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        for (text, words) in [
            ("", "line 1 is not 't_ms,kbit_s'"),
            ("seconds,mbit\n0,1", "line 1"),
            ("t_ms,kbit_s\n", "no row"),
            ("t_ms,kbit_s\n5,1", "line 2: the first step starts at 5 ms"),
            ("t_ms,kbit_s\n-0.5,1", "line 2"),
            ("t_ms,kbit_s\n0,1\n100", "line 3: '100' is not two numbers"),
            (
                "t_ms,kbit_s\n0,1\n\n0,2",
                "line 4: 0 ms does not come after 0",
            ),
            ("t_ms,kbit_s\n0,1\n100,2,3", "line 3: '2,3' is not a number"),
            ("t_ms,kbit_s\n0,-1", "line 2: a rate of -1 kbit/s"),
            ("t_ms,kbit_s\n0,1e12", "line 2: a rate of 1000000000000"),
            ("t_ms,kbit_s\n0,nan", "line 2: 'nan' is not a number"),
            ("t_ms,kbit_s\n0,1\ninf,1", "line 3: 'inf' is not a number"),
            ("t_ms,kbit_s\n0,\u{1F980}", "line 2"),
        ] {
            let error = format!("{:#}", Trace::parse(text).unwrap_err());
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn files_are_read_and_named_in_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cell.csv");
        let missing = format!("{:#}", Trace::read(&path).unwrap_err());
        assert!(missing.contains("cell.csv"), "{missing}");
        std::fs::write(&path, "t_ms,kbit_s\n0,5\n").unwrap();
        assert_eq!(Trace::read(&path).unwrap(), Trace::constant(5e3));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(Trace::read(&path).is_err());
    }
}
