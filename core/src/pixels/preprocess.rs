//! What happens between a photo's pixels and a model's input tensor, as data.

use serde::{Deserialize, Serialize};

/// How a photo becomes the model's input tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Height of the input in pixels.
    pub height: usize,
    /// Width of the input in pixels.
    pub width: usize,
    /// How the photo is fitted to that size.
    pub fit: Fit,
    /// Order of the colour channels in the tensor.
    pub colour: Colour,
    /// Order of the tensor's dimensions.
    pub layout: Layout,
    /// Subtracted from each channel, in the order R, G, B, on pixels scaled to 0–1.
    pub mean: [f32; 3],
    /// Divides each channel after that, in the order R, G, B.
    pub std: [f32; 3],
}

/// How a photo is fitted to the model's size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "resize", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Fit {
    /// The largest centred rectangle of the model's aspect ratio, its sides multiplied by
    /// `crop_fraction` (ImageNet's "resize to 256, crop 224" is 0.875), scaled to the size.
    Crop {
        /// Above 0, at most 1.
        crop_fraction: f32,
    },
    /// The whole photo, scaled to fit inside with its aspect ratio kept, the rest filled.
    Letterbox {
        /// Value of the filling, 0 to 255.
        pad: u8,
        /// Where the photo lies in the frame.
        anchor: Anchor,
    },
    /// The whole photo, scaled to the size without regard to its aspect ratio.
    Stretch,
}

/// Where a letterboxed photo lies in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anchor {
    /// Filling on both sides.
    Centre,
    /// Filling to the right and below (YOLOX).
    TopLeft,
}

/// Order of the colour channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// Order of the input tensor's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channel, row, column.
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

impl Preprocess {
    pub fn check(&self) -> crate::Result<()> {
        Ok(())
    }
    pub fn input_shape(&self) -> [usize; 4] {
        match self.layout {
            Layout::Nchw => [1, 3, self.height, self.width],
            Layout::Nhwc => [1, self.height, self.width, 3],
        }
    }
}
