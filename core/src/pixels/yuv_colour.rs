//! What the values of YUV stand for, and their conversion to RGB.

/// Which colours the values of YUV stand for.
///
/// *Full* range is 0 to 255 for luma and chroma; *video* range is 16 to 235 for luma and 16 to 240
/// for chroma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum YuvColour {
    /// JPEG's own, and what Android's cameras deliver unless told otherwise.
    Bt601Full,
    /// Video of standard definition.
    Bt601Video,
    /// iOS's cameras, in the pixel formats whose name ends in `FullRange`.
    Bt709Full,
    /// Video of high definition.
    Bt709Video,
}

/// U and V of a pixel.
pub(super) type Chroma = [u8; 2];

impl YuvColour {
    /// R, G and B of each pixel (ITU-R BT.601 and BT.709, ITU-T T.871).
    pub(super) fn rgb(self, luma: &[u8], chroma: &[Chroma]) -> Vec<u8> {
        let (red_weight, blue_weight, is_full) = match self {
            Self::Bt601Full => (0.299, 0.114, true),
            Self::Bt601Video => (0.299, 0.114, false),
            Self::Bt709Full => (0.2126, 0.0722, true),
            Self::Bt709Video => (0.2126, 0.0722, false),
        };
        let green_weight = 1.0 - red_weight - blue_weight;
        let (black, luma_range, chroma_range) = if is_full {
            (0.0, 255.0, 255.0)
        } else {
            (16.0, 219.0, 224.0)
        };
        let luma_step: f32 = 255.0 / luma_range;
        let red_by_v: f32 = 2.0 * (1.0 - red_weight) * 255.0 / chroma_range;
        let blue_by_u: f32 = 2.0 * (1.0 - blue_weight) * 255.0 / chroma_range;
        let green_by_v = -red_by_v * red_weight / green_weight;
        let green_by_u = -blue_by_u * blue_weight / green_weight;

        let mut rgb = Vec::with_capacity(luma.len() * 3);
        for (&y, &[u, v]) in luma.iter().zip(chroma) {
            let y = (f32::from(y) - black) * luma_step;
            let (u, v) = (f32::from(u) - 128.0, f32::from(v) - 128.0);
            rgb.extend([
                to_byte(y + red_by_v * v),
                to_byte(y + green_by_u * u + green_by_v * v),
                to_byte(y + blue_by_u * u),
            ]);
        }
        rgb
    }
}

/// The nearest of 0 to 255.
// A conversion from a float stops at the ends of the byte's range.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn to_byte(value: f32) -> u8 {
    (value + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::super::sample::COLOURS;
    use super::*;

    #[test]
    fn greys_are_exact() {
        let ramp: Vec<u8> = (0..=255).collect();
        for colour in COLOURS {
            let is_full = matches!(colour, YuvColour::Bt601Full | YuvColour::Bt709Full);
            let rgb = colour.rgb(&ramp, &[[128, 128]; 256]);
            for (y, pixel) in (0u32..).zip(rgb.chunks(3)) {
                let grey = if is_full {
                    y
                } else {
                    // Rounded to the nearest, in whole numbers.
                    (y.saturating_sub(16) * 255 * 2 + 219) / (219 * 2)
                };
                let grey = u8::try_from(grey.min(255)).unwrap();
                assert_eq!(pixel, [grey; 3], "{colour:?} {y}");
            }
        }
    }

    /// References are the formulas of the standards, worked out by hand.
    #[test]
    fn saturated_colours_are_what_the_standards_say() {
        for (colour, yuv, expected) in [
            (YuvColour::Bt601Full, [76, 85, 255], [254, 0, 0]),
            (YuvColour::Bt601Full, [150, 44, 21], [0, 255, 1]),
            (YuvColour::Bt601Full, [29, 255, 107], [0, 0, 254]),
            (YuvColour::Bt601Video, [81, 90, 240], [254, 0, 0]),
            (YuvColour::Bt601Video, [145, 54, 34], [0, 255, 1]),
            (YuvColour::Bt709Video, [63, 102, 240], [255, 1, 0]),
            (YuvColour::Bt709Video, [173, 42, 26], [0, 255, 1]),
            (YuvColour::Bt709Full, [54, 99, 255], [254, 0, 0]),
        ] {
            let [y, u, v] = yuv;
            let found = colour.rgb(&[y], &[[u, v]]);
            let close = found
                .iter()
                .zip(expected)
                .all(|(&f, e): (&u8, u8)| f.abs_diff(e) <= 1);
            assert!(
                close,
                "{colour:?} {yuv:?}: {found:?} instead of {expected:?}"
            );
        }
    }

    #[test]
    fn values_beyond_the_colours_there_are_stop_at_the_ends() {
        for colour in COLOURS {
            assert_eq!(colour.rgb(&[255], &[[255, 255]])[0], 255);
            assert_eq!(colour.rgb(&[255], &[[255, 255]])[2], 255);
            assert_eq!(colour.rgb(&[0], &[[0, 0]])[0], 0);
            assert_eq!(colour.rgb(&[0], &[[0, 0]])[2], 0);
            assert_eq!(colour.rgb(&[0], &[[255, 255]])[1], 0);
        }
    }
}
