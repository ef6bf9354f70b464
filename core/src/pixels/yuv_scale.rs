//! YUV 4:2:0 → RGB at the model's size: each plane is scaled for itself, so that only the small
//! picture is converted.

use std::borrow::Cow;

use dyno_scale::{Channels, Crop};

use super::scale::Plane;
use super::yuv_colour::Chroma;
use super::{Region, Yuv420};
use crate::Result;

impl<'a> Yuv420<'a> {
    /// `crop` of `region` at the size `target` (width, height), as R, G, B bytes.
    pub(super) fn scaled_rgb(
        &self,
        region: Region,
        crop: Crop,
        target: (usize, usize),
    ) -> Result<Vec<u8>> {
        let plane = Plane {
            data: self.y,
            row_stride_bytes: self.y_row_stride_bytes,
        };
        let luma = plane.scaled(Channels::One, region, crop, target)?;
        let (crop, region) = (chroma_crop(crop, region), chroma_region(region));
        let chroma = if self.uv_pixel_stride_bytes == 1 {
            self.scaled_planes(region, crop, target)?
        } else {
            self.scaled_pairs(region, crop, target)?
        };
        Ok(self.colour.rgb(&luma, &chroma))
    }

    fn scaled_planes(
        &self,
        region: Region,
        crop: Crop,
        target: (usize, usize),
    ) -> Result<Vec<Chroma>> {
        let scaled = |data| {
            let plane = Plane {
                data,
                row_stride_bytes: self.uv_row_stride_bytes,
            };
            plane.scaled(Channels::One, region, crop, target)
        };
        let (u, v) = (scaled(self.u)?, scaled(self.v)?);
        Ok(u.into_iter().zip(v).map(|(u, v)| [u, v]).collect())
    }

    fn scaled_pairs(
        &self,
        region: Region,
        crop: Crop,
        target: (usize, usize),
    ) -> Result<Vec<Chroma>> {
        let pairs = self.pairs(region);
        let plane = Plane {
            data: &pairs.data,
            row_stride_bytes: pairs.row_stride_bytes,
        };
        let scaled = plane.scaled(Channels::Two, pairs.region, crop, target)?;
        let scaled = scaled.as_chunks::<2>().0.iter();
        Ok(if pairs.is_v_first {
            scaled.map(|&[v, u]| [u, v]).collect()
        } else {
            scaled.copied().collect()
        })
    }

    /// `region` of both chroma planes where their values alternate. In place if the plane that
    /// comes first holds the other's values down to the end of the region. Otherwise the region is
    /// copied: from Android, whose planes each end with their own last value, so that neither
    /// holds the last pair.
    fn pairs(&self, region: Region) -> Pairs<'a> {
        let (u, v, stride) = (self.u, self.v, self.uv_row_stride_bytes);
        let row_bytes = region.width * 2;
        let starts =
            (region.top..region.top + region.height).map(|row| row * stride + region.left * 2);
        let end = (region.top + region.height - 1) * stride + (region.left + region.width) * 2;

        let alternate = if is_next(u, v) {
            Some((u, v, false))
        } else if is_next(v, u) {
            Some((v, u, true))
        } else {
            None
        };
        if let Some((first, _, is_v_first)) = alternate
            && first.len() >= end
        {
            return Pairs {
                data: Cow::Borrowed(first),
                row_stride_bytes: stride,
                region,
                is_v_first,
            };
        }
        let mut packed = Vec::with_capacity(row_bytes * region.height);
        let is_v_first = if let Some((first, second, is_v_first)) = alternate {
            for start in starts {
                let end = (start + row_bytes).min(first.len());
                packed.extend_from_slice(&first[start..end]);
            }
            packed.push(second[end - 2]);
            is_v_first
        } else {
            for start in starts {
                let values = (start..start + row_bytes).step_by(2);
                packed.extend(values.flat_map(|at| [u[at], v[at]]));
            }
            false
        };
        Pairs {
            data: Cow::Owned(packed),
            row_stride_bytes: row_bytes,
            region: Region {
                left: 0,
                top: 0,
                ..region
            },
            is_v_first,
        }
    }
}

/// Rows of pairs of U and V.
struct Pairs<'a> {
    data: Cow<'a, [u8]>,
    row_stride_bytes: usize,
    /// The region, in pairs of `data`.
    region: Region,
    is_v_first: bool,
}

/// Whether `b` is the memory of `a` from its second byte on.
fn is_next(a: &[u8], b: &[u8]) -> bool {
    std::ptr::eq(a.as_ptr().wrapping_add(1), b.as_ptr())
}

/// The chroma values that lie in `region`, wholly or in part.
fn chroma_region(region: Region) -> Region {
    let (left, top) = (region.left / 2, region.top / 2);
    Region {
        left,
        top,
        width: (region.left + region.width).div_ceil(2) - left,
        height: (region.top + region.height).div_ceil(2) - top,
    }
}

/// `crop` of `region`, as a part of the chroma region.
fn chroma_crop(crop: Crop, region: Region) -> Crop {
    // A region that begins at an odd pixel begins in the middle of a chroma value.
    let half = |start: f64, region_start: usize| start / 2.0 + (region_start % 2) as f64 / 2.0;
    Crop {
        left: half(crop.left, region.left),
        top: half(crop.top, region.top),
        width: crop.width / 2.0,
        height: crop.height / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{COLOURS, LETTERBOX, ORIENTATIONS, WHOLE, YuvSample, preprocess};
    use super::super::{Fit, Frame, PixelFormat, Pixels, YuvColour};
    use super::*;

    fn stage(planes: Yuv420<'_>, width: usize, height: usize, fit: Fit) -> Frame {
        let pixels = Pixels::yuv420(planes).unwrap();
        Frame::stage(&pixels, &preprocess(width, height, fit)).unwrap()
    }

    #[test]
    fn every_layout_gives_the_same_frame() {
        for (width, height) in [(64, 48), (63, 47), (5, 3), (2, 1), (1, 1)] {
            let sample = YuvSample::new(width, height);
            let planar = sample.planar(YuvColour::Bt601Full);
            for padding in [0, 6, 7] {
                let (y, uv) = (sample.luma(padding), sample.pairs(false, padding));
                let vu = sample.pairs(true, padding);
                let separate = (vu[1..].to_vec(), vu.clone());
                let short = uv.len() - 1;
                // The whole plane, as Android cuts it, and U and V in memory of their own.
                let layouts = [
                    (&uv[..], &uv[1..]),
                    (&uv[..short], &uv[1..]),
                    (&vu[1..], &vu[..]),
                    (&vu[1..], &vu[..short]),
                    (&separate.0[..], &separate.1[..]),
                ];
                for (u, v) in layouts {
                    let interleaved = Yuv420 {
                        y: &y,
                        u,
                        v,
                        y_row_stride_bytes: width + padding,
                        uv_row_stride_bytes: sample.half_width() * 2 + padding,
                        uv_pixel_stride_bytes: 2,
                        ..planar
                    };
                    for fit in [WHOLE, LETTERBOX] {
                        assert_eq!(stage(interleaved, 32, 24, fit), stage(planar, 32, 24, fit));
                    }
                }
            }
        }
    }

    #[test]
    fn scaled_planes_are_the_scaled_picture() {
        let odd = Region {
            left: 3,
            top: 6,
            width: 111,
            height: 85,
        };
        for (width, height) in [(128, 96), (127, 95)] {
            let sample = YuvSample::new(width, height);
            for colour in COLOURS {
                let planes = Pixels::yuv420(sample.planar(colour)).unwrap();
                let rgb = sample.rgb(colour);
                let rgb = Pixels::new(&rgb, width, height, width * 3, PixelFormat::Rgb8).unwrap();
                for (orientation, region) in ORIENTATIONS
                    .into_iter()
                    .flat_map(|orientation| [(orientation, planes.region()), (orientation, odd)])
                {
                    let staged = |pixels: Pixels<'_>| {
                        let pixels = pixels.with_region(region).unwrap();
                        let pixels = pixels.with_orientation(orientation);
                        Frame::stage(&pixels, &preprocess(32, 24, WHOLE)).unwrap()
                    };
                    let (found, expected) = (staged(planes), staged(rgb));
                    let pairs = found.rgb().iter().zip(expected.rgb());
                    let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
                    assert!(worst <= Some(3), "{colour:?} {orientation:?}: {worst:?}");
                }
            }
        }
    }

    #[test]
    fn an_even_region_is_staged_as_a_picture_of_its_own() {
        let sample = YuvSample::new(64, 48);
        let planes = sample.planar(YuvColour::Bt709Full);
        // The same strides, from a later byte on.
        let part = Yuv420 {
            y: &planes.y[10 * 64 + 6..],
            u: &planes.u[5 * 32 + 3..],
            v: &planes.v[5 * 32 + 3..],
            width: 41,
            height: 33,
            ..planes
        };
        let region = Region {
            left: 6,
            top: 10,
            width: 41,
            height: 33,
        };
        let pixels = Pixels::yuv420(planes).unwrap().with_region(region).unwrap();
        for fit in [WHOLE, Fit::Stretch, LETTERBOX] {
            let staged = Frame::stage(&pixels, &preprocess(32, 24, fit)).unwrap();
            assert_eq!(staged, stage(part, 32, 24, fit));
        }
    }

    #[test]
    fn a_grey_ramp_stays_grey_and_exact() {
        let (ramp, chroma): (Vec<u8>, _) = ((0..=255).collect(), [128; 128]);
        let planes = Yuv420 {
            y: &ramp,
            u: &chroma,
            v: &chroma,
            width: 256,
            height: 1,
            y_row_stride_bytes: 256,
            uv_row_stride_bytes: 128,
            uv_pixel_stride_bytes: 1,
            colour: YuvColour::Bt601Full,
        };
        let frame = stage(planes, 256, 1, WHOLE);
        let expected: Vec<u8> = ramp.iter().flat_map(|&grey| [grey; 3]).collect();
        assert_eq!(frame.rgb(), expected);
    }
}
