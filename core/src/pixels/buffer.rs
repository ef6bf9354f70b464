//! Pixels as an app hands them over: borrowed, in the order and with the row stride they have.

use std::fmt;

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

/// Borrowed pixels: what a camera or a decoder hands over.
///
/// The geometry has been checked: every row lies within the buffer.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
    row_stride_bytes: usize,
    format: PixelFormat,
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
        if row_stride_bytes < row_bytes {
            return Err(invalid(format!(
                "a row of {width} {format:?} pixels takes {row_bytes} bytes, but the row stride \
                 is {row_stride_bytes}"
            )));
        }
        let needed = row_stride_bytes
            .checked_mul(height - 1)
            .and_then(|bytes| bytes.checked_add(row_bytes));
        if needed.is_none_or(|needed| data.len() < needed) {
            return Err(invalid(format!(
                "{width}x{height} {format:?} pixels with a row stride of {row_stride_bytes} do \
                 not fit a buffer of {} bytes",
                data.len()
            )));
        }
        Ok(Self {
            data,
            width,
            height,
            row_stride_bytes,
            format,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Order of the bytes of a pixel.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The buffer from the first row on.
    pub(super) fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Bytes from one row to the next.
    pub(super) fn row_stride_bytes(&self) -> usize {
        self.row_stride_bytes
    }

    /// The rows without their padding.
    pub(super) fn rows(&self) -> impl Iterator<Item = &'a [u8]> {
        let row_bytes = self.width * self.format.bytes();
        self.data
            .chunks(self.row_stride_bytes)
            .take(self.height)
            .map(move |row| &row[..row_bytes])
    }
}

impl fmt::Debug for Pixels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Pixels({}x{} {:?})",
            self.width, self.height, self.format
        )
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

/// An [`ErrorKind::InvalidImage`].
pub(super) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidImage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_leave_the_padding_out_and_the_last_row_needs_none() {
        let data: Vec<u8> = (0..14).collect();
        let pixels = Pixels::new(&data, 2, 2, 8, PixelFormat::Rgb8).unwrap();
        let rows: Vec<&[u8]> = pixels.rows().collect();
        assert_eq!(rows, [&data[0..6], &data[8..14]]);
    }

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
}
