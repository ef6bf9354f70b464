//! How far two outputs are apart, for models that are no classifiers.

use crate::{Error, ErrorKind, Result, Tensor, TensorData};

/// What is kept of the whole model's outputs to compare with.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// The class of each pixel.
    Classes(Vec<i64>),
    /// Every output's elements.
    Numbers(Vec<Tensor>),
}

impl Target {
    /// The class map in the first output.
    pub(super) fn classes(outputs: &[Tensor]) -> Result<Self> {
        let first = outputs.first().ok_or_else(no_map)?;
        class_map(first).map(Self::Classes)
    }

    /// How far `outputs` are from it: 0 if they are equal.
    pub(super) fn distance(&self, outputs: &[Tensor]) -> Result<f64> {
        match self {
            Self::Classes(expected) => {
                let found = class_map(outputs.first().ok_or_else(no_map)?)?;
                Ok(1.0 - mean_iou(expected, &found))
            }
            Self::Numbers(expected) => {
                let each = expected.iter().zip(outputs);
                Ok(each.map(|(e, f)| relative_l2(e, f)).fold(0.0, f64::max))
            }
        }
    }
}

/// Integers as they are; of `[1, classes, height, width]` floats the greatest class of each pixel.
fn class_map(output: &Tensor) -> Result<Vec<i64>> {
    let (data, shape) = (output.data(), output.shape());
    match data {
        TensorData::F32(scores) => {
            let [1, classes, height, width] = *shape else {
                return Err(no_map());
            };
            let pixels = height * width;
            let best = |pixel: usize| {
                (0..classes)
                    .max_by(|a, b| {
                        scores[a * pixels + pixel].total_cmp(&scores[b * pixels + pixel])
                    })
                    .map_or(0, |class| i64::try_from(class).unwrap_or(i64::MAX))
            };
            Ok((0..pixels).map(best).collect())
        }
        TensorData::I64(v) => Ok(v.clone()),
        TensorData::I32(v) => Ok(v.iter().map(|&c| c.into()).collect()),
        TensorData::U8(v) | TensorData::Bool(v) => Ok(v.iter().map(|&c| c.into()).collect()),
        TensorData::I8(v) => Ok(v.iter().map(|&c| c.into()).collect()),
    }
}

fn no_map() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "the first output is no class map (integers, or [1, classes, height, width]): use the \
         distance l2",
    )
}

/// Intersection over union, averaged over the classes that occur on either side.
fn mean_iou(expected: &[i64], found: &[i64]) -> f64 {
    let mut classes = std::collections::BTreeMap::<i64, (usize, usize)>::new();
    for (&a, &b) in expected.iter().zip(found) {
        classes.entry(a).or_default().1 += 1;
        if a == b {
            classes.entry(a).or_default().0 += 1;
        } else {
            classes.entry(b).or_default().1 += 1;
        }
    }
    let iou = classes
        .values()
        .map(|&(both, either)| both as f64 / either as f64);
    iou.sum::<f64>() / classes.len().max(1) as f64
}

/// |found − expected| / |expected|; 1 (or 0) where `expected` is all zeros; infinite for NaN.
fn relative_l2(expected: &Tensor, found: &Tensor) -> f64 {
    let (expected, found) = (numbers(expected.data()), numbers(found.data()));
    let squares = |pairs: &mut dyn Iterator<Item = f64>| pairs.map(|d| d * d).sum::<f64>();
    let apart = squares(&mut expected.iter().zip(&found).map(|(e, f)| e - f));
    let size = squares(&mut expected.iter().copied());
    if apart.is_nan() {
        f64::INFINITY
    } else if size > 0.0 {
        (apart / size).sqrt()
    } else if apart > 0.0 {
        1.0
    } else {
        0.0
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a distance needs no more than 53 bits"
)]
fn numbers(data: &TensorData) -> Vec<f64> {
    match data {
        TensorData::F32(v) => v.iter().map(|&x| x.into()).collect(),
        TensorData::I64(v) => v.iter().map(|&x| x as f64).collect(),
        TensorData::I32(v) => v.iter().map(|&x| x.into()).collect(),
        TensorData::U8(v) | TensorData::Bool(v) => v.iter().map(|&x| x.into()).collect(),
        TensorData::I8(v) => v.iter().map(|&x| x.into()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], data: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), TensorData::F32(data.to_vec())).unwrap()
    }

    #[test]
    fn class_maps_are_compared_by_intersection_over_union() {
        // Class 0: 1 of 2; class 1: 1 of 3; class 7: 0 of 1.
        let iou = mean_iou(&[0, 0, 1, 1], &[0, 1, 1, 7]);
        assert!((iou - (0.5 + 1.0 / 3.0) / 3.0).abs() < 1e-12);
        assert!((mean_iou(&[3, 3], &[3, 3]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn scores_of_classes_are_a_class_map_too() {
        let map = class_map(&floats(&[1, 2, 1, 3], &[0.1, 0.9, 0.5, 0.2, 0.3, 0.6])).unwrap();
        assert_eq!(map, [1, 0, 1]);
        let target = Target::classes(&[floats(&[1, 7], &[0.0; 7])]);
        assert_eq!(target.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn numbers_are_compared_relative_to_their_size() {
        let target = Target::Numbers(vec![floats(&[2], &[3.0, 4.0]), floats(&[1], &[0.0])]);
        let same = [floats(&[2], &[3.0, 4.0]), floats(&[1], &[0.0])];
        assert!(target.distance(&same).unwrap() < 1e-12);
        let near = [floats(&[2], &[3.0, 4.5]), floats(&[1], &[0.0])];
        assert!((target.distance(&near).unwrap() - 0.1).abs() < 1e-12);
        let zero_moved = [floats(&[2], &[3.0, 4.0]), floats(&[1], &[0.1])];
        assert!((target.distance(&zero_moved).unwrap() - 1.0).abs() < 1e-12);
        let nan = [floats(&[2], &[f32::NAN, 4.0]), floats(&[1], &[0.0])];
        assert!(target.distance(&nan).unwrap().is_infinite());
    }
}
