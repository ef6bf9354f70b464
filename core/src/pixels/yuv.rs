//! YUV 4:2:0, as cameras and video decoders hand it over.

use std::fmt;

use super::YuvColour;
use super::buffer::{check_rows, check_size, invalid};
use crate::Result;

/// Borrowed planes of a picture in YUV 4:2:0: a luma value for each pixel, and a value of each
/// chroma for each square of 2×2 pixels, at its centre.
///
/// The chroma planes have ⌈`width` / 2⌉ × ⌈`height` / 2⌉ values and share their strides:
///
/// | layout | `u`, `v` | `uv_pixel_stride_bytes` |
/// |---|---|---|
/// | I420, YV12 | a plane each | 1 |
/// | NV12, iOS's `420YpCbCr8BiPlanar` | one plane, from its first and its second byte on | 2 |
/// | NV21 | one plane, from its second and its first byte on | 2 |
/// | Android's `YUV_420_888` | `planes[1]` and `planes[2]` | their `pixelStride` |
///
/// No plane needs anything after its last value: the last row no padding, and where U and V are
/// interleaved neither of them the other's last byte.
///
/// ```
/// use dyno_core::pixels::{Pixels, Yuv420, YuvColour};
///
/// // A grey NV12 frame of 4x2 pixels.
/// let (luma, chroma) = ([90u8; 8], [128u8; 4]);
/// let pixels = Pixels::yuv420(Yuv420 {
///     y: &luma,
///     u: &chroma,
///     v: &chroma[1..],
///     width: 4,
///     height: 2,
///     y_row_stride_bytes: 4,
///     uv_row_stride_bytes: 4,
///     uv_pixel_stride_bytes: 2,
///     colour: YuvColour::Bt601Full,
/// })?;
/// assert_eq!(pixels.upright_size(), (4, 2));
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Yuv420<'a> {
    /// Luma.
    pub y: &'a [u8],
    /// Blue chroma (Cb), from its first value on.
    pub u: &'a [u8],
    /// Red chroma (Cr), from its first value on.
    pub v: &'a [u8],
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Bytes from one row of luma to the next.
    pub y_row_stride_bytes: usize,
    /// Bytes from one row of a chroma to the next.
    pub uv_row_stride_bytes: usize,
    /// Bytes from one value of a chroma to the next: 1 or 2.
    pub uv_pixel_stride_bytes: usize,
    /// What the values stand for.
    pub colour: YuvColour,
}

impl Yuv420<'_> {
    /// Refuses sizes beyond the limits, strides shorter than a row and planes that are too short.
    pub(super) fn check(&self) -> Result<()> {
        check_size(self.width, self.height)?;
        let pixel_stride = self.uv_pixel_stride_bytes;
        if !(1..=2).contains(&pixel_stride) {
            return Err(invalid(format!(
                "a chroma pixel stride of {pixel_stride} bytes: it must be 1 or 2"
            )));
        }
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let row_bytes = width * pixel_stride;
        let (y_stride, uv_stride) = (self.y_row_stride_bytes, self.uv_row_stride_bytes);
        if uv_stride < row_bytes {
            return Err(invalid(format!(
                "a chroma row of {width} values takes {row_bytes} bytes, but the row stride is \
                 {uv_stride}"
            )));
        }
        // The last byte of a row of pairs is the other chroma's.
        let uv_bytes = row_bytes - (pixel_stride - 1);
        for (name, data, (width, height), row_bytes, stride) in [
            ("Y", self.y, (self.width, self.height), self.width, y_stride),
            ("U", self.u, (width, height), uv_bytes, uv_stride),
            ("V", self.v, (width, height), uv_bytes, uv_stride),
        ] {
            check_rows(data, height, row_bytes, stride).map_err(|reason| {
                invalid(format!(
                    "{width}x{height} values of {name} with a row stride of {stride}: {reason}"
                ))
            })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Yuv420<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Yuv420({}x{} {:?})",
            self.width, self.height, self.colour
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pixels;
    use super::*;
    use crate::ErrorKind;

    const BYTES: [u8; 64] = [0; 64];

    /// 5x3 pixels: 15 bytes of luma, 3x2 values of each chroma.
    fn frame(uv_pixel_stride_bytes: usize) -> Yuv420<'static> {
        let uv = 5 * uv_pixel_stride_bytes + 1;
        Yuv420 {
            y: &BYTES[..15],
            u: &BYTES[..uv],
            v: &BYTES[..uv],
            width: 5,
            height: 3,
            y_row_stride_bytes: 5,
            uv_row_stride_bytes: 3 * uv_pixel_stride_bytes,
            uv_pixel_stride_bytes,
            colour: YuvColour::Bt601Full,
        }
    }

    fn refused(planes: Yuv420<'_>) -> String {
        let error = Pixels::yuv420(planes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidImage);
        error.to_string()
    }

    #[test]
    fn planes_that_end_with_their_last_value_suffice() {
        for pixel_stride in [1, 2] {
            let whole = frame(pixel_stride);
            let pixels = Pixels::yuv420(whole).unwrap();
            assert_eq!((pixels.width(), pixels.height()), (5, 3));
            let shorter = |plane: &'static [u8]| &plane[..plane.len() - 1];
            let (y, u, v) = (shorter(whole.y), shorter(whole.u), shorter(whole.v));
            assert!(refused(Yuv420 { y, ..whole }).contains("Y with a row stride of 5"));
            assert!(refused(Yuv420 { u, ..whole }).contains("3x2 values of U"));
            assert!(refused(Yuv420 { v, ..whole }).contains("3x2 values of V"));
        }
    }

    #[test]
    fn geometry_that_does_not_add_up_is_refused() {
        let whole = frame(2);
        let size = |width, height| Yuv420 {
            width,
            height,
            ..whole
        };
        assert!(refused(size(0, 3)).contains("0x3"));
        assert!(refused(size(5, 0)).contains("5x0"));
        assert!(refused(size(usize::MAX, usize::MAX)).contains("each side"));
        assert!(refused(size(16_384, 16_384)).contains("at most"));
        for uv_pixel_stride_bytes in [0, 3, usize::MAX] {
            let message = refused(Yuv420 {
                uv_pixel_stride_bytes,
                ..whole
            });
            assert!(message.contains("must be 1 or 2"), "{message}");
        }
        for stride in [0, 4, usize::MAX] {
            refused(Yuv420 {
                y_row_stride_bytes: stride,
                ..whole
            });
            refused(Yuv420 {
                uv_row_stride_bytes: stride,
                ..whole
            });
        }
        let message = refused(Yuv420 {
            uv_row_stride_bytes: 5,
            ..whole
        });
        assert!(message.contains("takes 6 bytes"), "{message}");
    }
}
