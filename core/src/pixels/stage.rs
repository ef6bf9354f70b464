//! Photo → frame: one pass that crops, scales with antialiasing and orders the colours; then the
//! small picture is turned.

use dyno_scale::{Channels, Crop};

use super::buffer::Memory;
use super::{Fit, Frame, Geometry, PixelFormat, Pixels, Preprocess};
use crate::Result;

impl Frame {
    /// Crops, letterboxes or stretches the upright region of `pixels` to the model's size.
    ///
    /// The part of the photo is chosen in fractions of a pixel and scaled by bilinear convolution
    /// whose support grows with the reduction: Pillow's `resize(…, BILINEAR, box=…)` and
    /// torchvision's `Resize(antialias=True)`, to within one step of rounding. A photo that
    /// already has the model's size keeps every byte (with a crop fraction of 1; YUV is converted).
    ///
    /// [`Geometry::of`] the [`upright_size`](Pixels::upright_size) says which part lands where.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if `preprocess`
    /// makes no sense.
    pub fn stage(pixels: &Pixels<'_>, preprocess: &Preprocess) -> Result<Self> {
        let (width, height) = pixels.upright_size();
        let geometry = Geometry::of(width, height, preprocess)?;
        let (left, top, width, height) = geometry.source();
        let source = Crop {
            left,
            top,
            width,
            height,
        };
        let (_, _, width, height) = geometry.target();

        // A big picture is not turned: its part is found in the buffer as it is stored.
        let orientation = pixels.orientation();
        let crop = orientation.crop_to_stored(source, pixels.region_size());
        let target = orientation.size((width, height));
        let region = pixels.region();
        let rgb = match pixels.memory() {
            Memory::Interleaved(plane, format) => match format {
                PixelFormat::Rgb8 => plane.scaled(Channels::Three, region, crop, target)?,
                PixelFormat::Rgba8 => four_to_rgb(
                    &plane.scaled(Channels::Four, region, crop, target)?,
                    [0, 1, 2],
                ),
                PixelFormat::Bgra8 => four_to_rgb(
                    &plane.scaled(Channels::Four, region, crop, target)?,
                    [2, 1, 0],
                ),
            },
            Memory::Yuv420(planes) => planes.scaled_rgb(region, crop, target)?,
        };
        let part = orientation.turned(rgb, target);
        let rgb = match preprocess.fit {
            Fit::Letterbox { pad, .. } => framed(&part, &geometry, preprocess, pad),
            Fit::Crop { .. } | Fit::Stretch => part,
        };
        Self::from_rgb(preprocess.width, preprocess.height, rgb)
    }
}

/// Three of the four bytes of every pixel, in the order R, G, B.
fn four_to_rgb(pixels: &[u8], [red, green, blue]: [usize; 3]) -> Vec<u8> {
    pixels
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|pixel| [pixel[red], pixel[green], pixel[blue]])
        .collect()
}

/// `part` in its place in a frame filled with `pad`.
fn framed(part: &[u8], geometry: &Geometry, preprocess: &Preprocess, pad: u8) -> Vec<u8> {
    let (left, top, width, _) = geometry.target();
    let mut rgb = vec![pad; preprocess.width * preprocess.height * 3];
    let rows = rgb.chunks_exact_mut(preprocess.width * 3).skip(top);
    for (row, source) in rows.zip(part.chunks_exact(width * 3)) {
        row[left * 3..(left + width) * 3].copy_from_slice(source);
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::super::sample::{LETTERBOX, WHOLE, preprocess, rgb};
    use super::super::{Anchor, Photo, Region};
    use super::*;
    use crate::ErrorKind;

    /// A pixel (x, y) and its R, G, B.
    type Reference = ((usize, usize), [u8; 3]);

    fn stage(width: usize, height: usize, fit: Fit) -> Frame {
        let photo = rgb(101, 77);
        let pixels = Pixels::new(&photo, 101, 77, 101 * 3, PixelFormat::Rgb8).unwrap();
        Frame::stage(&pixels, &preprocess(width, height, fit)).unwrap()
    }

    /// References are Pillow 13's `resize(size, BILINEAR, box=box)` of the same photo.
    fn assert_as_pillow(frame: &Frame, references: &[Reference], sum: u64) {
        for &((x, y), expected) in references {
            let at = (y * frame.width() + x) * 3;
            let found = &frame.rgb()[at..at + 3];
            let close = found.iter().zip(expected).all(|(&f, e)| f.abs_diff(e) <= 2);
            assert!(close, "at {x}, {y}: {found:?} instead of {expected:?}");
        }
        let found: u64 = frame.rgb().iter().map(|&value| u64::from(value)).sum();
        let mean_difference = found.abs_diff(sum) as f64 / frame.rgb().len() as f64;
        assert!(mean_difference < 0.1, "sum {found} instead of {sum}");
    }

    #[test]
    fn a_crop_is_chosen_and_scaled_as_pillow_does() {
        let crop = Fit::Crop {
            crop_fraction: 0.875,
        };
        let references = [
            ((0, 0), [69, 83, 14]),
            ((31, 0), [157, 146, 191]),
            ((16, 8), [189, 118, 197]),
            ((8, 12), [67, 96, 127]),
            ((0, 23), [83, 145, 167]),
            ((31, 23), [91, 122, 112]),
        ];
        assert_as_pillow(&stage(32, 24, crop), &references, 294_594);
    }

    #[test]
    fn a_small_photo_is_scaled_up_as_pillow_does() {
        let references = [
            ((0, 0), [99, 200, 0]),
            ((149, 0), [89, 203, 0]),
            ((75, 53), [172, 90, 166]),
            ((149, 159), [61, 108, 126]),
        ];
        assert_as_pillow(&stage(150, 160, WHOLE), &references, 9_001_465);
    }

    #[test]
    fn stretching_forgets_the_aspect_ratio() {
        let references = [
            ((0, 0), [24, 17, 0]),
            ((8, 16), [194, 128, 198]),
            ((15, 47), [136, 123, 137]),
        ];
        assert_as_pillow(&stage(16, 48, Fit::Stretch), &references, 283_863);
    }

    #[test]
    fn a_letterbox_fills_the_rest() {
        let references = [
            ((0, 0), [114; 3]),
            ((39, 4), [114; 3]),
            ((20, 13), [167, 143, 107]),
            ((10, 20), [44, 111, 84]),
            ((0, 35), [114; 3]),
        ];
        assert_as_pillow(&stage(40, 40, LETTERBOX), &references, 580_038);
    }

    #[test]
    fn a_photo_of_the_models_size_keeps_every_byte() {
        let photo = rgb(101, 77);
        let top_left = Fit::Letterbox {
            pad: 0,
            anchor: Anchor::TopLeft,
        };
        for fit in [WHOLE, Fit::Stretch, LETTERBOX, top_left] {
            assert_eq!(stage(101, 77, fit).rgb(), photo, "{fit:?}");
        }
    }

    #[test]
    fn a_crop_of_the_models_size_changes_no_byte() {
        let photo = rgb(101, 77);
        let crop = Fit::Crop {
            crop_fraction: 64.0 / 77.0,
        };
        let (left, top) = (18, 6);
        let rows = photo.chunks_exact(101 * 3).skip(top).take(64);
        let part = rows.flat_map(|row| &row[left * 3..(left + 64) * 3]);
        assert!(stage(64, 64, crop).rgb().iter().eq(part));
    }

    #[test]
    fn formats_and_strides_make_no_difference() {
        let photo = rgb(101, 77);
        let expected = stage(32, 24, WHOLE);
        for (format, order) in [
            (PixelFormat::Rgb8, &[0, 1, 2][..]),
            (PixelFormat::Rgba8, &[0, 1, 2, 0]),
            (PixelFormat::Bgra8, &[2, 1, 0, 0]),
        ] {
            let row_bytes = 101 * format.bytes();
            // No padding, whole pixels of it, and a byte that is no whole pixel.
            for padding in [0, 3 * format.bytes(), 1] {
                let stride = row_bytes + padding;
                let mut data = Vec::new();
                for row in photo.chunks(101 * 3) {
                    for pixel in row.chunks(3) {
                        data.extend(order.iter().map(|&channel| pixel[channel]));
                    }
                    data.resize(data.len() + padding, 0xEE);
                }
                for length in [data.len(), data.len() - padding] {
                    let pixels = Pixels::new(&data[..length], 101, 77, stride, format).unwrap();
                    let frame = Frame::stage(&pixels, &preprocess(32, 24, WHOLE)).unwrap();
                    let worst = frame
                        .rgb()
                        .iter()
                        .zip(expected.rgb())
                        .map(|(a, b)| a.abs_diff(*b))
                        .max();
                    assert!(worst <= Some(1), "{format:?} + {padding}: off by {worst:?}");
                }
            }
        }
    }

    #[test]
    fn a_region_is_staged_as_a_picture_of_its_own() {
        let (width, height) = (101, 77);
        let photo = rgb(width, height);
        let regions = [
            (0, 0, 101, 77),
            (13, 5, 64, 48),
            (100, 0, 1, 77),
            (2, 60, 99, 17),
        ];
        for (left, top, region_width, region_height) in regions {
            let rows = photo.chunks(width * 3).skip(top).take(region_height);
            let part: Vec<u8> = rows
                .flat_map(|row| &row[left * 3..(left + region_width) * 3])
                .copied()
                .collect();
            let stride = region_width * 3;
            let copied = Pixels::new(
                &part,
                region_width,
                region_height,
                stride,
                PixelFormat::Rgb8,
            );
            let region = Region {
                left,
                top,
                width: region_width,
                height: region_height,
            };
            // Rows of whole pixels, and a stride that makes a copy necessary.
            for padding in [0, 1] {
                let stride = width * 3 + padding;
                let mut data = Vec::new();
                for row in photo.chunks(width * 3) {
                    data.extend_from_slice(row);
                    data.resize(data.len() + padding, 0xEE);
                }
                let pixels = Pixels::new(&data, width, height, stride, PixelFormat::Rgb8);
                let pixels = pixels.unwrap().with_region(region).unwrap();
                for fit in [WHOLE, Fit::Stretch, LETTERBOX] {
                    let preprocess = preprocess(32, 24, fit);
                    assert_eq!(
                        Frame::stage(&pixels, &preprocess).unwrap(),
                        Frame::stage(copied.as_ref().unwrap(), &preprocess).unwrap(),
                        "{region:?} {fit:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_thinnest_photos_can_be_staged() {
        for (width, height) in [(1, 1), (1, 16_384), (16_384, 1), (2, 3)] {
            let photo = vec![200; width * height * 3];
            let pixels = Pixels::new(&photo, width, height, width * 3, PixelFormat::Rgb8).unwrap();
            for fit in [WHOLE, Fit::Stretch] {
                let frame = Frame::stage(&pixels, &preprocess(7, 5, fit)).unwrap();
                assert!(frame.rgb().iter().all(|&value| value == 200), "{fit:?}");
            }
            let frame = Frame::stage(&pixels, &preprocess(7, 5, LETTERBOX)).unwrap();
            assert!(frame.rgb().contains(&200));
        }
    }

    #[test]
    fn senseless_preprocessing_is_refused() {
        let photo = Photo::decode(
            &stage(8, 8, WHOLE)
                .encode(crate::schedule::PhotoCodec::Png)
                .unwrap(),
        );
        let photo = photo.unwrap();
        let error = Frame::stage(&photo.pixels().unwrap(), &preprocess(0, 8, WHOLE)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
