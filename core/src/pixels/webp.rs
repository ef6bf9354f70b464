//! Lossy WebP through libwebp, the one encoder of it that is fit for use (docs/adr/0012).
//!
//! One of the two places with `unsafe`. The library sees only pixels of our own: WebP from outside is
//! read by the `image` crate.

use std::ffi::{c_int, c_void};

use super::Frame;

/// Encodes the frame at a quality of 0 to 100, with libwebp's default settings (method 4, 4:2:0).
///
/// None if a side is beyond the format's 16,383 pixels, or memory ran out.
#[allow(unsafe_code)]
pub(super) fn encode(frame: &Frame, quality: u8) -> Option<Vec<u8>> {
    let width = c_int::try_from(frame.width()).ok()?;
    let height = c_int::try_from(frame.height()).ok()?;
    let stride = width.checked_mul(3)?;
    let mut output = std::ptr::null_mut();
    // SAFETY: a frame's pixels are exactly `height` rows of `stride` bytes (checked when it was
    // made), which are read during the call alone; `output` is a place for one pointer.
    let length = unsafe {
        libwebp_sys::WebPEncodeRGB(
            frame.rgb().as_ptr(),
            width,
            height,
            stride,
            f32::from(quality),
            &raw mut output,
        )
    };
    if length == 0 || output.is_null() {
        return None;
    }
    // SAFETY: the library reports `length` written bytes at `output`, which is ours until freed.
    let bytes = unsafe { std::slice::from_raw_parts(output, length) }.to_vec();
    // SAFETY: `output` came from the library, is freed once, and is not used any more.
    unsafe { libwebp_sys::WebPFree(output.cast::<c_void>()) };
    Some(bytes)
}
