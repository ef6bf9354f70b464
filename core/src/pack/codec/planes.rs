//! Bit planes through a codec of bytes: the paper's way (ISQuant, bit shuffle, lossless codec).

use super::{Frame, Grid, TensorCodec, invalid};
use crate::Result;
use crate::pack::shuffle::{padding_is_zero, plane_bytes, shuffle, unshuffle};
use crate::pack::simd::Kernels;

/// Lossless coding of bytes whose number both sides know.
pub(super) trait ByteCodec {
    /// Appends `plain` as this codec writes it, whether or not that is smaller.
    fn encode(&mut self, plain: &[u8], payload: &mut Vec<u8>) -> Result<()>;

    /// Fills `plain`, or fails with [`crate::ErrorKind::InvalidActivation`] if `payload` does not
    /// stand for exactly as many bytes.
    fn decode(&mut self, payload: &[u8], plain: &mut [u8]) -> Result<()>;

    /// Whether fp32 is written as it is, instead of as bit planes.
    const KEEPS_FP32: bool = false;
}

/// No coding.
#[derive(Debug, Default)]
pub(super) struct Plain;

impl ByteCodec for Plain {
    fn encode(&mut self, plain: &[u8], payload: &mut Vec<u8>) -> Result<()> {
        payload.extend(plain);
        Ok(())
    }

    fn decode(&mut self, payload: &[u8], plain: &mut [u8]) -> Result<()> {
        if payload.len() != plain.len() {
            return Err(invalid(format!(
                "the raw payload holds {} bytes, expected {}",
                payload.len(),
                plain.len()
            )));
        }
        plain.copy_from_slice(payload);
        Ok(())
    }

    const KEEPS_FP32: bool = true;
}

/// Codes as bit planes, written by `B`.
#[derive(Debug, Default)]
pub(super) struct Planes<B> {
    bytes: B,
    planes: Vec<u8>,
}

impl<B: ByteCodec> TensorCodec for Planes<B> {
    fn encode(&mut self, frame: &Frame<'_>, values: &[f32], payload: &mut Vec<u8>) -> Result<()> {
        if let Grid::Raw = frame.grid
            && B::KEEPS_FP32
        {
            payload.reserve(size_of_val(values));
            for x in values {
                payload.extend(x.to_le_bytes());
            }
            return Ok(());
        }
        self.resize(frame, values.len());
        match frame.grid {
            Grid::Raw => shuffle(
                Kernels::best(),
                values.len(),
                &mut self.planes,
                |first, words: &mut [f32]| words.copy_from_slice(&values[first..][..words.len()]),
            ),
            Grid::Levels(quantiser) => quantiser.shuffled(values, &mut self.planes),
        }
        self.bytes.encode(&self.planes, payload)
    }

    fn decode(&mut self, frame: &Frame<'_>, payload: &[u8], values: &mut [f32]) -> Result<()> {
        if let Grid::Raw = frame.grid
            && B::KEEPS_FP32
        {
            for (x, bytes) in values.iter_mut().zip(payload.as_chunks().0) {
                *x = f32::from_le_bytes(*bytes);
            }
            return Ok(());
        }
        let elements = values.len();
        self.resize(frame, elements);
        self.bytes.decode(payload, &mut self.planes)?;
        if !padding_is_zero(elements, &self.planes) {
            return Err(invalid("bits behind the last element are set"));
        }
        match frame.grid {
            Grid::Raw => unshuffle(
                Kernels::best(),
                elements,
                &self.planes,
                |first, words: &[f32]| {
                    values[first..][..words.len()].copy_from_slice(words);
                    Ok(())
                },
            ),
            Grid::Levels(quantiser) => quantiser.unshuffled(&self.planes, values),
        }
    }
}

impl<B> Planes<B> {
    /// Every byte gets overwritten, so what the last tensor left needs no clearing.
    fn resize(&mut self, frame: &Frame<'_>, elements: usize) {
        let bits = match frame.grid {
            Grid::Raw => u32::BITS,
            Grid::Levels(quantiser) => quantiser.levels().bits(),
        };
        self.planes.resize(plane_bytes(elements) * bits as usize, 0);
    }
}
