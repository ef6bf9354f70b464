//! A synthetic photo for tests: every pixel follows from its place, so references can be computed
//! elsewhere.

use super::{Anchor, Colour, Fit, Layout, Preprocess};

/// R = 7x + 3y, G = x² + 5y, B = ⌊xy / 3⌋, each modulo 256: slopes and hard edges.
pub(super) fn rgb(width: usize, height: usize) -> Vec<u8> {
    (0..height)
        .flat_map(|y| (0..width).map(move |x| [7 * x + 3 * y, x * x + 5 * y, x * y / 3]))
        .flatten()
        .map(|value| u8::try_from(value % 256).unwrap())
        .collect()
}

/// The mean and standard deviation most classifiers are trained with.
pub(super) fn preprocess(width: usize, height: usize, fit: Fit) -> Preprocess {
    Preprocess {
        height,
        width,
        fit,
        colour: Colour::Rgb,
        layout: Layout::Nchw,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    }
}

pub(super) const WHOLE: Fit = Fit::Crop { crop_fraction: 1.0 };

pub(super) const LETTERBOX: Fit = Fit::Letterbox {
    pad: 114,
    anchor: Anchor::Centre,
};
