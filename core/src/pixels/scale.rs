//! One plane of bytes to the target size, in one pass that crops and scales with antialiasing.

use std::borrow::Cow;

use dyno_scale::{Channels, Crop};

use super::Region;
use crate::{Error, ErrorKind, Result};

/// Rows of pixels; the last needs no padding.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    pub(super) data: &'a [u8],
    pub(super) row_stride_bytes: usize,
}

impl<'a> Plane<'a> {
    /// `crop` of `region`, scaled to `target` (width, height). No pixel outside of the region is
    /// looked at.
    ///
    /// The region must lie within the plane, and the crop within the region.
    pub(super) fn scaled(
        self,
        channels: Channels,
        region: Region,
        crop: Crop,
        target: (usize, usize),
    ) -> Result<Vec<u8>> {
        let (data, row_px, region) = self.whole_rows(region, channels.bytes());
        let region = dyno_scale::Region {
            left: side(region.left)?,
            top: side(region.top)?,
            width: side(region.width)?,
            height: side(region.height)?,
        };
        let target = (side(target.0)?, side(target.1)?);
        dyno_scale::scaled(channels, &data, side(row_px)?, region, crop, target).map_err(defect)
    }

    /// A buffer in which every row down to the end of the region is a whole number of pixels, the
    /// pixels of a row, and the region in it. Copies the region, and only where the stride is no
    /// whole number of pixels or the last row lacks its padding.
    fn whole_rows(self, region: Region, pixel_bytes: usize) -> (Cow<'a, [u8]>, usize, Region) {
        let stride = self.row_stride_bytes;
        let row_px = stride / pixel_bytes;
        let whole = stride.is_multiple_of(pixel_bytes)
            && self.data.len() / stride >= region.top + region.height
            && u32::try_from(row_px).is_ok();
        if whole {
            return (Cow::Borrowed(self.data), row_px, region);
        }
        let packed: Vec<u8> = self.rows(region, pixel_bytes).flatten().copied().collect();
        let region = Region {
            left: 0,
            top: 0,
            ..region
        };
        (Cow::Owned(packed), region.width, region)
    }

    /// The rows of the region without what lies beside it.
    fn rows(self, region: Region, pixel_bytes: usize) -> impl Iterator<Item = &'a [u8]> {
        let left = region.left * pixel_bytes;
        let right = left + region.width * pixel_bytes;
        self.data
            .chunks(self.row_stride_bytes)
            .skip(region.top)
            .take(region.height)
            .map(move |row| &row[left..right])
    }
}

fn side(length_px: usize) -> Result<u32> {
    u32::try_from(length_px).map_err(defect)
}

/// The geometry has been checked, so the scaler has nothing to refuse.
fn defect(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(ErrorKind::Internal, "scaling a photo failed", source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_leave_out_what_is_beside_the_region_and_the_last_needs_no_padding() {
        let data: Vec<u8> = (0..23).collect();
        let plane = Plane {
            data: &data,
            row_stride_bytes: 9,
        };
        let region = |left, top, width, height| Region {
            left,
            top,
            width,
            height,
        };
        let rows: Vec<&[u8]> = plane.rows(region(1, 1, 1, 2), 2).collect();
        assert_eq!(rows, [&data[11..13], &data[20..22]]);
        // A copy only where it must be.
        let (borrowed, row_px, same) = plane.whole_rows(region(1, 0, 2, 2), 3);
        assert!(matches!(borrowed, Cow::Borrowed(_)));
        assert_eq!((row_px, same), (3, region(1, 0, 2, 2)));
        let (packed, row_px, moved) = plane.whole_rows(region(1, 1, 1, 2), 2);
        assert_eq!(packed.as_ref(), [11, 12, 20, 21]);
        assert_eq!((row_px, moved), (1, region(0, 0, 1, 2)));
    }
}
