//! Which part of the photo lands where in the frame: the one place that knows, for staging and for
//! mapping a detector's boxes back to the photo.

use super::buffer::check_size;
use super::{Anchor, Fit, Preprocess};
use crate::Result;

/// A crop this near to the model's size is one of that size: fractions are f32.
const SAME_SIZE_PX: f64 = 0.01;

/// Where a photo's pixels land in its frame.
///
/// Source coordinates are photo pixels, target coordinates frame pixels; pixel `i` covers `i` to
/// `i + 1`.
///
/// ```
/// use dyno_core::pixels::{Anchor, Colour, Fit, Geometry, Layout, Preprocess};
///
/// let preprocess = Preprocess {
///     height: 416,
///     width: 416,
///     fit: Fit::Letterbox { pad: 114, anchor: Anchor::TopLeft },
///     colour: Colour::Bgr,
///     layout: Layout::Nchw,
///     mean: [0.0; 3],
///     std: [1.0 / 255.0; 3],
/// };
/// let geometry = Geometry::of(832, 624, &preprocess)?;
/// assert_eq!(geometry.target(), (0, 0, 416, 312));
/// assert_eq!(geometry.to_photo(104.0, 156.0), (208.0, 312.0));
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    target_left: usize,
    target_top: usize,
    target_width: usize,
    target_height: usize,
}

impl Geometry {
    /// How a photo of `width` × `height` pixels fits the model's size.
    ///
    /// Fails with [`crate::ErrorKind::InvalidImage`] for a photo beyond the limits and with
    /// [`crate::ErrorKind::InvalidArgument`] if `preprocess` makes no sense.
    pub fn of(width: usize, height: usize, preprocess: &Preprocess) -> Result<Self> {
        check_size(width, height)?;
        preprocess.check()?;
        let whole = Self {
            left: 0.0,
            top: 0.0,
            width: width as f64,
            height: height as f64,
            target_left: 0,
            target_top: 0,
            target_width: preprocess.width,
            target_height: preprocess.height,
        };
        Ok(match preprocess.fit {
            Fit::Stretch => whole,
            Fit::Crop { crop_fraction } => whole.cropped(f64::from(crop_fraction)),
            Fit::Letterbox { anchor, .. } => whole.letterboxed(width, height, anchor),
        })
    }

    /// Left, top, width and height of the part of the photo that is used.
    pub fn source(&self) -> (f64, f64, f64, f64) {
        (self.left, self.top, self.width, self.height)
    }

    /// Left, top, width and height of the part of the frame that it fills; the rest is padding.
    pub fn target(&self) -> (usize, usize, usize, usize) {
        (
            self.target_left,
            self.target_top,
            self.target_width,
            self.target_height,
        )
    }

    /// The point of the photo that lies at (`x`, `y`) of the frame: what turns a box that a
    /// detector found into one on the photo.
    pub fn to_photo(&self, x: f64, y: f64) -> (f64, f64) {
        let along = |value: f64, target: usize, target_size: usize, start: f64, size: f64| {
            start + (value - target as f64) * size / target_size as f64
        };
        (
            along(
                x,
                self.target_left,
                self.target_width,
                self.left,
                self.width,
            ),
            along(
                y,
                self.target_top,
                self.target_height,
                self.top,
                self.height,
            ),
        )
    }

    /// The largest centred rectangle of the target's aspect ratio, times `fraction`.
    fn cropped(self, fraction: f64) -> Self {
        let (target_width, target_height) = (self.target_width as f64, self.target_height as f64);
        // The side that limits is taken as it is: recomputing it from the ratio could round it to
        // more than the photo has.
        let (width, height) = if self.width * target_height <= self.height * target_width {
            (self.width, self.width * target_height / target_width)
        } else {
            (self.height * target_width / target_height, self.height)
        };
        let width = (width * fraction).min(self.width);
        let height = (height * fraction).min(self.height);
        let unscaled = (width - target_width).abs() < SAME_SIZE_PX
            && (height - target_height).abs() < SAME_SIZE_PX;
        if unscaled {
            // Half a pixel of shift would blur a photo that needs no scaling.
            return Self {
                left: ((self.width - target_width) / 2.0).floor(),
                top: ((self.height - target_height) / 2.0).floor(),
                width: target_width,
                height: target_height,
                ..self
            };
        }
        Self {
            left: (self.width - width) / 2.0,
            top: (self.height - height) / 2.0,
            width,
            height,
            ..self
        }
    }

    /// The whole photo with its aspect ratio kept; the shorter side is rounded down, as in YOLOX.
    fn letterboxed(self, width: usize, height: usize, anchor: Anchor) -> Self {
        let (frame_width, frame_height) = (self.target_width, self.target_height);
        let (target_width, target_height) = if width * frame_height >= height * frame_width {
            (frame_width, (height * frame_width / width).max(1))
        } else {
            ((width * frame_height / height).max(1), frame_height)
        };
        let (target_left, target_top) = match anchor {
            Anchor::TopLeft => (0, 0),
            Anchor::Centre => (
                (frame_width - target_width) / 2,
                (frame_height - target_height) / 2,
            ),
        };
        Self {
            target_left,
            target_top,
            target_width,
            target_height,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Colour, Layout};
    use super::*;

    fn preprocess(width: usize, height: usize, fit: Fit) -> Preprocess {
        Preprocess {
            height,
            width,
            fit,
            colour: Colour::Rgb,
            layout: Layout::Nchw,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    #[test]
    fn resize_256_crop_224_is_the_fraction_0_875_of_the_shorter_side() {
        let crop = Fit::Crop {
            crop_fraction: 0.875,
        };
        let geometry = Geometry::of(500, 375, &preprocess(224, 224, crop)).unwrap();
        assert_eq!(geometry.source(), (85.9375, 23.4375, 328.125, 328.125));
        assert_eq!(geometry.target(), (0, 0, 224, 224));
    }

    #[test]
    fn a_crop_of_the_models_size_lies_on_whole_pixels() {
        for (width, height, fraction, source) in [
            (227, 227, 224.0 / 227.0, (1.0, 1.0, 224.0, 224.0)),
            (341, 256, 0.875, (58.0, 16.0, 224.0, 224.0)),
            (224, 225, 1.0, (0.0, 0.0, 224.0, 224.0)),
        ] {
            let crop = Fit::Crop {
                crop_fraction: fraction,
            };
            let geometry = Geometry::of(width, height, &preprocess(224, 224, crop)).unwrap();
            assert_eq!(geometry.source(), source);
        }
    }

    #[test]
    fn no_crop_reaches_beyond_the_photo() {
        let crop = Fit::Crop { crop_fraction: 1.0 };
        for (width, height) in [(1, 1), (3, 7), (640, 481), (997, 991), (16_384, 4_096)] {
            for (w, h) in [(224, 224), (97, 31), (513, 3)] {
                let geometry = Geometry::of(width, height, &preprocess(w, h, crop)).unwrap();
                let (left, top, crop_width, crop_height) = geometry.source();
                assert!(left >= 0.0 && left + crop_width <= width as f64);
                assert!(top >= 0.0 && top + crop_height <= height as f64);
                assert!(
                    left.abs() < 1e-9 || top.abs() < 1e-9,
                    "one side is used whole"
                );
            }
        }
    }

    #[test]
    fn a_letterbox_keeps_the_ratio_and_anchors_as_told() {
        let fit = |anchor| Fit::Letterbox { pad: 0, anchor };
        let tall = preprocess(100, 100, fit(Anchor::Centre));
        assert_eq!(
            Geometry::of(50, 199, &tall).unwrap().target(),
            (37, 0, 25, 100)
        );
        let top_left = preprocess(100, 100, fit(Anchor::TopLeft));
        assert_eq!(
            Geometry::of(50, 199, &top_left).unwrap().target(),
            (0, 0, 25, 100)
        );
        let sliver = Geometry::of(16_384, 1, &tall).unwrap();
        assert_eq!(sliver.target(), (0, 49, 100, 1));
    }

    #[test]
    fn the_corners_of_a_frame_map_to_the_corners_of_the_source() {
        let fit = Fit::Letterbox {
            pad: 0,
            anchor: Anchor::Centre,
        };
        let geometry = Geometry::of(640, 480, &preprocess(64, 64, fit)).unwrap();
        assert_eq!(geometry.to_photo(0.0, 8.0), (0.0, 0.0));
        assert_eq!(geometry.to_photo(64.0, 56.0), (640.0, 480.0));
    }
}
