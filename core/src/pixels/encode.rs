//! Frame → bytes for cut 0.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::Frame;
use crate::schedule::PhotoCodec;
use crate::{Error, ErrorKind, Result};

impl Frame {
    /// Encodes the frame for sending at cut 0.
    ///
    /// JPEG is baseline with full-resolution chroma (4:4:4) and libjpeg's quality scale: more
    /// bytes and more fidelity than the 4:2:0 of most tools at the same quality. PNG and WebP are
    /// lossless.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] for a JPEG quality outside 1..=100 and for WebP
    /// sides beyond 16,384 pixels.
    pub fn encode(&self, codec: PhotoCodec) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match codec {
            PhotoCodec::Jpeg(quality) if !(1..=100).contains(&quality) => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("JPEG quality must be 1 to 100, got {quality}"),
                ));
            }
            PhotoCodec::Jpeg(quality) => {
                self.write(JpegEncoder::new_with_quality(&mut bytes, quality), codec)?;
            }
            PhotoCodec::Png => {
                // A twentieth of the time of the default compression, for a tenth more bytes.
                let encoder = PngEncoder::new_with_quality(
                    &mut bytes,
                    CompressionType::Fast,
                    FilterType::Adaptive,
                );
                self.write(encoder, codec)?;
            }
            PhotoCodec::WebP => self.write(WebPEncoder::new_lossless(&mut bytes), codec)?,
        }
        Ok(bytes)
    }

    fn write(&self, encoder: impl ImageEncoder, codec: PhotoCodec) -> Result<()> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            Error::with_source(
                ErrorKind::InvalidArgument,
                format!(
                    "a frame of {}x{} pixels cannot be written as {}",
                    self.width(),
                    self.height(),
                    codec.as_str()
                ),
                source,
            )
        };
        let width = u32::try_from(self.width()).map_err(|e| failed(e.into()))?;
        let height = u32::try_from(self.height()).map_err(|e| failed(e.into()))?;
        encoder
            .write_image(self.rgb(), width, height, ExtendedColorType::Rgb8)
            .map_err(|e| failed(e.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preprocess;
    use super::super::sample::{WHOLE, preprocess};
    use super::*;

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
    fn jpeg_quality_trades_bytes_for_fidelity() {
        let (frame, preprocess) = gradient();
        let low = frame.encode(PhotoCodec::Jpeg(30)).unwrap();
        let high = frame.encode(PhotoCodec::Jpeg(95)).unwrap();
        assert!(low.len() < high.len());
        let decode = |bytes: &[u8]| Frame::decode(bytes, &preprocess).unwrap();
        let (low, high) = (decode(&low), decode(&high));
        assert!(mean_difference(&frame, &high) < 1.0);
        assert!(mean_difference(&frame, &high) < mean_difference(&frame, &low));
    }

    #[test]
    fn jpeg_keeps_the_chroma_resolution() {
        let jpeg = gradient().0.encode(PhotoCodec::Jpeg(75)).unwrap();
        let sof0 = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC0]);
        let header = &jpeg[sof0.unwrap()..];
        // After marker, length, precision, height and width: 3 components of id, sampling, table.
        assert_eq!([header[11], header[14], header[17]], [0x11; 3]);
    }

    #[test]
    fn each_codec_writes_its_format() {
        let (frame, _) = gradient();
        for (codec, start) in [
            (PhotoCodec::Jpeg(75), &b"\xFF\xD8\xFF"[..]),
            (PhotoCodec::Png, b"\x89PNG"),
            (PhotoCodec::WebP, b"RIFF"),
        ] {
            assert!(frame.encode(codec).unwrap().starts_with(start), "{codec:?}");
        }
    }

    #[test]
    fn a_quality_that_is_none_is_refused() {
        for quality in [0, 101] {
            let error = gradient().0.encode(PhotoCodec::Jpeg(quality)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}
