//! Preprocessing as people write it: a few keys in a TOML file, or the same as flags.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::preprocess::{by_name, senseless};
use super::{Anchor, Colour, Fit, Layout, Preprocess};
use crate::{Error, ErrorKind, Result};

/// Value of a letterbox's filling unless told otherwise: the grey of the YOLO family.
pub const DEFAULT_PAD: u8 = 114;

/// What is said about a model's preprocessing; what is not said is completed from the model.
///
/// ```
/// use dyno_core::pixels::{Fit, Layout, PreprocessFile};
///
/// let file = PreprocessFile::from_toml(
///     "crop_fraction = 0.875
///      mean = [0.485, 0.456, 0.406]
///      std = [0.229, 0.224, 0.225]",
/// )?;
/// let flags = PreprocessFile { crop_fraction: Some(1.0), ..PreprocessFile::default() };
/// let preprocess = flags.or(file).complete(&[1, 3, 224, 224])?;
/// assert_eq!(preprocess.fit, Fit::Crop { crop_fraction: 1.0 });
/// assert_eq!((preprocess.height, preprocess.layout), (224, Layout::Nchw));
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreprocessFile {
    /// Height and width in pixels.
    pub size: Option<[usize; 2]>,
    /// How the photo is fitted to the size; [`Resize::Crop`] unless told.
    pub resize: Option<Resize>,
    /// Part of the largest crop that is used, above 0 and at most 1; 1 unless told.
    pub crop_fraction: Option<f32>,
    /// Value of a letterbox's filling; [`DEFAULT_PAD`] unless told.
    pub pad: Option<u8>,
    /// Where a letterboxed photo lies; [`Anchor::Centre`] unless told.
    pub anchor: Option<Anchor>,
    /// Order of the channels; [`Colour::Rgb`] unless told.
    pub colour: Option<Colour>,
    /// Order of the dimensions; read from the model's input shape unless told.
    pub layout: Option<Layout>,
    /// Subtracted from R, G, B on pixels scaled to 0–1; 0 unless told.
    pub mean: Option<[f32; 3]>,
    /// Divides R, G, B after that; 1 unless told.
    pub std: Option<[f32; 3]>,
    /// A file with one class name a line, relative to the TOML file. Not part of [`Preprocess`]:
    /// whoever reads the file reads the labels.
    pub labels: Option<PathBuf>,
}

/// The name of a [`Fit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// [`Fit::Crop`].
    Crop,
    /// [`Fit::Letterbox`].
    Letterbox,
    /// [`Fit::Stretch`].
    Stretch,
}

impl FromStr for Resize {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let names = [
            ("crop", Self::Crop),
            ("letterbox", Self::Letterbox),
            ("stretch", Self::Stretch),
        ];
        by_name("resize", name, &names)
    }
}

impl PreprocessFile {
    /// Reads the TOML; every key is optional.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] for text that is not TOML, a value of the wrong
    /// type, or an unknown key, naming the line, the key and the keys there are.
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|e| {
            Error::with_source(
                ErrorKind::InvalidArgument,
                "the preprocessing file cannot be read",
                e,
            )
        })
    }

    /// What `self` says, and what `other` says where `self` is silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            size: self.size.or(other.size),
            resize: self.resize.or(other.resize),
            crop_fraction: self.crop_fraction.or(other.crop_fraction),
            pad: self.pad.or(other.pad),
            anchor: self.anchor.or(other.anchor),
            colour: self.colour.or(other.colour),
            layout: self.layout.or(other.layout),
            mean: self.mean.or(other.mean),
            std: self.std.or(other.std),
            labels: self.labels.or(other.labels),
        }
    }

    /// Fills in the defaults and what the shape of the model's input says.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if the shape is no batch of one RGB image, if it
    /// contradicts what was said, if a key does not belong to the chosen `resize`, or if a value
    /// makes no sense.
    pub fn complete(&self, input_shape: &[usize]) -> Result<Preprocess> {
        let layout = match self.layout {
            Some(layout) => layout,
            None => layout_of(input_shape)?,
        };
        let ((Layout::Nchw, &[1, 3, height, width]) | (Layout::Nhwc, &[1, height, width, 3])) =
            (layout, input_shape)
        else {
            return Err(senseless(format!(
                "layout is {layout:?}, but the model's input has the shape {input_shape:?}"
            )));
        };
        if let Some(size) = self.size
            && size != [height, width]
        {
            return Err(senseless(format!(
                "size is {size:?} (height, width), but the model's input has the shape \
                 {input_shape:?}"
            )));
        }
        let preprocess = Preprocess {
            height,
            width,
            fit: self.fit()?,
            colour: self.colour.unwrap_or(Colour::Rgb),
            layout,
            mean: self.mean.unwrap_or([0.0; 3]),
            std: self.std.unwrap_or([1.0; 3]),
        };
        preprocess.check()?;
        Ok(preprocess)
    }

    fn fit(&self) -> Result<Fit> {
        let resize = self.resize.unwrap_or(Resize::Crop);
        let stray = |key: &str, belongs_to: Resize| {
            senseless(format!(
                "{key} belongs to resize = {belongs_to:?}, but resize is {resize:?}"
            ))
        };
        if self.crop_fraction.is_some() && resize != Resize::Crop {
            return Err(stray("crop_fraction", Resize::Crop));
        }
        if self.pad.is_some() && resize != Resize::Letterbox {
            return Err(stray("pad", Resize::Letterbox));
        }
        if self.anchor.is_some() && resize != Resize::Letterbox {
            return Err(stray("anchor", Resize::Letterbox));
        }
        Ok(match resize {
            Resize::Crop => Fit::Crop {
                crop_fraction: self.crop_fraction.unwrap_or(1.0),
            },
            Resize::Letterbox => Fit::Letterbox {
                pad: self.pad.unwrap_or(DEFAULT_PAD),
                anchor: self.anchor.unwrap_or(Anchor::Centre),
            },
            Resize::Stretch => Fit::Stretch,
        })
    }
}

/// The layout that makes `shape` one RGB image; NCHW if both would.
fn layout_of(shape: &[usize]) -> Result<Layout> {
    match shape {
        [1, 3, _, _] => Ok(Layout::Nchw),
        [1, _, _, 3] => Ok(Layout::Nhwc),
        _ => Err(senseless(format!(
            "the model's input has the shape {shape:?}: it must be [1, 3, height, width] or \
             [1, height, width, 3]"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let file = PreprocessFile::from_toml(
            r#"
            size = [416, 320]
            resize = "letterbox"
            pad = 0
            anchor = "top-left"
            colour = "bgr"
            layout = "nhwc"
            mean = [0, 0.5, 1]
            std = [1, 2, 3]
            labels = "labels.txt"
            "#,
        )
        .unwrap();
        assert_eq!(file.labels, Some("labels.txt".into()));
        let expected = Preprocess {
            height: 416,
            width: 320,
            fit: Fit::Letterbox {
                pad: 0,
                anchor: Anchor::TopLeft,
            },
            colour: Colour::Bgr,
            layout: Layout::Nhwc,
            mean: [0.0, 0.5, 1.0],
            std: [1.0, 2.0, 3.0],
        };
        assert_eq!(file.complete(&[1, 416, 320, 3]).unwrap(), expected);
    }

    #[test]
    fn an_unknown_key_is_named_beside_the_known_ones() {
        let error = PreprocessFile::from_toml("size = [1, 2]\nmeans = [0, 0, 0]").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let message = error.to_string();
        for part in ["line 2", "`means`", "`crop_fraction`", "`mean`", "`labels`"] {
            assert!(message.contains(part), "{part} is missing in: {message}");
        }
    }

    #[test]
    fn values_that_cannot_be_read_are_refused() {
        for text in [
            "size = [128]",
            "size = [-1, 1]",
            "resize = \"squash\"",
            "pad = 256",
            "mean = 0.5",
            "colour = ",
        ] {
            let error = PreprocessFile::from_toml(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
        }
        let error = "squash".parse::<Resize>().unwrap_err().to_string();
        assert!(error.contains("crop or letterbox or stretch"), "{error}");
    }

    #[test]
    fn nothing_said_means_the_defaults_and_the_models_shape() {
        let silent = PreprocessFile::default();
        let preprocess = silent.complete(&[1, 96, 64, 3]).unwrap();
        assert_eq!(preprocess.input_shape(), [1, 96, 64, 3]);
        assert_eq!(preprocess.fit, Fit::Crop { crop_fraction: 1.0 });
        assert_eq!((preprocess.mean, preprocess.std), ([0.0; 3], [1.0; 3]));
        assert_eq!(
            silent.complete(&[1, 3, 96, 3]).unwrap().layout,
            Layout::Nchw
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |file: PreprocessFile, shape: &[usize]| {
            let error = file.complete(shape).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            error.to_string()
        };
        let silent = PreprocessFile::default;
        assert!(refused(silent(), &[2, 3, 8, 8]).contains("[2, 3, 8, 8]"));
        assert!(refused(silent(), &[1, 1, 28, 28]).contains("must be"));
        let sized = PreprocessFile {
            size: Some([8, 9]),
            ..silent()
        };
        assert!(refused(sized, &[1, 3, 9, 8]).contains("size is [8, 9]"));
        let nhwc = PreprocessFile {
            layout: Some(Layout::Nhwc),
            ..silent()
        };
        assert!(refused(nhwc, &[1, 3, 8, 8]).contains("Nhwc"));
        let padded = PreprocessFile {
            pad: Some(0),
            ..silent()
        };
        assert!(refused(padded, &[1, 3, 8, 8]).contains("pad belongs to"));
    }
}
