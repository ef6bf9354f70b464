//! Pixels as an app hands them over: borrowed, in the order and with the row stride they have.

use std::fmt;

use super::scale::Plane;
use super::{Orientation, Yuv420};
use crate::{Error, ErrorKind, Result};

/// Longest side of a photo in pixels.
pub const MAX_SIDE_PX: usize = 16_384;
/// Most pixels of a photo: 64 Mi, more than any phone's default camera mode. Bounds what decoding
/// one photo may allocate.
pub const MAX_PHOTO_PIXELS: usize = 64 << 20;

/// Order of the bytes of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Three bytes.
    Rgb8,
    /// Four bytes, the last ignored (Android's `ARGB_8888` bitmaps).
    Rgba8,
    /// Four bytes, the last ignored (iOS's `kCVPixelFormatType_32BGRA`).
    Bgra8,
}

impl PixelFormat {
    /// Bytes of one pixel.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb8 => 3,
            Self::Rgba8 | Self::Bgra8 => 4,
        }
    }
}

/// Part of a picture, in pixels of its stored buffer: counted from the first byte on, before
/// anything is turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Columns to the left of it.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Columns in it.
    pub width: usize,
    /// Rows in it.
    pub height: usize,
}

/// Borrowed pixels: what a camera or a decoder hands over.
///
/// Interleaved ([`Pixels::new`]) or planes of luma and chroma ([`Pixels::yuv420`]); all of it or a
/// region; upright or not. The geometry has been checked: every row lies within its buffer.
///
/// ```
/// use dyno_core::pixels::{Orientation, PixelFormat, Pixels, Region};
///
/// // A phone held upright whose sensor lies on its side; the viewfinder shows the middle.
/// let data = vec![0u8; 64 * 48 * 4];
/// let pixels = Pixels::new(&data, 64, 48, 64 * 4, PixelFormat::Rgba8)?
///     .with_region(Region { left: 8, top: 0, width: 40, height: 48 })?
///     .with_orientation(Orientation::from_degrees(90)?);
/// assert_eq!((pixels.width(), pixels.height()), (64, 48));
/// assert_eq!(pixels.upright_size(), (48, 40));
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    memory: Memory<'a>,
    width: usize,
    height: usize,
    region: Region,
    orientation: Orientation,
}

/// The bytes, and what they stand for.
#[derive(Clone, Copy)]
pub(super) enum Memory<'a> {
    Interleaved(Plane<'a>, PixelFormat),
    Yuv420(Yuv420<'a>),
}

impl<'a> Pixels<'a> {
    /// Rows of `width` pixels, `row_stride_bytes` from the start of one to the start of the next;
    /// the last row needs no padding.
    ///
    /// Fails with [`ErrorKind::InvalidImage`] if a side is 0 or beyond [`MAX_SIDE_PX`], if there
    /// are more than [`MAX_PHOTO_PIXELS`], if the stride is shorter than a row, or if the buffer is
    /// too short.
    pub fn new(
        data: &'a [u8],
        width: usize,
        height: usize,
        row_stride_bytes: usize,
        format: PixelFormat,
    ) -> Result<Self> {
        check_size(width, height)?;
        let row_bytes = width * format.bytes();
        check_rows(data, height, row_bytes, row_stride_bytes).map_err(|reason| {
            invalid(format!(
                "{width}x{height} {format:?} pixels with a row stride of {row_stride_bytes}: \
                 {reason}"
            ))
        })?;
        let plane = Plane {
            data,
            row_stride_bytes,
        };
        Ok(Self::whole(
            Memory::Interleaved(plane, format),
            width,
            height,
        ))
    }

    /// Luma and two chroma planes of half the resolution each way: camera frames as they come.
    ///
    /// Fails with [`ErrorKind::InvalidImage`] if a side is 0 or beyond [`MAX_SIDE_PX`], if there
    /// are more than [`MAX_PHOTO_PIXELS`], if a stride is shorter than a row, if the chroma's pixel
    /// stride is neither 1 nor 2, or if a plane is too short.
    pub fn yuv420(planes: Yuv420<'a>) -> Result<Self> {
        planes.check()?;
        Ok(Self::whole(
            Memory::Yuv420(planes),
            planes.width,
            planes.height,
        ))
    }

    /// The same pixels, of which only `region` is the picture: for the model, what lies outside
    /// does not exist. Takes the place of an earlier region. Copies nothing.
    ///
    /// A region of YUV 4:2:0 may begin and end at odd pixels. Its luma is cut there exactly; a
    /// chroma value that its edge goes through belongs to it.
    ///
    /// Fails with [`ErrorKind::InvalidImage`] if the region is empty or reaches beyond the picture.
    pub fn with_region(self, region: Region) -> Result<Self> {
        let within = |start: usize, length: usize, whole: usize| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= whole)
        };
        if !within(region.left, region.width, self.width)
            || !within(region.top, region.height, self.height)
        {
            return Err(invalid(format!(
                "a region of {}x{} pixels at {}, {} in a picture of {}x{}: it must hold a pixel \
                 and lie within the picture",
                region.width, region.height, region.left, region.top, self.width, self.height
            )));
        }
        Ok(Self { region, ..self })
    }

    /// The same pixels, of which it is said how they must be turned to stand upright. Takes the
    /// place of an earlier orientation. The pixels are turned once they have the model's size.
    #[must_use]
    pub fn with_orientation(self, orientation: Orientation) -> Self {
        Self {
            orientation,
            ..self
        }
    }

    /// Width of the stored buffer in pixels, whatever the region and the orientation.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height of the stored buffer in pixels, whatever the region and the orientation.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The part of the stored buffer that is the picture: all of it unless told otherwise.
    pub fn region(&self) -> Region {
        self.region
    }

    /// How the region must be turned to stand upright.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Width and height of the upright region, in pixels: the photo that the model sees, and the
    /// size for which [`Geometry::of`](super::Geometry::of) maps a detector's boxes back.
    pub fn upright_size(&self) -> (usize, usize) {
        self.orientation.size(self.region_size())
    }

    /// The point of the stored buffer that lies at (`x`, `y`) of the upright region: with
    /// [`Geometry::to_photo`](super::Geometry::to_photo) before it, a place in the frame becomes
    /// one in the buffer. Pixel `i` covers `i` to `i + 1`.
    pub fn to_stored(&self, x: f64, y: f64) -> (f64, f64) {
        let (x, y) = self.orientation.to_stored((x, y), self.region_size());
        (self.region.left as f64 + x, self.region.top as f64 + y)
    }

    pub(super) fn memory(&self) -> Memory<'a> {
        self.memory
    }

    /// Width and height of the region as it is stored.
    pub(super) fn region_size(&self) -> (usize, usize) {
        (self.region.width, self.region.height)
    }

    fn whole(memory: Memory<'a>, width: usize, height: usize) -> Self {
        Self {
            memory,
            width,
            height,
            region: Region {
                left: 0,
                top: 0,
                width,
                height,
            },
            orientation: Orientation::Up,
        }
    }
}

impl fmt::Debug for Pixels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.memory {
            Memory::Interleaved(_, format) => {
                write!(f, "Pixels({}x{} {format:?}", self.width, self.height)?;
            }
            Memory::Yuv420(planes) => write!(f, "Pixels({planes:?}")?,
        }
        write!(f, ", {:?}, {:?})", self.region, self.orientation)
    }
}

/// Refuses sizes outside 1..=[`MAX_SIDE_PX`] and [`MAX_PHOTO_PIXELS`].
pub(super) fn check_size(width: usize, height: usize) -> Result<()> {
    let sides = 1..=MAX_SIDE_PX;
    if !sides.contains(&width) || !sides.contains(&height) {
        return Err(invalid(format!(
            "an image of {width}x{height} pixels: each side must be 1 to {MAX_SIDE_PX}"
        )));
    }
    if width * height > MAX_PHOTO_PIXELS {
        return Err(invalid(format!(
            "an image of {width}x{height} pixels: at most {MAX_PHOTO_PIXELS} pixels can be taken; \
             scale it down first"
        )));
    }
    Ok(())
}

/// Whether `height` rows of `row_bytes` lie within `data`, `stride_bytes` from one to the next; the
/// last needs no padding. Otherwise the reason why not.
pub(super) fn check_rows(
    data: &[u8],
    height: usize,
    row_bytes: usize,
    stride_bytes: usize,
) -> Result<(), String> {
    if stride_bytes < row_bytes {
        return Err(format!("a row takes {row_bytes} bytes"));
    }
    let needed = stride_bytes
        .checked_mul(height - 1)
        .and_then(|bytes| bytes.checked_add(row_bytes));
    if needed.is_none_or(|needed| data.len() < needed) {
        return Err(format!("they do not fit a buffer of {} bytes", data.len()));
    }
    Ok(())
}

/// An [`ErrorKind::InvalidImage`].
pub(super) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidImage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_that_does_not_add_up_is_refused() {
        let data = [0u8; 48];
        let refused = |width, height, stride, format| {
            let error = Pixels::new(&data, width, height, stride, format).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidImage);
            error.to_string()
        };
        assert!(Pixels::new(&data, 4, 4, 12, PixelFormat::Rgb8).is_ok());
        assert!(refused(4, 4, 13, PixelFormat::Rgb8).contains("48 bytes"));
        assert!(refused(4, 4, 12, PixelFormat::Rgba8).contains("takes 16 bytes"));
        assert!(refused(0, 4, 12, PixelFormat::Rgb8).contains("0x4"));
        assert!(refused(usize::MAX, 1, usize::MAX, PixelFormat::Bgra8).contains("each side"));
        assert!(refused(16_384, 16_384, 1 << 20, PixelFormat::Rgb8).contains("at most"));
        assert!(refused(1, 3, usize::MAX, PixelFormat::Rgb8).contains("do not fit"));
    }

    #[test]
    fn regions_that_are_empty_or_reach_beyond_the_picture_are_refused() {
        let data = [0u8; 48];
        let pixels = Pixels::new(&data, 4, 4, 12, PixelFormat::Rgb8).unwrap();
        let region = |left, top, width, height| {
            pixels.with_region(Region {
                left,
                top,
                width,
                height,
            })
        };
        let corner = region(3, 2, 1, 2).unwrap();
        assert_eq!(corner.upright_size(), (1, 2));
        // In pixels of the buffer again, not of the earlier region.
        assert!(corner.with_region(pixels.region()).is_ok());
        for (left, top, width, height) in [
            (0, 0, 0, 4),
            (0, 0, 4, 0),
            (1, 0, 4, 4),
            (0, 3, 4, 2),
            (4, 0, 1, 1),
            (usize::MAX, 0, 2, 1),
            (0, 1, 1, usize::MAX),
        ] {
            let error = region(left, top, width, height).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidImage);
            assert!(error.to_string().contains("in a picture of 4x4"), "{error}");
        }
    }
}
