//! Pixels as an app hands them over, and the staged frame that is made of them.

use std::sync::Arc;

use dyno_core::client::Staged;
use dyno_core::pixels::{self, Pixels, Yuv420};
use tokio_util::sync::CancellationToken;

use crate::error::{DynoError, Result};

/// A photo at the model's size, ready to be inferred.
///
/// Small (the model's input, 8 bits a channel), so that letting it go is not urgent.
#[derive(Debug, uniffi::Object)]
pub struct Frame {
    pub(crate) staged: Staged,
    pub(crate) cancelled: CancellationToken,
}

impl Frame {
    pub(crate) fn new(staged: Staged) -> Arc<Self> {
        Arc::new(Self {
            staged,
            cancelled: CancellationToken::new(),
        })
    }
}

#[uniffi::export]
impl Frame {
    /// Ends every inference of this frame, also those that begin later, with the kind `cancelled`.
    /// For languages whose tasks do not cancel the call themselves (Swift).
    pub fn cancel(&self) -> Result<()> {
        self.cancelled.cancel();
        Ok(())
    }

    /// The same pixels, not copied, in a frame whose inferences are cancelled apart from this one's.
    pub fn again(&self) -> Result<Arc<Self>> {
        Ok(Self::new(self.staged.clone()))
    }
}

/// Order of the bytes of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum PixelFormat {
    /// Four bytes, the last ignored (Android's `ARGB_8888` bitmaps).
    Rgba8,
    /// Four bytes, the last ignored (iOS's `kCVPixelFormatType_32BGRA`).
    Bgra8,
    /// Three bytes.
    Rgb8,
}

/// How a stored picture has to be turned to be upright: EXIF's eight orientations, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum Orientation {
    /// It is upright (EXIF 1).
    Up,
    /// Mirrored left to right (2).
    UpMirrored,
    /// By half a turn (3).
    Down,
    /// By half a turn, mirrored (4).
    DownMirrored,
    /// Mirrored, then by a quarter turn (5).
    LeftMirrored,
    /// By a quarter turn clockwise (6): 90 degrees of Android.
    Right,
    /// Mirrored, then by a quarter turn (7).
    RightMirrored,
    /// By a quarter turn counter-clockwise (8): 270 degrees of Android.
    Left,
}

/// A part of the stored picture, in its pixels, before it is turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Record)]
pub struct Region {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

/// How interleaved pixels lie in their buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Record)]
pub struct PixelLayout {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next.
    pub row_stride_bytes: u32,
    /// Order of the bytes of a pixel.
    pub format: PixelFormat,
    /// How it is to be turned.
    pub orientation: Orientation,
    /// The part to look at; all of it if none.
    pub region: Option<Region>,
}

/// How Y, U and V become colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum YuvColour {
    /// BT.601, 0 to 255: JPEG's, and Android's cameras'.
    Bt601Full,
    /// BT.601, 16 to 235.
    Bt601Video,
    /// BT.709, 0 to 255.
    Bt709Full,
    /// BT.709, 16 to 235: HD video.
    Bt709Video,
}

/// How a YUV 4:2:0 picture lies in its three planes: I420, YV12, NV12, NV21.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Record)]
pub struct YuvLayout {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row of Y to the next.
    pub y_row_stride_bytes: u32,
    /// Bytes from one row of U (and of V) to the next.
    pub uv_row_stride_bytes: u32,
    /// Bytes from one value of U (and of V) to the next: 1 or 2.
    pub uv_pixel_stride_bytes: u32,
    /// How the values become colours.
    pub colour: YuvColour,
    /// How it is to be turned.
    pub orientation: Orientation,
    /// The part to look at; all of it if none.
    pub region: Option<Region>,
}

impl PixelLayout {
    /// `pixels` as core takes them: borrowed, checked.
    pub(crate) fn lay_out<'a>(&self, pixels: &'a [u8]) -> Result<Pixels<'a>> {
        let format = match self.format {
            PixelFormat::Rgba8 => pixels::PixelFormat::Rgba8,
            PixelFormat::Bgra8 => pixels::PixelFormat::Bgra8,
            PixelFormat::Rgb8 => pixels::PixelFormat::Rgb8,
        };
        let stored = Pixels::new(
            pixels,
            px(self.width),
            px(self.height),
            px(self.row_stride_bytes),
            format,
        )?;
        placed(stored, self.orientation, self.region)
    }
}

impl YuvLayout {
    /// The planes as core takes them: borrowed, checked.
    pub(crate) fn lay_out<'a>(&self, y: &'a [u8], u: &'a [u8], v: &'a [u8]) -> Result<Pixels<'a>> {
        let stored = Pixels::yuv420(Yuv420 {
            y,
            u,
            v,
            width: px(self.width),
            height: px(self.height),
            y_row_stride_bytes: px(self.y_row_stride_bytes),
            uv_row_stride_bytes: px(self.uv_row_stride_bytes),
            uv_pixel_stride_bytes: px(self.uv_pixel_stride_bytes),
            colour: self.colour.into(),
        })?;
        placed(stored, self.orientation, self.region)
    }
}

fn placed(
    stored: Pixels<'_>,
    orientation: Orientation,
    region: Option<Region>,
) -> Result<Pixels<'_>> {
    let turned = stored.with_orientation(orientation.into());
    match region {
        None => Ok(turned),
        Some(region) => turned.with_region(region.into()).map_err(DynoError::from),
    }
}

fn px(length: u32) -> usize {
    length as usize
}

impl From<Region> for pixels::Region {
    fn from(region: Region) -> Self {
        Self {
            left: px(region.left),
            top: px(region.top),
            width: px(region.width),
            height: px(region.height),
        }
    }
}

impl From<Orientation> for pixels::Orientation {
    fn from(orientation: Orientation) -> Self {
        match orientation {
            Orientation::Up => Self::Up,
            Orientation::UpMirrored => Self::UpMirrored,
            Orientation::Down => Self::Down,
            Orientation::DownMirrored => Self::DownMirrored,
            Orientation::LeftMirrored => Self::LeftMirrored,
            Orientation::Right => Self::Right,
            Orientation::RightMirrored => Self::RightMirrored,
            Orientation::Left => Self::Left,
        }
    }
}

impl From<YuvColour> for pixels::YuvColour {
    fn from(colour: YuvColour) -> Self {
        match colour {
            YuvColour::Bt601Full => Self::Bt601Full,
            YuvColour::Bt601Video => Self::Bt601Video,
            YuvColour::Bt709Full => Self::Bt709Full,
            YuvColour::Bt709Video => Self::Bt709Video,
        }
    }
}
