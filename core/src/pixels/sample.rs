//! A synthetic photo for tests: every pixel follows from its place, so references can be computed
//! elsewhere.

use super::{Anchor, Colour, Fit, Layout, Orientation, Preprocess, Yuv420, YuvColour};

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

/// In the order of their EXIF numbers, from 1.
pub(super) const ORIENTATIONS: [Orientation; 8] = [
    Orientation::Up,
    Orientation::UpMirrored,
    Orientation::Down,
    Orientation::DownMirrored,
    Orientation::LeftMirrored,
    Orientation::Right,
    Orientation::RightMirrored,
    Orientation::Left,
];

pub(super) const COLOURS: [YuvColour; 4] = [
    YuvColour::Bt601Full,
    YuvColour::Bt601Video,
    YuvColour::Bt709Full,
    YuvColour::Bt709Video,
];

/// A smooth picture: Y, U and V as functions of the place, tightly packed.
pub(super) struct YuvSample {
    width: usize,
    height: usize,
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

impl YuvSample {
    pub(super) fn new(width: usize, height: usize) -> Self {
        // A slope between two values over the whole of a side.
        let slope = |at: usize, side: usize, from: usize, to: usize| {
            u8::try_from((from * (side - at) + to * at) / side).unwrap()
        };
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let places = |width, height| {
            (0..height).flat_map(move |row| (0..width).map(move |column| (column, row)))
        };
        Self {
            width,
            height,
            y: places(width, height)
                .map(|(x, y)| slope(x, width, 80, 130) + slope(y, height, 0, 50))
                .collect(),
            u: places(half_width, half_height)
                .map(|(x, _)| slope(x, half_width, 100, 150))
                .collect(),
            v: places(half_width, half_height)
                .map(|(_, y)| slope(y, half_height, 160, 110))
                .collect(),
        }
    }

    /// Width of the chroma planes.
    pub(super) fn half_width(&self) -> usize {
        self.width.div_ceil(2)
    }

    /// Luma with `padding` bytes between the rows.
    pub(super) fn luma(&self, padding: usize) -> Vec<u8> {
        padded(self.y.chunks(self.width).map(<[u8]>::to_vec), padding)
    }

    /// One plane of pairs, the last row without its padding.
    pub(super) fn pairs(&self, is_v_first: bool, padding: usize) -> Vec<u8> {
        let (first, second) = if is_v_first {
            (&self.v, &self.u)
        } else {
            (&self.u, &self.v)
        };
        let rows = first.chunks(self.half_width());
        let rows = rows.zip(second.chunks(self.half_width())).map(|(a, b)| {
            let pairs = a.iter().zip(b);
            pairs.flat_map(|(&a, &b)| [a, b]).collect()
        });
        padded(rows, padding)
    }

    /// As I420 without padding.
    pub(super) fn planar(&self, colour: YuvColour) -> Yuv420<'_> {
        Yuv420 {
            y: &self.y,
            u: &self.u,
            v: &self.v,
            width: self.width,
            height: self.height,
            y_row_stride_bytes: self.width,
            uv_row_stride_bytes: self.half_width(),
            uv_pixel_stride_bytes: 1,
            colour,
        }
    }

    /// The textbook's RGB of every pixel.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn rgb(&self, colour: YuvColour) -> Vec<u8> {
        let (kr, kb, video) = match colour {
            YuvColour::Bt601Full => (0.299, 0.114, false),
            YuvColour::Bt601Video => (0.299, 0.114, true),
            YuvColour::Bt709Full => (0.2126, 0.0722, false),
            YuvColour::Bt709Video => (0.2126, 0.0722, true),
        };
        let mut rgb = Vec::new();
        for (index, &y) in self.y.iter().enumerate() {
            let (column, row) = (index % self.width, index / self.width);
            let at = row / 2 * self.half_width() + column / 2;
            let (mut y, mut u, mut v) = (
                f64::from(y),
                f64::from(self.u[at]) - 128.0,
                f64::from(self.v[at]) - 128.0,
            );
            if video {
                (y, u, v) = (
                    (y - 16.0) / 219.0 * 255.0,
                    u / 224.0 * 255.0,
                    v / 224.0 * 255.0,
                );
            }
            let (r, b) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
            let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
            rgb.extend([r, g, b].map(|value| value.round().clamp(0.0, 255.0) as u8));
        }
        rgb
    }
}

fn padded(rows: impl Iterator<Item = Vec<u8>>, padding: usize) -> Vec<u8> {
    let mut data: Vec<u8> = rows
        .flat_map(|mut row| {
            row.resize(row.len() + padding, 0xEE);
            row
        })
        .collect();
    data.truncate(data.len() - padding);
    data
}
