//! Frame → bytes for cut 0.

use std::error::Error as StdError;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder as JpegEncoder, SamplingFactor};

use super::{Frame, ppm, webp};
use crate::schedule::PhotoCodec;
use crate::{Error, ErrorKind, Result};

/// From this JPEG quality up the chroma keeps its resolution (4:4:4); below it is halved each way
/// (4:2:0). For the same bytes that changes a model's outputs less below, and more above.
const FULL_CHROMA_QUALITY: u8 = 90;

/// Longest side of a WebP. The lossless form has room for one more, which its decoder cannot read.
const MAX_WEBP_SIDE_PX: usize = 16_383;

/// Scans of each component: the first its means, the second all the rest. More scans are more bytes.
///
/// Progressive, because sequential files with optimised tables have a scan a component too, and
/// those the decoder (zune-jpeg 0.5.15) reads wrongly where chroma is halved.
const JPEG_SCANS: u8 = 2;

impl Frame {
    /// Encodes the frame for sending at cut 0.
    ///
    /// JPEG is progressive with optimised Huffman tables, on libjpeg's quality scale; its chroma
    /// has half the resolution (4:2:0) below quality 90 and the full one (4:4:4) from there up. Lossy
    /// WebP is always 4:2:0, on libwebp's scale. PNG, lossless WebP and PPM keep every pixel.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] for a quality outside 1..=100 and for WebP sides
    /// beyond 16,383 pixels.
    pub fn encode(&self, codec: PhotoCodec) -> Result<Vec<u8>> {
        let is_webp = matches!(codec, PhotoCodec::WebP(_) | PhotoCodec::WebPLossless);
        if is_webp && self.width().max(self.height()) > MAX_WEBP_SIDE_PX {
            let limit =
                format!("WebP has at most {MAX_WEBP_SIDE_PX} pixels a side: use JPEG or PNG");
            return Err(self.failed(codec, limit.into()));
        }
        match codec.check()? {
            PhotoCodec::Jpeg(quality) => self.jpeg(quality).map_err(|e| self.failed(codec, e)),
            PhotoCodec::WebP(quality) => webp::encode(self, quality)
                .ok_or_else(|| self.failed(codec, "libwebp refused it".into())),
            PhotoCodec::Png => {
                let mut bytes = Vec::new();
                // A twentieth of the time of the default compression, for a tenth more bytes.
                let encoder = PngEncoder::new_with_quality(
                    &mut bytes,
                    CompressionType::Fast,
                    FilterType::Adaptive,
                );
                self.write(encoder).map_err(|e| self.failed(codec, e))?;
                Ok(bytes)
            }
            PhotoCodec::Ppm => Ok(ppm::encode(self)),
            PhotoCodec::WebPLossless => {
                let mut bytes = Vec::new();
                let encoder = WebPEncoder::new_lossless(&mut bytes);
                self.write(encoder).map_err(|e| self.failed(codec, e))?;
                Ok(bytes)
            }
        }
    }

    fn jpeg(&self, quality: u8) -> Result<Vec<u8>, Cause> {
        let (width, height) = (self.width().try_into()?, self.height().try_into()?);
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new(&mut bytes, quality);
        encoder.set_optimized_huffman_tables(true);
        encoder.set_progressive_scans(JPEG_SCANS);
        encoder.set_sampling_factor(if quality < FULL_CHROMA_QUALITY {
            SamplingFactor::R_4_2_0
        } else {
            SamplingFactor::R_4_4_4
        });
        encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
        encoder.encode(self.rgb(), width, height, ColorType::Rgb)?;
        Ok(bytes)
    }

    fn write(&self, encoder: impl ImageEncoder) -> Result<(), Cause> {
        let (width, height) = (self.width().try_into()?, self.height().try_into()?);
        Ok(encoder.write_image(self.rgb(), width, height, ExtendedColorType::Rgb8)?)
    }

    fn failed(&self, codec: PhotoCodec, cause: Cause) -> Error {
        Error::with_source(
            ErrorKind::InvalidArgument,
            format!(
                "a frame of {}x{} pixels cannot be written as {codec}",
                self.width(),
                self.height(),
            ),
            cause,
        )
    }
}

/// What an encoder says.
type Cause = Box<dyn StdError + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::super::Preprocess;
    use super::super::sample::{WHOLE, preprocess};
    use super::*;
    use proptest::prelude::*;

    /// A smooth image: JPEG keeps it well, so a mistake in colours or order shows.
    fn gradient() -> (Frame, Preprocess) {
        let rgb = (0u8..48)
            .flat_map(|y| (0u8..64).flat_map(move |x| [x * 4, y * 5, 255 - x - y]))
            .collect();
        (
            Frame::from_rgb(64, 48, rgb).unwrap(),
            preprocess(64, 48, WHOLE),
        )
    }

    fn mean_difference(a: &Frame, b: &Frame) -> f64 {
        let total: u64 = a
            .rgb()
            .iter()
            .zip(b.rgb())
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        total as f64 / a.rgb().len() as f64
    }

    #[test]
    fn quality_trades_bytes_for_fidelity() {
        let (frame, preprocess) = gradient();
        for codec in [PhotoCodec::Jpeg as fn(u8) -> PhotoCodec, PhotoCodec::WebP] {
            let mut before = (0, f64::INFINITY);
            for quality in [1, 30, 60, 95] {
                let codec = codec(quality);
                let bytes = frame.encode(codec).unwrap();
                let decoded = Frame::decode(&bytes, &preprocess).unwrap();
                let difference = mean_difference(&frame, &decoded);
                assert!(bytes.len() > before.0, "{codec}: {} bytes", bytes.len());
                assert!(difference < before.1, "{codec}: {difference}");
                before = (bytes.len(), difference);
            }
            assert!(before.1 < 1.5, "{}: {}", codec(95), before.1);
        }
    }

    #[test]
    fn jpeg_chroma_is_halved_below_quality_90() {
        for (quality, luma) in [(1, 0x22), (89, 0x22), (90, 0x11), (100, 0x11)] {
            let jpeg = gradient().0.encode(PhotoCodec::Jpeg(quality)).unwrap();
            let sof2 = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC2]);
            let header = &jpeg[sof2.unwrap()..];
            // After marker, length, precision, height and width: 3 components of id, sampling, table.
            let sampling = [header[11], header[14], header[17]];
            assert_eq!(sampling, [luma, 0x11, 0x11], "quality {quality}");
        }
    }

    #[test]
    fn halved_chroma_is_the_mean_of_four_pixels() {
        // Red and blue columns in turn: one of each in every square of four.
        let rgb = [[255, 0, 0], [0, 0, 255]].concat().repeat(8 * 16);
        let frame = Frame::from_rgb(16, 16, rgb).unwrap();
        let jpeg = frame.encode(PhotoCodec::Jpeg(89)).unwrap();
        let decoded = Frame::decode(&jpeg, &preprocess(16, 16, WHOLE)).unwrap();
        let mean = |channel: usize| {
            let values = decoded.rgb().iter().skip(channel).step_by(3);
            values.map(|&v| u32::from(v)).sum::<u32>() / 256
        };
        assert!(mean(0).abs_diff(mean(2)) < 30, "{} {}", mean(0), mean(2));
    }

    #[test]
    fn each_codec_writes_its_format() {
        let (frame, _) = gradient();
        for (codec, start, form) in [
            (PhotoCodec::Jpeg(75), &b"\xFF\xD8\xFF"[..], &b"JFIF"[..]),
            (PhotoCodec::Png, b"\x89PNG", b"IHDR"),
            (PhotoCodec::WebP(75), b"RIFF", b"WEBPVP8 "),
            (PhotoCodec::WebPLossless, b"RIFF", b"WEBPVP8L"),
            (PhotoCodec::Ppm, b"P6\n", b"\n255\n"),
        ] {
            let bytes = frame.encode(codec).unwrap();
            assert!(bytes.starts_with(start), "{codec}");
            assert!(bytes.windows(form.len()).any(|w| w == form), "{codec}");
        }
    }

    #[test]
    fn a_quality_that_is_none_is_refused() {
        for quality in [0, 101, 255] {
            for codec in [PhotoCodec::Jpeg(quality), PhotoCodec::WebP(quality)] {
                let error = gradient().0.encode(codec).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                assert!(error.to_string().contains("1 to 100"), "{error}");
            }
        }
    }

    #[test]
    fn a_side_beyond_webp_is_refused_and_fits_the_others() {
        let written = |codec: PhotoCodec, side: usize| {
            let frame = Frame::from_rgb(side, 1, vec![7; side * 3]).unwrap();
            let bytes = frame.encode(codec)?;
            let decoded = Frame::decode(&bytes, &preprocess(side, 1, WHOLE)).unwrap();
            assert!(mean_difference(&frame, &decoded) < 1.0, "{codec}");
            Ok::<_, Error>(())
        };
        for codec in [PhotoCodec::WebP(90), PhotoCodec::WebPLossless] {
            written(codec, MAX_WEBP_SIDE_PX).unwrap();
            let error = written(codec, MAX_WEBP_SIDE_PX + 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("16383"), "{error}");
        }
        for codec in [PhotoCodec::Jpeg(90), PhotoCodec::Png] {
            written(codec, MAX_WEBP_SIDE_PX + 1).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn any_pixels_at_any_quality_come_back_at_their_size(
            (width, height, rgb) in (1usize..40, 1usize..40).prop_flat_map(|(width, height)| {
                let noise = prop::collection::vec(any::<u8>(), width * height * 3);
                let flat = any::<u8>().prop_map(move |value| vec![value; width * height * 3]);
                (Just(width), Just(height), prop_oneof![noise, flat])
            }),
            quality in 1u8..=100,
        ) {
            let frame = Frame::from_rgb(width, height, rgb).unwrap();
            for codec in [PhotoCodec::Jpeg(quality), PhotoCodec::WebP(quality)] {
                let bytes = frame.encode(codec).unwrap();
                let decoded = Frame::decode(&bytes, &preprocess(width, height, WHOLE)).unwrap();
                prop_assert_eq!((decoded.width(), decoded.height()), (width, height));
            }
        }

        /// Decoders have been wrong for some sizes where chroma is halved, without an error.
        #[test]
        fn smooth_pixels_come_back_close_at_any_size(
            width in 1usize..150,
            height in 1usize..150,
            quality in 75u8..=100,
        ) {
            let at = |value: usize| u8::try_from(value).unwrap();
            let pixel = |x, y| [at(x * 255 / width), at(y * 255 / height), at(255 - x * 200 / width)];
            let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
            let frame = Frame::from_rgb(width, height, rgb).unwrap();
            for codec in [PhotoCodec::Jpeg(quality), PhotoCodec::WebP(quality)] {
                let bytes = frame.encode(codec).unwrap();
                let decoded = Frame::decode(&bytes, &preprocess(width, height, WHOLE)).unwrap();
                let mean = mean_difference(&frame, &decoded);
                // Pictures of few pixels change from one to the next by more than codecs keep.
                let allowed = 4.0 + 400.0 / width.min(height) as f64;
                prop_assert!(mean < allowed, "{}: {}", codec, mean);
            }
        }
    }
}
