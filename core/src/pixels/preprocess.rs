//! What happens between a photo's pixels and a model's input tensor, as data.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{MAX_PHOTO_PIXELS, MAX_SIDE_PX};
use crate::{Error, ErrorKind, Result};

/// How a photo becomes the model's input tensor.
///
/// value = (byte / 255 − `mean`) / `std`, for each channel.
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
    /// `crop_fraction` ("resize to 256, crop 224" is 0.875), scaled to the size.
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
    /// Fails with [`ErrorKind::InvalidArgument`], saying which value and what it may be, if a size
    /// is 0 or beyond the limits of a photo, the crop fraction is not above 0 and at most 1, or
    /// mean and standard deviation are not finite or the latter is 0.
    pub fn check(&self) -> Result<()> {
        let sides = 1..=MAX_SIDE_PX;
        if !sides.contains(&self.height)
            || !sides.contains(&self.width)
            || self.height * self.width > MAX_PHOTO_PIXELS
        {
            return Err(senseless(format!(
                "size is {} rows of {} pixels: each must be 1 to {MAX_SIDE_PX}, and together at \
                 most {MAX_PHOTO_PIXELS} pixels",
                self.height, self.width
            )));
        }
        if let Fit::Crop { crop_fraction } = self.fit
            && !(crop_fraction > 0.0 && crop_fraction <= 1.0)
        {
            return Err(senseless(format!(
                "crop_fraction is {crop_fraction}: it must be above 0 and at most 1"
            )));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(senseless(format!("mean holds {mean}: it must be finite")));
        }
        if let Some(std) = self.std.iter().find(|std| !std.is_normal()) {
            return Err(senseless(format!(
                "std holds {std}: it must be finite and not 0"
            )));
        }
        Ok(())
    }

    /// Shape of the input tensor: batch of 1, then as [`Layout`] says.
    pub fn input_shape(&self) -> [usize; 4] {
        match self.layout {
            Layout::Nchw => [1, 3, self.height, self.width],
            Layout::Nhwc => [1, self.height, self.width, 3],
        }
    }
}

impl FromStr for Anchor {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        by_name(
            "anchor",
            name,
            &[("centre", Self::Centre), ("top-left", Self::TopLeft)],
        )
    }
}

impl FromStr for Colour {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        by_name("colour", name, &[("rgb", Self::Rgb), ("bgr", Self::Bgr)])
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        by_name(
            "layout",
            name,
            &[("nchw", Self::Nchw), ("nhwc", Self::Nhwc)],
        )
    }
}

/// The value that `name` stands for; otherwise an error that lists the names.
pub(super) fn by_name<T: Copy>(what: &str, name: &str, values: &[(&str, T)]) -> Result<T> {
    if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
        return Ok(*value);
    }
    let known: Vec<&str> = values.iter().map(|(known, _)| *known).collect();
    Err(senseless(format!(
        "{what} is '{name}': it must be {}",
        known.join(" or ")
    )))
}

/// An [`ErrorKind::InvalidArgument`] about preprocessing.
pub(super) fn senseless(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message).context("preprocessing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imagenet() -> Preprocess {
        Preprocess {
            height: 224,
            width: 192,
            fit: Fit::Crop {
                crop_fraction: 0.875,
            },
            colour: Colour::Rgb,
            layout: Layout::Nchw,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    #[test]
    fn the_layout_orders_the_shape() {
        let mut preprocess = imagenet();
        assert_eq!(preprocess.input_shape(), [1, 3, 224, 192]);
        preprocess.layout = Layout::Nhwc;
        assert_eq!(preprocess.input_shape(), [1, 224, 192, 3]);
    }

    #[test]
    fn each_senseless_value_is_named() {
        let refused = |change: &dyn Fn(&mut Preprocess)| {
            let mut preprocess = imagenet();
            change(&mut preprocess);
            let error = preprocess.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            error.to_string()
        };
        assert!(imagenet().check().is_ok());
        assert!(refused(&|p| p.height = 0).contains("size is 0 rows of 192"));
        assert!(refused(&|p| p.width = usize::MAX).contains("size"));
        assert!(refused(&|p| (p.height, p.width) = (16_384, 16_384)).contains("size"));
        for crop_fraction in [0.0, -1.0, 1.01, f32::NAN] {
            let message = refused(&|p| p.fit = Fit::Crop { crop_fraction });
            assert!(message.contains("crop_fraction"), "{message}");
        }
        assert!(refused(&|p| p.mean[2] = f32::INFINITY).contains("mean holds inf"));
        assert!(refused(&|p| p.std[1] = 0.0).contains("std holds 0"));
        assert!(refused(&|p| p.std[1] = f32::NAN).contains("std holds NaN"));
    }

    #[test]
    fn it_survives_json() {
        let json = serde_json::to_string(&imagenet()).unwrap();
        assert!(
            json.contains(r#""fit":{"resize":"crop","crop_fraction":0.875}"#),
            "{json}"
        );
        assert_eq!(
            serde_json::from_str::<Preprocess>(&json).unwrap(),
            imagenet()
        );
    }
}
