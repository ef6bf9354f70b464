//! Checking that every cut computes what the whole model computes.

use std::sync::Arc;

use serde::Serialize;

use super::Bundle;
use crate::runtime::{Activation, Cancel, SpanOptions, SpanStore};
use crate::{Error, ErrorKind, Result, Tensor, TensorData};

/// Largest error that passes: of the output's range for floats, of the elements for integers.
pub const MAX_RELATIVE_ERROR: f64 = 1e-4;

/// The result of [`verify`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Name of the model.
    pub model: String,
    /// One row a cut.
    pub cuts: Vec<CutCheck>,
    /// Whether every row stays within [`MAX_RELATIVE_ERROR`].
    pub pass: bool,
}

/// How far head and tail at one cut are from the whole model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CutCheck {
    /// Index in the cut table.
    pub index: usize,
    /// Names of the tensors that cross.
    pub tensors: Vec<String>,
    /// Their elements.
    pub elements: usize,
    /// Largest absolute difference of an output's element; for integer outputs the largest
    /// difference of two values.
    pub max_abs_error: f64,
    /// Largest absolute difference as a share of the output's range; for integer outputs the
    /// share of elements that differ.
    pub max_rel_error: f64,
}

/// Runs head and tail at every cut in fp32, and the whole model, on each of `inputs` (tensors of
/// the model's input shape), and compares the outputs.
///
/// `progress` is told (cuts done, cuts in all). Fails if something cannot be run; an error that is
/// too large is no failure but a result that does not pass.
pub fn verify(
    bundle: &Arc<Bundle>,
    inputs: &[Tensor],
    threads: usize,
    progress: impl Fn(usize, usize),
) -> Result<Verification> {
    let last = bundle.manifest().last_cut();
    let whole = SpanStore::new(
        bundle.clone(),
        SpanOptions {
            threads,
            capacity: 1,
        },
    )?;
    let spans = SpanStore::new(
        bundle.clone(),
        SpanOptions {
            threads,
            capacity: 2,
        },
    )?;
    let expected: Result<Vec<Vec<Tensor>>> = inputs
        .iter()
        .map(|input| run(&whole, &[last], input))
        .collect();
    let expected = expected?;
    let mut cuts = Vec::with_capacity(last + 1);
    for cut in &bundle.manifest().cuts {
        progress(cut.index, last + 1);
        // Cuts at the ends leave one span, the whole model.
        let path = if cut.index == 0 || cut.index == last {
            vec![last]
        } else {
            vec![cut.index, last]
        };
        let mut check = CutCheck {
            index: cut.index,
            tensors: cut.tensors.iter().map(|t| t.name.clone()).collect(),
            elements: cut.elements(),
            max_abs_error: 0.0,
            max_rel_error: 0.0,
        };
        for (input, expected) in inputs.iter().zip(&expected) {
            let found = run(&spans, &path, input)?;
            for (found, expected) in found.iter().zip(expected) {
                let (abs, rel) = difference(found, expected)?;
                check.max_abs_error = check.max_abs_error.max(abs);
                check.max_rel_error = check.max_rel_error.max(rel);
            }
        }
        cuts.push(check);
    }
    progress(last + 1, last + 1);
    let pass = cuts
        .iter()
        .all(|cut| cut.max_rel_error <= MAX_RELATIVE_ERROR);
    Ok(Verification {
        model: bundle.manifest().model.clone(),
        cuts,
        pass,
    })
}

fn run(store: &SpanStore, path: &[usize], input: &Tensor) -> Result<Vec<Tensor>> {
    let mut activation = Activation::new(0, vec![input.clone()]);
    for &to in path {
        activation = store.run(activation, to, &Cancel::new())?.output;
    }
    activation.into_tensors()
}

/// Absolute and relative difference of two outputs; NaN on one side alone counts as infinite.
fn difference(found: &Tensor, expected: &Tensor) -> Result<(f64, f64)> {
    if found.shape() != expected.shape() {
        return Err(Error::new(
            ErrorKind::Internal,
            "head and tail change an output's shape",
        ));
    }
    match (found.data(), expected.data()) {
        (TensorData::F32(a), TensorData::F32(b)) => Ok(float_difference(a, b)),
        (a, b) => Ok(integer_difference(a, b)),
    }
}

fn float_difference(found: &[f32], expected: &[f32]) -> (f64, f64) {
    let (mut low, mut high, mut abs) = (f64::INFINITY, f64::NEG_INFINITY, 0.0f64);
    for (&a, &b) in found.iter().zip(expected) {
        let (a, b) = (f64::from(a), f64::from(b));
        if b.is_finite() {
            (low, high) = (low.min(b), high.max(b));
        }
        // Bits, so that infinities on both sides are the same.
        let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        let apart = if same { 0.0 } else { (a - b).abs() };
        abs = abs.max(if apart.is_nan() { f64::INFINITY } else { apart });
    }
    let range = high - low;
    let rel = if abs == 0.0 {
        0.0
    } else {
        abs / if range > 0.0 { range } else { 1.0 }
    };
    (abs, rel)
}

fn integer_difference(found: &TensorData, expected: &TensorData) -> (f64, f64) {
    let (a, b) = (integers(found), integers(expected));
    let apart = |(a, b): (&i64, &i64)| a.abs_diff(*b);
    let largest = a.iter().zip(&b).map(apart).max().unwrap_or(0);
    let differ = a.iter().zip(&b).filter(|(a, b)| a != b).count();
    (largest as f64, differ as f64 / a.len().max(1) as f64)
}

fn integers(data: &TensorData) -> Vec<i64> {
    match data {
        TensorData::F32(_) => Vec::new(),
        TensorData::I64(v) => v.clone(),
        TensorData::I32(v) => v.iter().map(|&x| x.into()).collect(),
        TensorData::U8(v) | TensorData::Bool(v) => v.iter().map(|&x| x.into()).collect(),
        TensorData::I8(v) => v.iter().map(|&x| x.into()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_error_is_measured_against_the_range() {
        assert_eq!(float_difference(&[0.0, 10.5], &[0.0, 10.0]), (0.5, 0.05));
        assert!(float_difference(&[f32::NAN], &[1.0]).0.is_infinite());
    }

    #[test]
    fn an_integer_error_is_the_share_of_elements_that_differ() {
        let (a, b) = (
            TensorData::I64(vec![1, 2, 3, 4]),
            TensorData::I64(vec![1, 2, 3, 9]),
        );
        assert_eq!(integer_difference(&a, &b), (5.0, 0.25));
    }
}
