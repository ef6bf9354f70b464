//! A lane: some channels of a tensor, walked with models and a coder of their own, so that lanes can
//! run side by side on several cores, or in turns on one, where one lane's waiting is the other's work.

use super::bit_model::BitModel;
use super::range_coder::BitCoder;
use super::symbol::{Alphabet, MODELS};
use crate::pack::simd::Code;

/// Steps of the logarithmic scale for each doubling.
const STEPS_PER_OCTAVE: u32 = 4;
/// How much neighbours differ, against what they predict: little, middling, much.
const SPREADS: usize = 3;
/// Weights of the neighbours in the prediction, in sixteenths: left, above, above right; the one
/// above left is taken off. Fitted once by least squares over many cuts; fitting anew for each gained
/// less than 1 %.
const LEFT: u32 = 7;
const ABOVE: u32 = 7;
const ABOVE_RIGHT: u32 = 3;
const UNIT: u32 = 16;

/// How the elements of a channel lie, and what may come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) alphabet: Alphabet,
    /// Expected of the first element of a channel.
    pub(super) background: u32,
}

impl Geometry {
    pub(super) const fn plane(&self) -> usize {
        self.height * self.width
    }
}

/// The models of a lane; kept between tensors for their memory alone.
#[derive(Debug, Clone, Default)]
pub(super) struct LaneModels(Vec<[BitModel; MODELS]>);

impl LaneModels {
    /// Forgets everything, and holds the contexts that codes up to `last` can be in.
    pub(super) fn reset(&mut self, last: u32) {
        let greatest = last * (LEFT + ABOVE + ABOVE_RIGHT);
        let contexts = (step_of(greatest.max(last * 3 * UNIT / 2)) + 1) * SPREADS;
        self.0.clear();
        self.0.resize(contexts, [BitModel::NEW; MODELS]);
    }
}

/// A lane under way.
#[derive(Debug)]
pub(super) struct Lane<'a, B> {
    pub(super) coder: B,
    models: &'a mut [[BitModel; MODELS]],
    alphabet: Alphabet,
    /// Greatest code so far.
    pub(super) greatest: u32,
}

/// The neighbours that are coded before an element.
#[derive(Debug, Clone, Copy)]
struct Neighbours {
    left: u32,
    above: u32,
    above_left: u32,
    above_right: u32,
}

impl<'a, B: BitCoder> Lane<'a, B> {
    pub(super) fn new(coder: B, models: &'a mut LaneModels, geometry: &Geometry) -> Self {
        Self {
            coder,
            models: &mut models.0,
            alphabet: geometry.alphabet,
            greatest: 0,
        }
    }

    #[inline(always)]
    fn step<C: Code>(&mut self, around: Neighbours, code: C) -> C {
        let weighted =
            (LEFT * around.left + ABOVE * around.above + ABOVE_RIGHT * around.above_right)
                .saturating_sub(around.above_left);
        let differ = around.left.abs_diff(around.above)
            + around.left.abs_diff(around.above_left)
            + around.above.abs_diff(around.above_right);
        let context = if self.alphabet.zero_apart() {
            // The ratios 0.6 and 1.6 part the elements of most cuts about evenly.
            let spread = usize::from(5 * UNIT * differ >= 3 * (weighted + UNIT / 2))
                + usize::from(5 * UNIT * differ >= 8 * (weighted + UNIT / 2));
            step_of(weighted) * SPREADS + spread
        } else {
            step_of(differ * UNIT / 2)
        };
        let context = context.min(self.models.len() - 1);
        let predicted = (weighted + UNIT / 2) / UNIT;
        let models = &mut self.models[context];
        let code = self
            .alphabet
            .code(&mut self.coder, models, predicted, code.into());
        self.greatest = self.greatest.max(code);
        C::from_low_bits(code.into())
    }
}

/// Walks as many lanes as there are, element by element in turns; `codes` holds one channel of each.
#[inline(always)]
pub(super) fn walk_channels<C: Code, B: BitCoder, const N: usize>(
    lanes: &mut [Lane<'_, B>; N],
    geometry: &Geometry,
    codes: &mut [&mut [C]; N],
) {
    let width = geometry.width;
    let mut left = [geometry.background; N];
    let mut firsts = codes.each_mut().map(|plane| plane.iter_mut());
    for _ in 0..width {
        for ((lane, codes), left) in lanes.iter_mut().zip(&mut firsts).zip(&mut left) {
            if let Some(code) = codes.next() {
                let around = Neighbours {
                    left: *left,
                    above: *left,
                    above_left: *left,
                    above_right: *left,
                };
                *code = lane.step(around, *code);
                *left = (*code).into();
            }
        }
    }
    for y in 1..geometry.height {
        let mut rows = codes.each_mut().map(|plane| {
            let (done, rest) = plane.split_at_mut(y * width);
            (&done[(y - 1) * width..], &mut rest[..width])
        });
        let mut above: [u32; N] = rows.each_ref().map(|(row, _)| row[0].into());
        let mut above_left = above;
        let mut left = above;
        for x in 0..width {
            for lane in 0..N {
                let (row_above, row) = &mut rows[lane];
                let above_right = match row_above.get(x + 1) {
                    Some(&code) => code.into(),
                    None => above[lane],
                };
                let around = Neighbours {
                    left: left[lane],
                    above: above[lane],
                    above_left: above_left[lane],
                    above_right,
                };
                let code = lanes[lane].step(around, row[x]);
                row[x] = code;
                left[lane] = code.into();
                above_left[lane] = above[lane];
                above[lane] = above_right;
            }
        }
    }
}

/// About four times the binary logarithm of `value + 1`.
#[inline(always)]
fn step_of(value: u32) -> usize {
    let value = value + 1;
    let octave = value.ilog2();
    // A value is below 2^21: 24 times a code.
    let within = ((value * STEPS_PER_OCTAVE) >> octave) % STEPS_PER_OCTAVE;
    (octave * STEPS_PER_OCTAVE + within) as usize
}
