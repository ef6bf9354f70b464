//! Pixels → tensor: decoding photos and preparing a model's input.

mod preprocess;

pub use preprocess::{Anchor, Colour, Fit, Layout, Preprocess};

use crate::schedule::PhotoCodec;
use crate::{Error, ErrorKind, Result, Tensor};

/// Most bytes of an encoded photo: 32 MiB.
pub const MAX_PHOTO_BYTES: usize = 32 << 20;

/// Order of the bytes of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Three bytes.
    Rgb8,
    /// Four bytes, the last ignored.
    Rgba8,
    /// Four bytes, the last ignored.
    Bgra8,
}

/// Borrowed pixels: what a camera or a decoder hands over.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    data: &'a [u8],
}

impl<'a> Pixels<'a> {
    /// Fails with [`ErrorKind::InvalidImage`] if the buffer is too short for the geometry.
    pub fn new(
        data: &'a [u8],
        _width: usize,
        _height: usize,
        _row_stride_bytes: usize,
        _format: PixelFormat,
    ) -> Result<Self> {
        Ok(Self { data })
    }
}

/// A decoded photo.
#[derive(Debug, Clone)]
pub struct Photo {}

impl Photo {
    /// Decodes JPEG, PNG or WebP.
    pub fn decode(_bytes: &[u8]) -> Result<Self> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }

    /// Its pixels.
    pub fn pixels(&self) -> Result<Pixels<'_>> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }
}

/// A photo at the model's size (RGB, 8 bits): the last stage that is still an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {}

impl Frame {
    /// Crops, letterboxes or stretches `pixels` to the model's size.
    pub fn stage(_pixels: &Pixels<'_>, _preprocess: &Preprocess) -> Result<Self> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }

    /// Decodes a photo that has already been staged: it must have exactly the model's size.
    pub fn decode(_bytes: &[u8], _preprocess: &Preprocess) -> Result<Self> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }

    /// Encodes the frame for sending at cut 0.
    pub fn encode(&self, _codec: PhotoCodec) -> Result<Vec<u8>> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }

    /// Colour order, scaling, mean and standard deviation, layout: the model's input tensor.
    pub fn to_tensor(&self, _preprocess: &Preprocess) -> Result<Tensor> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
    }
}
