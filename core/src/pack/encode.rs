//! The one encoder: tensors of a cut to a message.

use super::codec;
use super::elements_of;
use super::quantise::{Quantiser, ValueRange};
use super::shuffle;
use super::simd::Kernels;
use super::wire::{self, Row};
use crate::bundle::Cut;
use crate::schedule::{Codec, Precision};
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
    encoder: codec::Encoder,
    planes: Vec<u8>,
    rows: Vec<Row>,
    payloads: Vec<u8>,
}

impl Packer {
    /// Packs `tensors` (row-major f32, in the order of the cut's row).
    ///
    /// Each tensor is quantised over its own range. A tensor that `codec` does not make smaller is
    /// sent without it, so that no message exceeds [`max_message_bytes`](super::max_message_bytes).
    /// At [`Precision::Raw`] every bit survives, NaNs and infinities included.
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
        if tensors.len() != cut.tensors.len() {
            return Err(invalid(format!(
                "cut {} has {} tensors, got {}",
                cut.index,
                cut.tensors.len(),
                tensors.len()
            )));
        }
        self.rows.clear();
        self.payloads.clear();
        for (spec, values) in cut.tensors.iter().zip(tensors) {
            self.add(spec, values, precision, codec).map_err(|e| {
                e.context(format_args!("cut {}, tensor '{}'", cut.index, spec.name))
            })?;
        }
        wire::write(cut.index, &self.rows, &self.payloads)
    }

    fn add(
        &mut self,
        spec: &TensorSpec,
        values: &[f32],
        precision: Precision,
        codec: Codec,
    ) -> Result<()> {
        let elements = elements_of(spec)?;
        if values.len() != elements {
            return Err(invalid(format!(
                "the shape {:?} has {elements} elements, got {}",
                spec.shape,
                values.len()
            )));
        }
        let range = match precision {
            Precision::Raw => ValueRange::ZERO,
            Precision::Levels(_) => ValueRange::of(Kernels::best(), values)?,
        };
        let start = self.payloads.len();
        let codec = self.add_payload(values, range, precision, codec)?;
        self.rows.push(Row {
            precision,
            codec,
            range,
            elements: field(elements)?,
            payload_bytes: field(self.payloads.len() - start)?,
        });
        Ok(())
    }

    /// Appends the payload and says which codec it ended up with.
    fn add_payload(
        &mut self,
        values: &[f32],
        range: ValueRange,
        precision: Precision,
        codec: Codec,
    ) -> Result<Codec> {
        let uncoded_bytes = wire::uncoded_bytes(values.len(), precision);
        if codec != Codec::Raw || precision != Precision::Raw {
            self.fill_planes(values, range, precision);
        }
        if codec != Codec::Raw {
            let payload = self.encoder.encode(codec, &self.planes)?;
            if payload.len() < uncoded_bytes {
                self.payloads.extend(payload);
                return Ok(codec);
            }
        }
        match precision {
            Precision::Raw => {
                self.payloads.reserve(uncoded_bytes);
                for x in values {
                    self.payloads.extend(x.to_le_bytes());
                }
            }
            Precision::Levels(_) => self.payloads.extend(&self.planes),
        }
        Ok(Codec::Raw)
    }

    fn fill_planes(&mut self, values: &[f32], range: ValueRange, precision: Precision) {
        // Every byte is overwritten, so what the last tensor left needs no clearing.
        self.planes
            .resize(wire::planes_bytes(values.len(), precision), 0);
        let kernels = Kernels::best();
        match precision {
            Precision::Raw => {
                shuffle::shuffle(kernels, values.len(), &mut self.planes, |first, words| {
                    words.copy_from_slice(&values[first..][..words.len()]);
                });
            }
            Precision::Levels(levels) => {
                Quantiser::new(kernels, range, levels).shuffled(values, &mut self.planes);
            }
        }
    }
}

fn field(count: usize) -> Result<u32> {
    u32::try_from(count).map_err(|_| invalid(format!("{count} is too many for a message")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
