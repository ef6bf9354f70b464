//! How [`Shaping`](crate::pack::Shaping) is learnt: each tensor of a cut is sent at a few precisions
//! while the others arrive as they were, and what the answer loses is set against the bytes.
//!
//! A few photos do, since this only says what is worth measuring: every row of the table comes from
//! whole messages, shaped and not.

use super::lab::{Lab, Trial, TrialResult};
use crate::Result;
use crate::pack::TensorShaping;
use crate::schedule::Levels;

/// Photos to learn from, at most.
const PHOTOS: usize = 16;
/// Levels to learn at: about the limits that people set.
const LEVELS: [u32; 3] = [6, 12, 24];
const MIDDLE: usize = 1;
/// Shares of errors to hand on: none, so that they die out, all of them.
pub(super) const DIFFUSIONS: [f32; 3] = [0.0, TensorShaping::DEFAULT_DIFFUSION, 1.0];
/// Errors are diffused if that saves at least this share of the bytes.
const MIN_GAIN: f64 = 0.01;
/// No tensor has fewer than this share of the levels that the widest has.
const MIN_SHARE: f64 = 1.0 / 16.0;
/// Stands for no loss at all in logarithms.
const MIN_LOSS: f64 = 1e-20;

/// How the tensors of `cut` are best shaped.
pub(super) fn learn(lab: &Lab, cut: usize) -> Result<Vec<TensorShaping>> {
    let tensors = lab.bundle().cut(cut)?.tensors.len();
    let mut trials = Vec::new();
    for tensor in 0..tensors {
        for diffusion in 0..DIFFUSIONS.len() {
            for levels in LEVELS {
                trials.push(Trial {
                    tensor,
                    diffusion,
                    levels: Levels::new(levels)?,
                });
            }
        }
    }
    let photos = PHOTOS.min(lab.images());
    // Evenly over them: photos often lie sorted by what they show.
    let images: Vec<usize> = (0..photos).map(|i| i * lab.images() / photos).collect();
    let results = lab.try_tensors(cut, &trials, &images)?;
    let curves: Vec<Curve> = results.chunks(LEVELS.len()).map(Curve::of).collect();
    Ok(shaping(&curves))
}

/// From the curves of each tensor, one for each of [`DIFFUSIONS`].
fn shaping(curves: &[Curve]) -> Vec<TensorShaping> {
    let tensors = curves.as_chunks::<{ DIFFUSIONS.len() }>().0;
    let chosen: Vec<(f32, &Curve)> = tensors.iter().map(best).collect();
    let importance = |(_, curve): &(f32, &Curve)| curve.importance();
    let most = chosen.iter().filter_map(importance).fold(0.0, f64::max);
    let shaping = |tensor: &(f32, &Curve)| {
        let share = importance(tensor).map_or(1.0, |own| (own / most).clamp(MIN_SHARE, 1.0));
        TensorShaping {
            weight: weight(share, tensor.1.width),
            diffusion: tensor.0,
        }
    };
    chosen.iter().map(shaping).collect()
}

/// What takes the fewest bytes to lose what rounding to the nearest loses.
fn best(curves: &[Curve; DIFFUSIONS.len()]) -> (f32, &Curve) {
    let [nearest, diffused @ ..] = curves;
    let loss = nearest.loss(MIDDLE);
    let mut best = (DIFFUSIONS[0], nearest);
    let mut fewest = (1.0 - MIN_GAIN) * nearest.bytes_at(loss);
    for (&diffusion, curve) in DIFFUSIONS[1..].iter().zip(diffused) {
        let bytes = curve.bytes_at(loss);
        if bytes < fewest {
            (best, fewest) = ((diffusion, curve), bytes);
        }
    }
    best
}

/// The weight of a tensor that is usually `width` wide and shall have this share of the levels.
#[expect(clippy::cast_possible_truncation, reason = "a weight has few digits")]
fn weight(share: f64, width: f64) -> f32 {
    let weight = (share / width) as f32;
    if weight.is_finite() && weight > 0.0 {
        weight
    } else {
        1.0
    }
}

/// What a tensor costs in bytes and in the answer, at each of [`LEVELS`].
#[derive(Debug)]
struct Curve {
    /// Mean bytes, and the logarithm of what the answer loses, by photo and then on average.
    points: [(f64, f64); LEVELS.len()],
    /// Of its range, on average.
    width: f64,
}

impl Curve {
    fn of(results: &[Vec<TrialResult>]) -> Self {
        let mut points = [(0.0, 0.0); LEVELS.len()];
        for (point, photos) in points.iter_mut().zip(results) {
            let count = photos.len().max(1) as f64;
            let bytes: f64 = photos.iter().map(|r| r.bytes as f64).sum();
            let loss: f64 = photos.iter().map(|r| bounded(r.loss).ln()).sum();
            *point = (bytes / count, loss / count);
        }
        let photos = results.first().map_or(&[][..], Vec::as_slice);
        let width: f64 = photos.iter().map(|r| r.width).sum();
        Self {
            points,
            width: width / photos.len().max(1) as f64,
        }
    }

    fn loss(&self, i: usize) -> f64 {
        self.points[i].1
    }

    /// Bytes that lead to this loss, along the straight line of the logarithms that is nearest.
    fn bytes_at(&self, loss: f64) -> f64 {
        let [a, b, c] = self.points;
        let ((from, start), (to, end)) = if loss > b.1 { (a, b) } else { (b, c) };
        let slope = (to.ln() - from.ln()) / (end - start);
        if slope.is_finite() {
            (from.ln() + slope * (loss - start)).exp()
        } else {
            from
        }
    }

    /// How many levels the tensor is worth, against others of its cut: with so many for each, no
    /// byte more for one and less for another would leave a better answer. The loss grows with the
    /// square of the step, and every octave of it saves the same number of bytes, so that the loss
    /// for each of those bytes must be the same for all.
    fn importance(&self) -> Option<f64> {
        let [(fewest, _), (_, loss), (most, _)] = self.points;
        let importance = (loss.exp() / (most - fewest)).sqrt();
        (most > fewest && importance.is_finite()).then_some(importance)
    }
}

/// A loss that has a logarithm: not less than can be told from nothing; NaN, too, is the worst.
fn bounded(loss: f64) -> f64 {
    if loss <= f64::MAX {
        loss.max(MIN_LOSS)
    } else {
        f64::MAX
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)] // exactness is what is tested

    use super::*;

    /// A tensor whose loss is `loss` at the middle levels and whose octaves cost `octave` bytes.
    fn curve(loss: f64, octave: f64, bytes: f64, width: f64) -> Curve {
        let at = |octaves: f64| (bytes + octaves * octave, (loss / 4f64.powf(octaves)).ln());
        Curve {
            points: [at(-1.0), at(0.0), at(1.0)],
            width,
        }
    }

    #[test]
    fn errors_are_diffused_where_that_takes_fewer_bytes_for_the_same_answer() {
        let nearest = || curve(1.0, 200.0, 1000.0, 6.0);
        let diffusion = |some, all| shaping(&[nearest(), some, all])[0].diffusion;
        assert_eq!(diffusion(curve(0.5, 200.0, 1000.0, 6.0), nearest()), 0.9);
        assert_eq!(diffusion(nearest(), curve(0.5, 200.0, 1000.0, 6.0)), 1.0);
        assert_eq!(diffusion(curve(1.0, 200.0, 950.0, 6.0), nearest()), 0.9);
        assert_eq!(diffusion(curve(1.0, 200.0, 995.0, 6.0), nearest()), 0.0);
        // Half the loss is half an octave: 100 bytes, and this takes 150 more.
        assert_eq!(diffusion(curve(0.5, 200.0, 1150.0, 6.0), nearest()), 0.0);
    }

    #[test]
    fn levels_follow_the_answer_and_the_bytes() {
        let shares = |first: (f64, f64), second: (f64, f64)| {
            let both = |(loss, octave)| [(); 3].map(|()| curve(loss, octave, 1000.0, 10.0));
            let curves = [both(first), both(second)].into_iter().flatten();
            let rows = shaping(&curves.collect::<Vec<_>>());
            rows.iter().map(|r| r.weight * 10.0).collect::<Vec<_>>()
        };
        assert_eq!(shares((1.0, 100.0), (1.0, 100.0)), [1.0, 1.0]);
        // Four times the loss: twice the levels.
        assert_eq!(shares((4.0, 100.0), (1.0, 100.0)), [1.0, 0.5]);
        // Four times the bytes for it: half the levels.
        assert_eq!(shares((1.0, 400.0), (1.0, 100.0)), [0.5, 1.0]);
        assert_eq!(shares((1.0, 100.0), (1e9, 100.0)), [1.0 / 16.0, 1.0]);
    }

    #[test]
    fn tensors_that_say_nothing_are_left_as_they_are() {
        let flat = || Curve {
            points: [(12.0, MIN_LOSS.ln()); 3],
            width: 0.0,
        };
        let rows = shaping(&[flat(), flat(), flat()]);
        assert_eq!(rows[0].weight, 1.0);
        assert_eq!(rows[0].diffusion, 0.0);
        assert_eq!(bounded(f64::NAN), f64::MAX);
        assert_eq!(bounded(0.0), MIN_LOSS);
    }
}
