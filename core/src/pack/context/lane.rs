//! A lane: some channels of a tensor, walked with contexts and a coder of their own, so that lanes can
//! run side by side on several cores.

use super::prior::{self, Spread};
use super::range_coder::Coder;
use super::symbol::{Alphabet, Context};
use crate::pack::simd::Code;

/// Steps of the logarithmic scale for each doubling.
const STEPS_PER_OCTAVE: u32 = 4;
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

/// The contexts of an alphabet before anything is seen, kept for the next tensor with as many levels.
#[derive(Debug, Default)]
pub(super) struct FreshContexts {
    alphabet: Option<Alphabet>,
    contexts: Vec<Context>,
}

impl FreshContexts {
    /// One for each step and spread that codes of `alphabet` can lead to.
    pub(super) fn of(&mut self, alphabet: Alphabet) -> &[Context] {
        if self.alphabet != Some(alphabet) {
            let greatest = alphabet.last * (LEFT + ABOVE + ABOVE_RIGHT);
            let steps = 0..=step_of(greatest.max(alphabet.last * 3 * UNIT / 2));
            let all = steps.flat_map(|step| Spread::ALL.map(|spread| (step, spread)));
            self.contexts.clear();
            self.contexts
                .extend(all.map(|(step, spread)| prior::context(alphabet, step, spread)));
            self.alphabet = Some(alphabet);
        }
        &self.contexts
    }
}

/// A lane under way.
#[derive(Debug)]
pub(super) struct Lane<'a, C> {
    pub(super) coder: C,
    contexts: &'a mut [Context],
    geometry: Geometry,
}

/// The neighbours that are coded before an element.
#[derive(Debug, Clone, Copy)]
struct Neighbours {
    left: u32,
    above: u32,
    above_left: u32,
    above_right: u32,
    first_row: bool,
}

impl<'a, C: Coder> Lane<'a, C> {
    pub(super) fn new(coder: C, contexts: &'a mut [Context], geometry: Geometry) -> Self {
        Self {
            coder,
            contexts,
            geometry,
        }
    }

    /// Codes the maps one after the other, row by row.
    pub(super) fn walk<T: Code>(&mut self, codes: &mut [T]) {
        let Geometry { height, width, .. } = self.geometry;
        for map in codes.chunks_exact_mut(self.geometry.plane().max(1)) {
            self.first_row(&mut map[..width]);
            for y in 1..height {
                let (done, rest) = map.split_at_mut(y * width);
                self.row(&done[(y - 1) * width..], &mut rest[..width]);
            }
        }
    }

    fn first_row<T: Code>(&mut self, row: &mut [T]) {
        let mut left = self.geometry.background;
        for code in row {
            *code = self.step(
                Neighbours {
                    left,
                    above: left,
                    above_left: left,
                    above_right: left,
                    first_row: true,
                },
                *code,
            );
            left = (*code).into();
        }
    }

    /// The first element has the one above it on its left, too, the last one on its upper right.
    fn row<T: Code>(&mut self, row_above: &[T], row: &mut [T]) {
        let mut above = row_above.first().map_or(0, |&code| code.into());
        let (mut left, mut above_left) = (above, above);
        for (x, code) in row.iter_mut().enumerate() {
            let above_right = row_above.get(x + 1).map_or(above, |&code| code.into());
            *code = self.step(
                Neighbours {
                    left,
                    above,
                    above_left,
                    above_right,
                    first_row: false,
                },
                *code,
            );
            left = (*code).into();
            (above_left, above) = (above, above_right);
        }
    }

    #[inline(always)]
    fn step<T: Code>(&mut self, around: Neighbours, code: T) -> T {
        let alphabet = self.geometry.alphabet;
        let weighted =
            (LEFT * around.left + ABOVE * around.above + ABOVE_RIGHT * around.above_right)
                .saturating_sub(around.above_left);
        let differ = around.left.abs_diff(around.above)
            + around.left.abs_diff(around.above_left)
            + around.above.abs_diff(around.above_right);
        let (value, spread) = if alphabet.zero_apart() {
            // The ratios 0.6 and 1.6 part the elements of most cuts about evenly.
            let spread = usize::from(differ > 0)
                + usize::from(5 * UNIT * differ >= 3 * (weighted + UNIT / 2))
                + usize::from(5 * UNIT * differ >= 8 * (weighted + UNIT / 2));
            (weighted, spread)
        } else {
            let from_zero = (weighted / UNIT).abs_diff(self.geometry.background);
            let far = 2 * from_zero > differ;
            let spread = if far { Spread::Much } else { Spread::Little };
            (differ * UNIT / 2, spread as usize)
        };
        let spread = if around.first_row {
            Spread::Unknown as usize
        } else {
            spread
        };
        let context = step_of(value) as usize * Spread::ALL.len() + spread;
        let context = context.min(self.contexts.len() - 1);
        let predicted = (weighted + UNIT / 2) / UNIT;
        let context = &mut self.contexts[context];
        let code = alphabet.code(&mut self.coder, context, predicted, code.into());
        T::from_low_bits(code.into())
    }
}

/// About four times the binary logarithm of `value + 1`.
#[inline(always)]
fn step_of(value: u32) -> u32 {
    // A value is below 2^21, 24 times a code; the bit says that it is not zero.
    let value = value + 1;
    let octave = (value | 1).ilog2();
    let within = ((value * STEPS_PER_OCTAVE) >> octave) % STEPS_PER_OCTAVE;
    octave * STEPS_PER_OCTAVE + within
}
