//! The one encoder: tensors of a cut to a message.

use std::sync::Arc;

use super::codec::{Codecs, Frame, Grid};
use super::elements_of;
use super::quantise::{Quantiser, ValueRange};
use super::shaping::Shaping;
use super::simd::Kernels;
use super::wire::{self, Row};
use crate::bundle::Cut;
use crate::schedule::{Codec, Levels, Precision, Quantisation};
use crate::{Error, ErrorKind, Result, TensorSpec};

/// Turns the tensors of a cut into one self-describing message; keeps its buffers between calls.
///
/// A packer holds up to about three times the bytes of the largest packed tensor's bit planes, and
/// zstd's context once that codec has been used. Messages depend on their arguments alone, not on
/// what was packed before.
///
/// ```
/// use dyno_core::bundle::Cut;
/// use dyno_core::pack::{Packer, unpack};
/// use dyno_core::schedule::{Codec, Levels, Precision};
/// use dyno_core::{ElementType, TensorSpec};
///
/// let cut = Cut {
///     index: 3,
///     after: "relu_2".into(),
///     tensors: vec![TensorSpec {
///         name: "features".into(),
///         element: ElementType::F32,
///         shape: vec![1, 2, 2, 2],
///     }],
///     flops_before: 0,
///     flops_after: 0,
/// };
/// let features = [0.0, 0.4, 0.0, 3.0, 1.1, 0.0, 0.0, 2.0];
///
/// let precision = Precision::Levels(Levels::new(4)?);
/// let message = Packer::default().pack(&cut, &[&features], precision, Codec::Lz4)?;
///
/// let tensors = unpack(&message, &cut)?;
/// assert_eq!(tensors[0].shape(), [1, 2, 2, 2]);
/// assert_eq!(tensors[0].as_f32(), Some(&[0.0, 0.0, 0.0, 3.0, 1.0, 0.0, 0.0, 2.0][..]));
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Packer {
    codecs: Codecs,
    shaping: Arc<Shaping>,
    ranges: Vec<ValueRange>,
    /// Levels of each tensor.
    shares: Vec<Levels>,
    rows: Vec<Row>,
    payloads: Vec<u8>,
}

impl Packer {
    /// Lets up to `threads` cores work on one large tensor (from about 130,000 elements on, with
    /// [`Codec::Context`]); 1 unless told. The bytes do not depend on it.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.codecs.set_threads(threads);
        self
    }

    /// What [`Codec::Shaped`] goes by; what a bundle has learnt is
    /// [`Bundle::shaping`](crate::bundle::Bundle::shaping).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use dyno_core::pack::{Packer, Shaping, TensorShaping};
    ///
    /// // The second tensor of cut 3 matters a quarter as much for each unit of its range.
    /// let row = |weight| TensorShaping { weight, diffusion: 0.9 };
    /// let shaping = Shaping::default().with(3, vec![row(1.0), row(0.25)]);
    /// let packer = Packer::default().with_shaping(Arc::new(shaping));
    /// ```
    #[must_use]
    pub fn with_shaping(mut self, shaping: Arc<Shaping>) -> Self {
        self.shaping = shaping;
        self
    }

    /// Packs `tensors` (row-major f32, in the order of the cut's row).
    ///
    /// Each tensor is quantised over its own range, to as many levels as `precision` says; with
    /// [`Codec::Shaped`] those are the levels of one tensor, and the others may have fewer. A tensor
    /// that `codec` does not make smaller, or cannot write at this precision, is sent without it, so
    /// that no message exceeds [`max_message_bytes`](super::max_message_bytes). At [`Precision::Raw`] every bit survives,
    /// NaNs and infinities included.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if the tensors are not those of the cut, are not
    /// f32, or are to be quantised and hold a value that is not finite; with
    /// [`ErrorKind::UnsupportedModel`] if a shape is beyond the bounds of all tensors.
    pub fn pack(
        &mut self,
        cut: &Cut,
        tensors: &[&[f32]],
        precision: Precision,
        codec: Codec,
    ) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.pack_into(cut, tensors, precision, codec, &mut message)?;
        Ok(message)
    }

    /// Packs as [`pack`](Self::pack) does, into a buffer that is emptied first and may be used again:
    /// once all buffers have grown, nothing is allocated on one thread.
    pub fn pack_into(
        &mut self,
        cut: &Cut,
        tensors: &[&[f32]],
        precision: Precision,
        codec: Codec,
        message: &mut Vec<u8>,
    ) -> Result<()> {
        check_count(cut, tensors)?;
        self.rows.clear();
        self.payloads.clear();
        self.ranges.clear();
        for (spec, values) in cut.tensors.iter().zip(tensors) {
            let range = check_elements(spec, values).and_then(|()| match precision {
                Precision::Raw => Ok(ValueRange::ZERO),
                Precision::Levels(_) => ValueRange::of(Kernels::best(), values),
            });
            self.ranges.push(range.map_err(|e| at(e, cut, spec))?);
        }
        if let Precision::Levels(levels) = precision {
            self.share_out(cut, levels, codec);
        }
        for (tensor, (spec, values)) in cut.tensors.iter().zip(tensors).enumerate() {
            let (precision, grid) = match precision {
                Precision::Raw => (Precision::Raw, Grid::Raw),
                Precision::Levels(_) => self.grid(cut, tensor, codec),
            };
            let frame = Frame {
                shape: &spec.shape,
                grid,
            };
            let start = self.payloads.len();
            let codec = self
                .add_payload(&frame, values, precision, codec)
                .map_err(|e| at(e, cut, spec))?;
            self.rows.push(Row {
                precision,
                codec,
                range: self.ranges[tensor],
                elements: field(values.len())?,
                payload_bytes: field(self.payloads.len() - start)?,
            });
        }
        wire::write(cut.index, &self.rows, &self.payloads, message)
    }

    /// Fills `shares`.
    fn share_out(&mut self, cut: &Cut, levels: Levels, codec: Codec) {
        if codec.quantisation() == Quantisation::Shaped {
            self.shaping
                .share_out(cut.index, levels, &self.ranges, &mut self.shares);
        } else {
            self.shares.clear();
            self.shares.resize(self.ranges.len(), levels);
        }
    }

    /// The levels of a tensor and what turns its elements into them.
    fn grid(&self, cut: &Cut, tensor: usize, codec: Codec) -> (Precision, Grid) {
        let (range, levels) = (self.ranges[tensor], self.shares[tensor]);
        let diffusion = match codec.quantisation() {
            Quantisation::Plain => 0.0,
            Quantisation::Shaped => self.shaping.diffusion(cut.index, tensor),
        };
        let quantiser = Quantiser::new(Kernels::best(), range, levels).diffusing(diffusion);
        (Precision::Levels(levels), Grid::Levels(quantiser))
    }

    /// Appends the payload and says which codec it ended up with.
    fn add_payload(
        &mut self,
        frame: &Frame<'_>,
        values: &[f32],
        precision: Precision,
        codec: Codec,
    ) -> Result<Codec> {
        let start = self.payloads.len();
        if codec != Codec::Raw && codec.can_code(precision) {
            self.codecs
                .get(codec)
                .encode(frame, values, &mut self.payloads)?;
            if self.payloads.len() - start < wire::uncoded_bytes(values.len(), precision) {
                return Ok(codec);
            }
            self.payloads.truncate(start);
        }
        self.codecs
            .get(Codec::Raw)
            .encode(frame, values, &mut self.payloads)?;
        Ok(Codec::Raw)
    }
}

pub(super) fn check_count(cut: &Cut, tensors: &[&[f32]]) -> Result<()> {
    if tensors.len() == cut.tensors.len() {
        return Ok(());
    }
    Err(invalid(format!(
        "cut {} has {} tensors, got {}",
        cut.index,
        cut.tensors.len(),
        tensors.len()
    )))
}

fn check_elements(spec: &TensorSpec, values: &[f32]) -> Result<()> {
    let elements = elements_of(spec)?;
    if values.len() == elements {
        return Ok(());
    }
    Err(invalid(format!(
        "the shape {:?} has {elements} elements, got {}",
        spec.shape,
        values.len()
    )))
}

pub(super) fn at(error: Error, cut: &Cut, spec: &TensorSpec) -> Error {
    error.context(format_args!("cut {}, tensor '{}'", cut.index, spec.name))
}

fn field(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| invalid(format!("{count} is too many for a message")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
