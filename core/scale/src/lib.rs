//! Scales a part of a photo with antialiasing: `fast_image_resize` for the four kinds of pixels that photos come in.
//!
//! A crate of its own because of what it takes to compile: the library's kernels are generic over pixels, views and
//! precisions, and their copies were more than half of dyno-core's code before inlining. Here they are compiled once,
//! and neither with every change of dyno-core nor again for its unit tests. Only dyno-core uses it.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x2, U8x3, U8x4};
use fast_image_resize::{
    CropBoxError, FilterType, ImageBufferError, PixelTrait, ResizeAlg, ResizeError, ResizeOptions,
    Resizer,
};

/// Channels of a pixel, each of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// A plane: luma, or one of chroma.
    One,
    /// Chroma whose values alternate.
    Two,
    /// RGB.
    Three,
    /// RGBA or BGRA; alpha is scaled like a colour.
    Four,
}

impl Channels {
    /// Bytes of a pixel, 1 to 4.
    pub const fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
        }
    }
}

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    /// Pixels left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
}

/// A part of a region, in fractions of its pixels.
#[derive(Debug, Clone, Copy)]
pub struct Crop {
    /// Pixels of the region left of it.
    pub left: f64,
    /// Rows of the region above it.
    pub top: f64,
    /// Its width in pixels.
    pub width: f64,
    /// Its height in pixels.
    pub height: f64,
}

/// Why nothing was scaled: a buffer that is too small, or a region or a crop that lies outside.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the library's own errors, by their names")]
pub enum ScaleError {
    Buffer(#[from] ImageBufferError),
    Crop(#[from] CropBoxError),
    Resize(#[from] ResizeError),
}

/// `crop` of `region`, scaled to `target` (width, height) by bilinear convolution whose support grows with the
/// reduction. `rows` holds rows of `row_px` pixels down to the end of the region at least. No pixel outside of the
/// region is looked at.
///
/// Fails where `rows` is too short, and where the region or the crop lies outside of what it is part of.
///
/// ```
/// use dyno_scale::{Channels, Crop, Region, scaled};
///
/// let grey = [0, 0, 200, 200];
/// let region = Region { left: 0, top: 0, width: 4, height: 1 };
/// let crop = Crop { left: 0.0, top: 0.0, width: 4.0, height: 1.0 };
/// assert_eq!(scaled(Channels::One, &grey, 4, region, crop, (1, 1))?, [100]);
/// # Ok::<(), dyno_scale::ScaleError>(())
/// ```
pub fn scaled(
    channels: Channels,
    rows: &[u8],
    row_px: u32,
    region: Region,
    crop: Crop,
    target: (u32, u32),
) -> Result<Vec<u8>, ScaleError> {
    match channels {
        Channels::One => of::<U8>(rows, row_px, region, crop, target),
        Channels::Two => of::<U8x2>(rows, row_px, region, crop, target),
        Channels::Three => of::<U8x3>(rows, row_px, region, crop, target),
        Channels::Four => of::<U8x4>(rows, row_px, region, crop, target),
    }
}

fn of<P: PixelTrait>(
    rows: &[u8],
    row_px: u32,
    region: Region,
    crop: Crop,
    target: (u32, u32),
) -> Result<Vec<u8>, ScaleError> {
    let bottom = region.top.saturating_add(region.height);
    let rows = TypedImageRef::<P>::from_buffer(row_px, bottom, rows)?;
    let Region {
        left,
        top,
        width,
        height,
    } = region;
    let view = TypedCroppedImage::from_ref(&rows, left, top, width, height)?;

    let mut part = vec![0; target.0 as usize * target.1 as usize * P::size()];
    let mut image = TypedImage::<P>::from_buffer(target.0, target.1, part.as_mut_slice())?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(crop.left, crop.top, crop.width, crop.height)
        .use_alpha(false);
    Resizer::new().resize_typed(&view, &mut image, &options)?;
    Ok(part)
}
