//! How a picture must be turned to stand upright: the eight orientations of EXIF and TIFF.

use dyno_scale::Crop;

use super::buffer::invalid;
use crate::{Error, ErrorKind, Result};

/// Where the top of the scene is in a stored picture.
///
/// The names are those of Apple's `CGImagePropertyOrientation`, the numbers those of EXIF and TIFF
/// (tag 274). What is said of each variant is what makes the picture upright.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orientation {
    /// 1: nothing.
    #[default]
    Up,
    /// 2: a mirror image, left to right.
    UpMirrored,
    /// 3: half a turn.
    Down,
    /// 4: a mirror image, top to bottom.
    DownMirrored,
    /// 5: rows and columns swapped, about the diagonal from the top left.
    LeftMirrored,
    /// 6: a quarter turn clockwise.
    Right,
    /// 7: rows and columns swapped, about the diagonal from the top right.
    RightMirrored,
    /// 8: a quarter turn anticlockwise.
    Left,
}

impl Orientation {
    /// From EXIF's number, 1 to 8: Android's `ExifInterface` and the raw values of Apple's
    /// `CGImagePropertyOrientation` are the same.
    ///
    /// Fails with [`ErrorKind::InvalidImage`] for any other number. 0 stands for "not known" in
    /// some files: whether that means [`Orientation::Up`] is for the caller to say.
    pub fn from_exif(value: u32) -> Result<Self> {
        Ok(match value {
            1 => Self::Up,
            2 => Self::UpMirrored,
            3 => Self::Down,
            4 => Self::DownMirrored,
            5 => Self::LeftMirrored,
            6 => Self::Right,
            7 => Self::RightMirrored,
            8 => Self::Left,
            _ => {
                return Err(invalid(format!(
                    "EXIF orientation {value}: it must be 1 to 8"
                )));
            }
        })
    }

    /// From the clockwise turn that makes the picture upright, in degrees: 0, 90, 180 or 270
    /// (`rotationDegrees` of Android's `CameraX`).
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] for any other angle.
    pub fn from_degrees(clockwise: u32) -> Result<Self> {
        Ok(match clockwise {
            0 => Self::Up,
            90 => Self::Right,
            180 => Self::Down,
            270 => Self::Left,
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("a turn by {clockwise} degrees: it must be 0, 90, 180 or 270"),
                ));
            }
        })
    }

    /// The upright size of a stored one, and the stored size of an upright one.
    pub(super) fn size(self, (width, height): (usize, usize)) -> (usize, usize) {
        if self.steps().swap {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// The point of a stored picture of `width` × `height` pixels that lies at (`x`, `y`) of the
    /// upright one.
    pub(super) fn to_stored(
        self,
        (x, y): (f64, f64),
        (width, height): (usize, usize),
    ) -> (f64, f64) {
        let steps = self.steps();
        let (x, y) = if steps.swap { (y, x) } else { (x, y) };
        (
            if steps.flip_x { width as f64 - x } else { x },
            if steps.flip_y { height as f64 - y } else { y },
        )
    }

    /// The part of a stored picture of size `stored` that is `crop` of the upright one.
    pub(super) fn crop_to_stored(self, crop: Crop, stored: (usize, usize)) -> Crop {
        let a = self.to_stored((crop.left, crop.top), stored);
        let b = self.to_stored((crop.left + crop.width, crop.top + crop.height), stored);
        let (width, height) = if self.steps().swap {
            (crop.height, crop.width)
        } else {
            (crop.width, crop.height)
        };
        // Rounding may put a corner a hair's breadth outside, which the scaler would refuse.
        let (left, top) = (a.0.min(b.0).max(0.0), a.1.min(b.1).max(0.0));
        Crop {
            left,
            top,
            width: width.min(stored.0 as f64 - left),
            height: height.min(stored.1 as f64 - top),
        }
    }

    /// The upright form of a stored picture in R, G, B bytes.
    pub(super) fn turned(self, rgb: Vec<u8>, stored: (usize, usize)) -> Vec<u8> {
        if self == Self::Up {
            return rgb;
        }
        let steps = self.steps();
        let (width, height) = self.size(stored);
        let pixels = rgb.as_chunks::<3>().0;
        let mut turned = Vec::with_capacity(rgb.len());
        for y in 0..height {
            for x in 0..width {
                let (x, y) = if steps.swap { (y, x) } else { (x, y) };
                let x = if steps.flip_x { stored.0 - 1 - x } else { x };
                let y = if steps.flip_y { stored.1 - 1 - y } else { y };
                turned.extend_from_slice(&pixels[y * stored.0 + x]);
            }
        }
        turned
    }

    fn steps(self) -> Steps {
        let (swap, flip_x, flip_y) = match self {
            Self::Up => (false, false, false),
            Self::UpMirrored => (false, true, false),
            Self::Down => (false, true, true),
            Self::DownMirrored => (false, false, true),
            Self::LeftMirrored => (true, false, false),
            Self::Right => (true, false, true),
            Self::RightMirrored => (true, true, true),
            Self::Left => (true, true, false),
        };
        Steps {
            swap,
            flip_x,
            flip_y,
        }
    }
}

/// What leads from an upright place to the stored one: first x and y change places, then x or y
/// counts from the other end.
struct Steps {
    swap: bool,
    flip_x: bool,
    flip_y: bool,
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage};

    use super::super::sample::{LETTERBOX, ORIENTATIONS, WHOLE, preprocess, rgb};
    use super::super::{Fit, Frame, PixelFormat, Pixels};
    use super::*;

    const WIDTH: usize = 101;
    const HEIGHT: usize = 77;

    fn pixels(rgb: &[u8], width: usize, height: usize) -> Pixels<'_> {
        Pixels::new(rgb, width, height, width * 3, PixelFormat::Rgb8).unwrap()
    }

    /// What the `image` crate makes of a picture with this EXIF number.
    fn upright(rgb: Vec<u8>, width: usize, height: usize, exif: u8) -> DynamicImage {
        let (width, height) = (width.try_into().unwrap(), height.try_into().unwrap());
        let mut image = DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, rgb).unwrap());
        image.apply_orientation(image::metadata::Orientation::from_exif(exif).unwrap());
        image
    }

    #[test]
    fn a_turned_picture_is_staged_as_if_it_were_upright() {
        let stored = rgb(WIDTH, HEIGHT);
        let crop = Fit::Crop {
            crop_fraction: 0.875,
        };
        for (exif, orientation) in (1..).zip(ORIENTATIONS) {
            let image = upright(stored.clone(), WIDTH, HEIGHT, exif);
            let (width, height) = (image.width() as usize, image.height() as usize);
            let by_hand = pixels(image.as_bytes(), width, height);
            let oriented = pixels(&stored, WIDTH, HEIGHT).with_orientation(orientation);
            assert_eq!(oriented.upright_size(), (width, height));
            for fit in [WHOLE, crop, Fit::Stretch, LETTERBOX] {
                for (w, h) in [(32, 24), (24, 40), (32, 32), (150, 160), (HEIGHT, WIDTH)] {
                    let preprocess = preprocess(w, h, fit);
                    let found = Frame::stage(&oriented, &preprocess).unwrap();
                    let expected = Frame::stage(&by_hand, &preprocess).unwrap();
                    let pairs = found.rgb().iter().zip(expected.rgb());
                    let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
                    assert!(
                        worst <= Some(1),
                        "{orientation:?} {fit:?} {w}x{h}: off by {worst:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_picture_of_the_models_size_is_only_turned() {
        let stored = rgb(9, 5);
        for (exif, orientation) in (1..).zip(ORIENTATIONS) {
            let image = upright(stored.clone(), 9, 5, exif);
            let (width, height) = orientation.size((9, 5));
            let frame = Frame::stage(
                &pixels(&stored, 9, 5).with_orientation(orientation),
                &preprocess(width, height, WHOLE),
            );
            assert_eq!(frame.unwrap().rgb(), image.as_bytes(), "{orientation:?}");
        }
    }

    #[test]
    fn points_lead_back_to_the_stored_pixel() {
        // The index of every pixel as its red byte.
        let stored: Vec<u8> = (0..45).flat_map(|index| [index, 0, 0]).collect();
        for (exif, orientation) in (1..).zip(ORIENTATIONS) {
            let image = upright(stored.clone(), 9, 5, exif).into_rgb8();
            let pixels = pixels(&stored, 9, 5).with_orientation(orientation);
            for (x, y, pixel) in image.enumerate_pixels() {
                let (x, y) = pixels.to_stored(f64::from(x) + 0.5, f64::from(y) + 0.5);
                let index = (y - 0.5) * 9.0 + (x - 0.5);
                assert!(
                    (index - f64::from(pixel[0])).abs() < 1e-9,
                    "{orientation:?}"
                );
            }
        }
    }

    #[test]
    fn numbers_and_angles_that_do_not_exist_are_refused() {
        for (exif, orientation) in (1..).zip(ORIENTATIONS) {
            assert_eq!(Orientation::from_exif(exif).unwrap(), orientation);
        }
        for value in [0, 9, u32::MAX] {
            let error = Orientation::from_exif(value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidImage);
        }
        for (degrees, exif) in [(0, 1), (90, 6), (180, 3), (270, 8)] {
            assert_eq!(
                Orientation::from_degrees(degrees).unwrap(),
                Orientation::from_exif(exif).unwrap()
            );
        }
        for degrees in [1, 360, u32::MAX] {
            let error = Orientation::from_degrees(degrees).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}
