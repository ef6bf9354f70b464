//! A plan: where to cut, how precisely to send what crosses, and how to write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// How many values an element may take on the wire (the paper's ISQuant), or all of fp32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats as they are.
    Raw,
    /// Uniform quantisation to this many levels over the range of this input.
    Levels(Levels),
}

/// A number of quantisation levels, 2 to 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Levels(u32);

impl Levels {
    /// Fewest levels: one bit.
    pub const MIN: u32 = 2;
    /// Most levels: sixteen bits.
    pub const MAX: u32 = 65_536;
    /// Eight bits: what the planner uses where nothing has been calibrated.
    pub const EIGHT_BITS: Self = Self(256);

    /// Fails with [`ErrorKind::InvalidArgument`] outside 2..=65,536.
    pub fn new(levels: u32) -> Result<Self> {
        if (Self::MIN..=Self::MAX).contains(&levels) {
            return Ok(Self(levels));
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "levels must be {} to {}, got {levels}",
                Self::MIN,
                Self::MAX
            ),
        ))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Levels whose steps are wider by so much: `share`, 0.0 to 1.0, of the steps, and two at least.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts of floats saturate, and what comes out is clamped"
    )]
    pub(crate) fn at_share(self, share: f64) -> Self {
        let steps = (f64::from(self.0 - 1) * share).round() as u32;
        Self((steps + 1).clamp(Self::MIN, self.0))
    }

    /// Bits that hold one code: ceil(log2(levels)), 1 to 16.
    pub const fn bits(self) -> u32 {
        u32::BITS - (self.0 - 1).leading_zeros()
    }
}

/// How quantised elements become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Codec {
    /// No coding: bit planes (or fp32) as they are.
    Raw,
    /// Bit shuffle, then LZ4: the paper's.
    Lz4,
    /// Bit shuffle, then zstd.
    Zstd,
    /// The project's own: an adaptive entropy coder whose contexts are neighbouring elements. For
    /// levels only; fp32 is sent raw.
    Context,
    /// The same coder behind a quantiser that sends errors where the answer suffers least
    /// ([`Shaping`](crate::pack::Shaping)). What is written is what [`Context`](Self::Context) writes,
    /// and messages name that.
    Shaped,
}

impl Codec {
    /// Every codec.
    pub const ALL: &[Self] = &[
        Self::Raw,
        Self::Lz4,
        Self::Zstd,
        Self::Context,
        Self::Shaped,
    ];

    /// Name on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Context => "context",
            Self::Shaped => "shaped",
        }
    }

    /// Whether it can write elements of `precision`; what it cannot write is sent raw.
    pub const fn can_code(self, precision: Precision) -> bool {
        match self {
            Self::Raw | Self::Lz4 | Self::Zstd => true,
            Self::Context | Self::Shaped => matches!(precision, Precision::Levels(_)),
        }
    }

    /// How it turns elements into codes.
    pub const fn quantisation(self) -> Quantisation {
        match self {
            Self::Raw | Self::Lz4 | Self::Zstd | Self::Context => Quantisation::Plain,
            Self::Shaped => Quantisation::Shaped,
        }
    }
}

/// How a codec turns elements into codes. Codecs of one way leave the same values at the same
/// precision and differ in bytes alone, so that their fidelity is measured once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Quantisation {
    /// Uniform levels over the range of each tensor, element by element.
    Plain,
    /// Levels shared out between the tensors of a cut, and errors diffused over their maps
    /// ([`Shaping`](crate::pack::Shaping)).
    Shaped,
}

impl Quantisation {
    /// Every way.
    pub const ALL: &[Self] = &[Self::Plain, Self::Shaped];

    /// The codecs that quantise this way.
    pub fn codecs(self) -> impl Iterator<Item = Codec> {
        let quantises_so = move |codec: &Codec| codec.quantisation() == self;
        Codec::ALL.iter().copied().filter(quantises_so)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Codec {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|codec| codec.as_str() == name)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!("unknown codec '{name}': use raw, lz4, zstd, context or shaped"),
                )
            })
    }
}

/// How a photo is sent at cut 0, after it has been cropped and scaled to the model's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PhotoCodec {
    /// JPEG at a quality of 1 to 100.
    Jpeg(u8),
    /// Lossy WebP at a quality of 1 to 100, on a scale of its own.
    WebP(u8),
    /// Lossless PNG.
    Png,
    /// Lossless WebP.
    WebPLossless,
    /// The pixels as they are, three bytes each, behind a line that names the size (PPM): no time to
    /// encode, where the link is so fast that encoding would take longer than sending.
    Ppm,
}

impl PhotoCodec {
    /// Name on the command line and in reports, without the quality.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg(_) => "jpeg",
            Self::WebP(_) => "webp",
            Self::Png => "png",
            Self::WebPLossless => "webp-lossless",
            Self::Ppm => "ppm",
        }
    }

    /// Least quality of a lossy codec.
    pub const MIN_QUALITY: u8 = 1;
    /// Greatest quality of a lossy codec.
    pub const MAX_QUALITY: u8 = 100;
    /// Quality of a lossy codec where none is named.
    pub const DEFAULT_QUALITY: u8 = 90;

    /// A JPEG of a quality of 1 to 100; fails with [`ErrorKind::InvalidArgument`] outside.
    pub fn jpeg(quality: u8) -> Result<Self> {
        Self::Jpeg(quality).check()
    }

    /// A lossy WebP of a quality of 1 to 100; fails with [`ErrorKind::InvalidArgument`] outside.
    pub fn webp(quality: u8) -> Result<Self> {
        Self::WebP(quality).check()
    }

    /// The quality, of the codecs that have one.
    pub const fn quality(self) -> Option<u8> {
        match self {
            Self::Jpeg(quality) | Self::WebP(quality) => Some(quality),
            Self::Png | Self::WebPLossless | Self::Ppm => None,
        }
    }

    /// The same codec, or [`ErrorKind::InvalidArgument`] if its quality is not 1 to 100.
    pub fn check(self) -> Result<Self> {
        match self.quality() {
            Some(quality) if !(Self::MIN_QUALITY..=Self::MAX_QUALITY).contains(&quality) => {
                Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!(
                        "the quality of {} must be {} to {}, got {quality}",
                        self.as_str(),
                        Self::MIN_QUALITY,
                        Self::MAX_QUALITY
                    ),
                ))
            }
            _ => Ok(self),
        }
    }

    /// Whether every pixel survives.
    pub const fn is_lossless(self) -> bool {
        self.quality().is_none()
    }

    /// Media type of the body.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg(_) => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP(_) | Self::WebPLossless => "image/webp",
            Self::Ppm => "image/x-portable-pixmap",
        }
    }
}

impl fmt::Display for PhotoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quality() {
            Some(quality) => write!(f, "{}:{quality}", self.as_str()),
            None => f.write_str(self.as_str()),
        }
    }
}

impl FromStr for PhotoCodec {
    type Err = Error;

    /// `jpeg:75` and `webp:75`; `jpeg` and `webp` alone mean quality 90; `png`, `webp-lossless` and
    /// `ppm`.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "unknown photo codec '{text}': use jpeg, webp, jpeg:1 to jpeg:100, webp:1 to \
                     webp:100, png, webp-lossless or ppm"
                ),
            )
        };
        let (name, quality) = match text.split_once(':') {
            Some((name, quality)) => (name, Some(quality.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        match (name, quality) {
            ("jpeg", quality) => Self::jpeg(quality.unwrap_or(Self::DEFAULT_QUALITY)),
            ("webp", quality) => Self::webp(quality.unwrap_or(Self::DEFAULT_QUALITY)),
            ("png", None) => Ok(Self::Png),
            ("webp-lossless", None) => Ok(Self::WebPLossless),
            ("ppm", None) => Ok(Self::Ppm),
            _ => Err(unknown()),
        }
    }
}

/// What the scheduler chooses for one inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Plan {
    /// Everything on the device.
    Device,
    /// The head on the device, its activation packed and sent, the tail on the server.
    Split {
        /// Index in the bundle's cut table; 0 sends the input tensor itself.
        cut: usize,
        /// Levels, or fp32.
        precision: Precision,
        /// Codec of the packed activation.
        codec: Codec,
    },
    /// The photo itself, everything on the server (cut 0).
    Photo(PhotoCodec),
}

impl Plan {
    /// Whether the plan sends anything.
    pub const fn uses_server(&self) -> bool {
        !matches!(self, Self::Device)
    }

    /// The cut whose spans the plan needs: none where the whole model is one span, or none is run.
    pub(crate) const fn inner_cut(&self) -> Option<usize> {
        match self {
            Self::Split { cut, .. } if *cut > 0 => Some(*cut),
            _ => None,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str("device"),
            Self::Split {
                cut,
                precision,
                codec,
            } => match precision {
                Precision::Raw => write!(f, "split at {cut}, fp32, {codec}"),
                Precision::Levels(levels) => {
                    write!(f, "split at {cut}, {} levels, {codec}", levels.get())
                }
            },
            Self::Photo(codec) => write!(f, "photo {codec}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photo_codecs_are_read_as_they_are_written() {
        for codec in [
            PhotoCodec::Jpeg(1),
            PhotoCodec::Jpeg(100),
            PhotoCodec::WebP(1),
            PhotoCodec::WebP(100),
            PhotoCodec::Png,
            PhotoCodec::WebPLossless,
            PhotoCodec::Ppm,
        ] {
            assert_eq!(codec.to_string().parse::<PhotoCodec>().unwrap(), codec);
        }
        for (text, codec) in [
            ("jpeg", PhotoCodec::Jpeg(90)),
            ("webp", PhotoCodec::WebP(90)),
            ("webp:75", PhotoCodec::WebP(75)),
        ] {
            assert_eq!(text.parse::<PhotoCodec>().unwrap(), codec);
        }
        for text in [
            "",
            "jpeg:0",
            "jpeg:101",
            "webp:0",
            "webp:101",
            "webp:256",
            "webp:-1",
            "webp:",
            "jpeg:x",
            "png:3",
            "webp-lossless:90",
            "avif",
            "jpeg:90:1",
        ] {
            let error = text.parse::<PhotoCodec>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
        }
    }

    #[test]
    fn both_webps_are_one_media_type() {
        for codec in [PhotoCodec::WebP(75), PhotoCodec::WebPLossless] {
            assert_eq!(codec.media_type(), "image/webp");
        }
    }

    #[test]
    fn levels_know_their_bits() {
        for (levels, bits) in [(2, 1), (3, 2), (16, 4), (17, 5), (256, 8), (65_536, 16)] {
            assert_eq!(Levels::new(levels).unwrap().bits(), bits);
        }
        assert!(Levels::new(1).is_err());
        assert!(Levels::new(65_537).is_err());
    }
}
