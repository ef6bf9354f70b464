//! Property tests: whatever geometry an app hands over is refused or can be staged.

use std::ops::Range;

use proptest::prelude::*;

use super::sample::{COLOURS, LETTERBOX, ORIENTATIONS, WHOLE, preprocess};
use super::{Fit, Frame, PixelFormat, Pixels, Region, Yuv420};
use crate::{ErrorKind, Result};

const FORMATS: [PixelFormat; 3] = [PixelFormat::Rgb8, PixelFormat::Rgba8, PixelFormat::Bgra8];

/// Mostly what may make sense, sometimes anything.
fn number(sensible: Range<usize>) -> impl Strategy<Value = usize> {
    prop_oneof![
        9 => sensible,
        1 => prop_oneof![any::<usize>(), Just(usize::MAX), Just(0)],
    ]
}

fn region() -> impl Strategy<Value = Option<Region>> {
    let region = (number(0..6), number(0..6), number(1..12), number(1..12)).prop_map(
        |(left, top, width, height)| Region {
            left,
            top,
            width,
            height,
        },
    );
    proptest::option::of(region)
}

fn fit() -> impl Strategy<Value = Fit> {
    let crop = (f32::MIN_POSITIVE..=1.0).prop_map(|crop_fraction| Fit::Crop { crop_fraction });
    prop_oneof![Just(WHOLE), Just(Fit::Stretch), Just(LETTERBOX), crop]
}

/// Whatever was accepted can be staged.
fn stage_if_valid(
    pixels: Result<Pixels<'_>>,
    region: Option<Region>,
    orientation: usize,
    fit: Fit,
) -> Result<(), TestCaseError> {
    let pixels = match region {
        Some(region) => pixels.and_then(|pixels| pixels.with_region(region)),
        None => pixels,
    };
    match pixels {
        Ok(pixels) => {
            let pixels = pixels.with_orientation(ORIENTATIONS[orientation]);
            let staged = Frame::stage(&pixels, &preprocess(7, 5, fit));
            prop_assert!(staged.is_ok(), "{pixels:?} {fit:?}: {staged:?}");
        }
        Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidImage),
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_interleaved_geometry_panics(
        length in 0usize..1_000,
        (width, height, stride) in (number(1..16), number(1..16), number(1..80)),
        (format, region, orientation, fit) in (0usize..3, region(), 0usize..8, fit()),
    ) {
        let data = vec![9; length];
        let pixels = Pixels::new(&data, width, height, stride, FORMATS[format]);
        stage_if_valid(pixels, region, orientation, fit)?;
    }

    #[test]
    fn no_yuv_geometry_panics(
        (y, u, v) in (0usize..400, 0usize..200, 0usize..200),
        apart in 0usize..3,
        (width, height) in (number(1..16), number(1..16)),
        (y_stride, uv_stride, pixel_stride) in (number(1..24), number(1..24), number(1..3)),
        (colour, region, orientation, fit) in (0usize..4, region(), 0usize..8, fit()),
    ) {
        let data = [9; 400];
        let planes = Yuv420 {
            y: &data[..y],
            u: &data[apart % 2..][..u],
            v: &data[apart / 2..][..v],
            width,
            height,
            y_row_stride_bytes: y_stride,
            uv_row_stride_bytes: uv_stride,
            uv_pixel_stride_bytes: pixel_stride,
            colour: COLOURS[colour],
        };
        stage_if_valid(Pixels::yuv420(planes), region, orientation, fit)?;
    }
}
