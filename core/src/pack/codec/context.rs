//! The entropy coder with contexts as a codec of tensors.

use super::{Frame, Grid, TensorCodec, invalid};
use crate::pack::context::{Scratch, Shape, decode, encode};
use crate::pack::diffuse::Errors;
use crate::pack::maps::Maps;
use crate::pack::quantise::Quantiser;
use crate::pack::simd::Code;
use crate::{Error, ErrorKind, Result};

/// Codes of one byte up to 256 levels and of two above, and the memory of the coder.
#[derive(Debug, Default)]
pub(super) struct Context {
    narrow: Vec<u8>,
    wide: Vec<u16>,
    scratch: Scratch,
    errors: Errors,
}

impl Context {
    /// How many cores may work on a large tensor: 1 unless set.
    pub(super) fn set_threads(&mut self, threads: usize) {
        self.scratch.threads = threads;
    }
}

impl TensorCodec for Context {
    fn encode(&mut self, frame: &Frame<'_>, values: &[f32], payload: &mut Vec<u8>) -> Result<()> {
        let Grid::Levels(quantiser) = frame.grid else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the context codec needs levels: send fp32 raw, or with lz4 or zstd",
            ));
        };
        let maps = Maps::of(frame.shape);
        let shape = shape(frame, &quantiser);
        let (scratch, errors) = (&mut self.scratch, &mut self.errors);
        if quantiser.codes_have_one_byte() {
            self.narrow.resize(values.len(), 0);
            quantiser.quantise_maps(values, maps, &mut self.narrow, errors);
            encode(&mut self.narrow, &shape, scratch, payload);
        } else {
            self.wide.resize(values.len(), 0);
            quantiser.quantise_maps(values, maps, &mut self.wide, errors);
            encode(&mut self.wide, &shape, scratch, payload);
        }
        Ok(())
    }

    fn decode(&mut self, frame: &Frame<'_>, payload: &[u8], values: &mut [f32]) -> Result<()> {
        let Grid::Levels(quantiser) = frame.grid else {
            return Err(invalid("the context codec has no fp32"));
        };
        let shape = shape(frame, &quantiser);
        if quantiser.codes_have_one_byte() {
            read(
                payload,
                &quantiser,
                &shape,
                &mut self.narrow,
                &mut self.scratch,
                values,
            )
        } else {
            read(
                payload,
                &quantiser,
                &shape,
                &mut self.wide,
                &mut self.scratch,
                values,
            )
        }
    }
}

fn shape(frame: &Frame<'_>, quantiser: &Quantiser) -> Shape {
    Shape::new(
        Maps::of(frame.shape),
        quantiser.levels().get() - 1,
        quantiser.zero_code(),
    )
}

fn read<C: Code>(
    payload: &[u8],
    quantiser: &Quantiser,
    shape: &Shape,
    codes: &mut Vec<C>,
    scratch: &mut Scratch,
    values: &mut [f32],
) -> Result<()> {
    codes.resize(values.len(), C::default());
    decode(payload, shape, scratch, codes)?;
    quantiser.dequantise(codes, values)
}
