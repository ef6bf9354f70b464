//! The profile: how long each head takes on the machine that prepared the bundle.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Bundle;
use crate::runtime::{Activation, Cancel, SpanOptions, SpanStore};
use crate::{Result, Tensor, TensorData};

/// Most inner cuts whose head is measured; the others are interpolated by their operations.
const MAX_MEASURED: usize = 8;
/// Runs of a head; the fastest counts, since other work on the machine only ever adds.
const RUNS: usize = 5;

/// The content of `profile.json`. Not part of the bundle's hash: it belongs to a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// CPU of the machine, as the system names it.
    pub machine: String,
    /// Threads that ran one inference.
    pub threads: usize,
    /// Milliseconds from the input to each cut, one for each row of the cut table (0 at cut 0,
    /// the whole model at the last); never falling.
    pub head_ms: Vec<f64>,
    /// Which rows were measured; the others lie between their neighbours by their operations.
    pub measured: Vec<usize>,
}

impl Profile {
    /// Milliseconds from cut `from` to cut `to`; 0 outside of the table.
    pub fn span_ms(&self, from: usize, to: usize) -> f64 {
        let at = |cut: usize| self.head_ms.get(cut).copied().unwrap_or(0.0);
        (at(to) - at(from)).max(0.0)
    }

    /// Measures `bundle` on this machine. `progress` is told (heads done, heads in all).
    pub fn measure(
        bundle: &Arc<Bundle>,
        threads: usize,
        progress: impl Fn(u64, u64),
    ) -> Result<Self> {
        let flops: Vec<u64> = bundle
            .manifest()
            .cuts
            .iter()
            .map(|cut| cut.flops_before)
            .collect();
        let measured = spread(&flops);
        let store = SpanStore::new(
            bundle.clone(),
            SpanOptions {
                threads,
                capacity: 1,
            },
        )?;
        let mut known = vec![(0, 0.0)];
        for (done, &cut) in measured.iter().enumerate() {
            progress(done as u64, measured.len() as u64);
            known.push((cut, best_ms(&store, cut)?));
        }
        progress(measured.len() as u64, measured.len() as u64);
        Ok(Self {
            machine: machine(),
            threads,
            head_ms: interpolate(&flops, &known),
            measured,
        })
    }
}

/// The last row and up to [`MAX_MEASURED`] others, evenly over the operations.
fn spread(flops: &[u64]) -> Vec<usize> {
    let last = flops.len() - 1;
    let mut rows: Vec<usize> = (1..=MAX_MEASURED)
        .map(|i| flops[last] / (MAX_MEASURED as u64 + 1) * i as u64)
        .map(|target| {
            (0..=last)
                .min_by_key(|&row| flops[row].abs_diff(target))
                .unwrap_or(last)
        })
        .filter(|&row| row > 0)
        .chain([last])
        .collect();
    rows.dedup();
    rows
}

fn best_ms(store: &SpanStore, cut: usize) -> Result<f64> {
    let input = &store.bundle().manifest().input;
    let tensor = Tensor::new(
        input.shape.clone(),
        TensorData::F32(vec![0.5; input.elements()]),
    )?;
    let mut times = Vec::with_capacity(RUNS);
    // The first run is for warming up.
    for run in 0..=RUNS {
        let input = Activation::new(0, vec![tensor.clone()]);
        let elapsed = store.run(input, cut, &Cancel::new())?.elapsed;
        if run > 0 {
            times.push(elapsed.as_secs_f64() * 1e3);
        }
    }
    Ok(times.into_iter().fold(f64::INFINITY, f64::min))
}

/// Times of all rows from those of some, between neighbours in proportion to their operations.
///
/// A longer head cannot be faster, so measurements out of order are averaged with their
/// neighbours first (isotonic regression by pooling adjacent violators).
fn interpolate(flops: &[u64], known: &[(usize, f64)]) -> Vec<f64> {
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for &(_, ms) in known {
        pools.push((ms, 1));
        while let [.., (a, n), (b, m)] = *pools.as_slice()
            && a > b
        {
            pools.truncate(pools.len() - 2);
            pools.push(((a * n as f64 + b * m as f64) / (n + m) as f64, n + m));
        }
    }
    let rising = pools.iter().flat_map(|&(ms, n)| std::iter::repeat_n(ms, n));
    let known: Vec<(usize, f64)> = known.iter().map(|&(row, _)| row).zip(rising).collect();
    let mut times = vec![0.0; flops.len()];
    for pair in known.windows(2) {
        let ((a, a_ms), (b, b_ms)) = (pair[0], pair[1]);
        let width = (flops[b] - flops[a]).max(1) as f64;
        for row in a..b {
            let share = (flops[row] - flops[a]) as f64 / width;
            times[row] = a_ms + (b_ms - a_ms) * share;
        }
        times[b] = b_ms;
    }
    times
}

fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name") || line.starts_with("Hardware"))
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim().to_owned());
    model.unwrap_or_else(|| format!("{} ({})", std::env::consts::ARCH, std::env::consts::OS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_between_measured_ones_follow_their_operations() {
        let times = interpolate(&[0, 10, 20, 40], &[(0, 0.0), (2, 4.0), (3, 10.0)]);
        assert_eq!(times, [0.0, 2.0, 4.0, 10.0]);
    }

    #[test]
    fn a_noisy_measurement_never_makes_a_longer_head_faster() {
        let times = interpolate(&[0, 10, 20, 30], &[(0, 0.0), (1, 6.0), (2, 4.0), (3, 8.0)]);
        assert_eq!(times, [0.0, 5.0, 5.0, 8.0]);
    }

    #[test]
    fn few_cuts_are_all_measured_and_many_are_sampled() {
        assert_eq!(spread(&[0, 50, 100]), [1, 2]);
        let many: Vec<u64> = (0..100).collect();
        assert_eq!(spread(&many).len(), MAX_MEASURED + 1);
    }
}
