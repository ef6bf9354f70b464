//! Activations of one cut in the memory that one run of all of them reads: a server unpacks bodies straight into it.

use std::ops::Range;

use super::Activation;
use super::activation::SpanTensor;
use crate::bundle::Cut;
use crate::{ElementType, Error, ErrorKind, Result, Tensor, TensorData, TensorSpec};

/// Most memory that an emptied stack keeps for what comes next, in bytes: most batches need less, and a server has a stack
/// for each of its workers.
const MAX_KEPT_BYTES: usize = 16 << 20;
/// A cache line, in elements: vectors that kernels load begin on one.
const LINE_ELEMENTS: usize = 64 / size_of::<f32>();

/// Activations of one cut, one behind the other: of each of the cut's tensors, the elements of all of them lie as they
/// do in one tensor whose first dimension is their number.
///
/// Memory is kept when it is emptied (up to 16 MiB), and is not cleared for what comes next: a worker
/// that fills one again and again allocates little.
///
/// ```
/// # use dyno_core::bundle::Cut;
/// # use dyno_core::{ElementType, TensorSpec};
/// use dyno_core::runtime::Stack;
///
/// # let tensor = TensorSpec { name: "x".into(), element: ElementType::F32, shape: vec![1, 2] };
/// # let cut = Cut { index: 3, after: String::new(), tensors: vec![tensor], flops_before: 0, flops_after: 0 };
/// let mut stack = Stack::default();
/// stack.begin(&cut)?; // of a single tensor of shape [1, 2]
/// for value in [1.0, 2.0] {
///     stack.push_with(|tensors| {
///         tensors[0].fill(value);
///         Ok(())
///     })?;
/// }
/// assert_eq!((stack.cut(), stack.len()), (3, 2));
/// assert_eq!(stack.get(1), Some(vec![&[2.0, 2.0][..]]));
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Stack {
    cut: usize,
    len: usize,
    tensors: Vec<Stacked>,
    /// Of earlier cuts that had more tensors.
    spare: Vec<Memory>,
}

/// One tensor of every activation.
#[derive(Debug, Default)]
struct Stacked {
    /// Of one.
    shape: Vec<usize>,
    /// Of one.
    elements: usize,
    memory: Memory,
}

impl Stack {
    /// Empties it, for activations of `cut`.
    ///
    /// Fails with [`ErrorKind::UnsupportedActivation`] if tensors of the cut are not f32, or too large for any.
    pub fn begin(&mut self, cut: &Cut) -> Result<()> {
        self.begin_at(cut.index, &cut.tensors)
    }

    fn begin_at(&mut self, cut: usize, tensors: &[TensorSpec]) -> Result<()> {
        self.clear();
        self.cut = cut;
        for spec in tensors {
            if spec.element != ElementType::F32 {
                return Err(Error::new(
                    ErrorKind::UnsupportedActivation,
                    format!("the tensor '{}' of cut {cut} is not f32", spec.name),
                ));
            }
            spec.check_bounds()?;
            self.tensors.push(Stacked {
                shape: spec.shape.clone(),
                elements: spec.elements(),
                memory: self.spare.pop().unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// Empties it, and lets go of memory beyond what is kept.
    pub fn clear(&mut self) {
        self.len = 0;
        let used = self.tensors.drain(..).rev().map(|tensor| tensor.memory);
        self.spare.extend(used);
        let mut kept = 0;
        self.spare.retain(|memory| {
            let fits = kept + memory.bytes() <= MAX_KEPT_BYTES;
            kept += if fits { memory.bytes() } else { 0 };
            fits
        });
    }

    /// Adds an activation: `fill` writes every element of its tensors, which are in the order of the cut's and hold
    /// anything before.
    ///
    /// Fails as `fill` does, and nothing is added then.
    pub fn push_with(&mut self, fill: impl FnOnce(&mut [&mut [f32]]) -> Result<()>) -> Result<()> {
        let len = self.len;
        let places = self.tensors.iter_mut().map(|tensor| {
            let place = len * tensor.elements..(len + 1) * tensor.elements;
            tensor.memory.place(place)
        });
        let mut places: Vec<&mut [f32]> = places.collect();
        fill(&mut places)?;
        self.len += 1;
        Ok(())
    }

    /// Adds a copy of an activation.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if it is of another cut, or has not its tensors.
    pub fn push(&mut self, activation: &Activation) -> Result<()> {
        let misfit = || {
            Error::new(
                ErrorKind::InvalidArgument,
                "a batch is of activations of one cut",
            )
        };
        if activation.cut != self.cut || activation.tensors.len() != self.tensors.len() {
            return Err(misfit());
        }
        let elements = activation.as_f32()?;
        self.push_with(|places| {
            for (place, elements) in places.iter_mut().zip(&elements) {
                if place.len() != elements.len() {
                    return Err(misfit());
                }
                place.copy_from_slice(elements);
            }
            Ok(())
        })
    }

    /// Adds zeros: what machines are timed with.
    pub fn push_zeros(&mut self) -> Result<()> {
        self.push_with(|places| {
            for place in places {
                place.fill(0.0);
            }
            Ok(())
        })
    }

    /// Takes the last activation out, if there is one.
    pub fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    /// The cut that its activations are at.
    pub fn cut(&self) -> usize {
        self.cut
    }

    /// Number of activations.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The f32 elements of each tensor of one activation; none beyond the last.
    pub fn get(&self, index: usize) -> Option<Vec<&[f32]>> {
        let one = |tensor| Self::elements(tensor, index..index + 1);
        (index < self.len).then(|| self.tensors.iter().map(one).collect())
    }

    /// A copy of one activation; none beyond the last.
    pub fn activation(&self, index: usize) -> Option<Activation> {
        let tensors = (0..self.tensors.len()).map(|tensor| self.copy(tensor, index));
        let tensors: Option<Vec<SpanTensor>> = tensors.collect();
        Some(Activation {
            cut: self.cut,
            tensors: tensors.filter(|_| index < self.len)?,
        })
    }

    /// A copy of a tensor of one activation.
    pub(super) fn copy(&self, tensor: usize, index: usize) -> Option<SpanTensor> {
        let (shape, elements) = self.view(tensor, index..index + 1)?;
        let tensor = Tensor::new(shape, TensorData::F32(elements.to_vec()));
        tensor.ok().map(SpanTensor::from)
    }

    /// A tensor of some activations as one: its shape and its elements. None if there are no such activations, or they cannot
    /// be one tensor, for its first dimension is none of activations.
    pub(super) fn view(&self, tensor: usize, some: Range<usize>) -> Option<(Vec<usize>, &[f32])> {
        let stacked = self.tensors.get(tensor)?;
        let count = some.len();
        if some.end > self.len {
            return None;
        }
        let mut shape = stacked.shape.clone();
        if count != 1 {
            *shape.first_mut().filter(|first| **first == 1)? = count;
        }
        Some((shape, Self::elements(stacked, some)))
    }

    fn elements(tensor: &Stacked, some: Range<usize>) -> &[f32] {
        let each = tensor.elements;
        tensor.memory.get(some.start * each..some.end * each)
    }
}

/// Elements that begin a cache line. They may be of an activation that was here before.
#[derive(Debug, Default)]
struct Memory {
    elements: Vec<f32>,
    /// Before the first that is used.
    ahead: usize,
}

impl Memory {
    /// Room for these elements, made if there is none yet; what lies before them stays.
    fn place(&mut self, place: Range<usize>) -> &mut [f32] {
        if self.elements.len() < self.ahead + place.end {
            self.grow(place.start, place.end);
        }
        let ahead = self.ahead;
        &mut self.elements[ahead + place.start..ahead + place.end]
    }

    /// Keeps the first `used` elements, and has room for twice as many as are needed if there were some.
    fn grow(&mut self, used: usize, needed: usize) {
        let room = if used == 0 { needed } else { needed * 2 };
        let mut elements = vec![0.0; room + LINE_ELEMENTS];
        let ahead = elements
            .as_ptr()
            .align_offset(size_of::<f32>() * LINE_ELEMENTS);
        // The standard library may say that it does not know.
        let ahead = ahead.min(LINE_ELEMENTS);
        elements[ahead..ahead + used].copy_from_slice(self.get(0..used));
        *self = Self { elements, ahead };
    }

    fn get(&self, place: Range<usize>) -> &[f32] {
        &self.elements[self.ahead + place.start..self.ahead + place.end]
    }

    fn bytes(&self) -> usize {
        size_of_val(self.elements.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &[usize]) -> TensorSpec {
        TensorSpec {
            name: "x".into(),
            element: ElementType::F32,
            shape: shape.to_vec(),
        }
    }

    /// A stack of activations of tensors `[1, 3]` and `[2, 2]`, whose elements are their number.
    fn filled(stack: &mut Stack, numbers: Range<u16>) {
        stack.begin_at(4, &[spec(&[1, 3]), spec(&[2, 2])]).unwrap();
        for number in numbers {
            let fill = |places: &mut [&mut [f32]]| {
                for place in places {
                    place.fill(number.into());
                }
                Ok(())
            };
            stack.push_with(fill).unwrap();
        }
    }

    #[test]
    fn activations_lie_as_in_one_tensor_that_begins_a_cache_line() {
        let mut stack = Stack::default();
        for _ in 0..2 {
            filled(&mut stack, 0..100);
            let (shape, elements) = stack.view(0, 0..100).unwrap();
            assert_eq!(shape, [100, 3]);
            let expected: Vec<f32> = (0..300u16).map(|i| f32::from(i / 3)).collect();
            assert_eq!(elements, expected);
            assert_eq!(elements.as_ptr().addr() % 64, 0);
            assert_eq!(stack.get(7).unwrap(), [&[7.0; 3][..], &[7.0; 4]]);
            assert!(stack.get(100).is_none() && stack.activation(100).is_none());
            assert!(stack.view(0, 99..101).is_none() && stack.view(2, 0..1).is_none());
            // The first dimension of the other is none of activations.
            assert!(stack.view(1, 0..2).is_none());
            assert_eq!(stack.view(1, 5..6).unwrap(), (vec![2, 2], &[5.0; 4][..]));
        }
    }

    #[test]
    fn what_fails_to_be_filled_is_not_added() {
        let mut stack = Stack::default();
        filled(&mut stack, 0..2);
        let failed = stack.push_with(|places| {
            places[0].fill(9.0);
            Err(Error::new(ErrorKind::InvalidActivation, "as told"))
        });
        assert!(failed.is_err());
        assert_eq!(stack.len(), 2);
        let two = Activation::new(
            4,
            vec![
                stack
                    .activation(1)
                    .unwrap()
                    .into_tensors()
                    .unwrap()
                    .remove(0),
            ],
        );
        assert_eq!(
            stack.push(&two).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
        let mut other = stack.activation(1).unwrap();
        stack.push(&other).unwrap();
        assert_eq!(stack.get(2), stack.get(1));
        other.tensors.reverse();
        assert!(stack.push(&other).is_err(), "of other shapes");
        other.tensors.reverse();
        other.cut = 5;
        assert!(stack.push(&other).is_err(), "of another cut");
        assert_eq!(stack.len(), 3);
        stack.pop();
        assert!(stack.len() == 2 && stack.get(2).is_none());
    }

    #[test]
    fn memory_is_kept_up_to_a_bound() {
        let mut stack = Stack::default();
        filled(&mut stack, 0..100);
        let first = stack.get(0).unwrap()[0].as_ptr();
        filled(&mut stack, 0..1);
        assert_eq!(stack.get(0).unwrap()[0].as_ptr(), first, "the same memory");
        let large = spec(&[1, MAX_KEPT_BYTES / 4]);
        let small = spec(&[1, 1]);
        for specs in [[large.clone(), small.clone()], [small, large]] {
            let mut stack = Stack::default();
            stack.begin_at(0, &specs).unwrap();
            stack.push_with(|_| Ok(())).unwrap();
            stack.clear();
            assert_eq!(stack.spare.len(), 1, "the small one is kept");
            assert!(stack.spare[0].bytes() <= MAX_KEPT_BYTES);
        }
    }

    #[test]
    fn tensors_that_are_not_f32_or_too_large_are_refused() {
        let mut stack = Stack::default();
        let classes = TensorSpec {
            element: ElementType::I64,
            ..spec(&[1, 3])
        };
        let kind =
            |specs: &[TensorSpec], stack: &mut Stack| stack.begin_at(1, specs).unwrap_err().kind();
        assert_eq!(
            kind(&[classes], &mut stack),
            ErrorKind::UnsupportedActivation
        );
        assert_eq!(
            kind(&[spec(&[1 << 20, 1 << 20])], &mut stack),
            ErrorKind::UnsupportedModel
        );
    }
}
