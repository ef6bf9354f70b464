//! Encoded photos: found out by content, bounded before they are decoded, turned upright.

use std::fmt;
use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::buffer::{check_size, invalid};
use super::{MAX_PHOTO_PIXELS, PixelFormat, Pixels};
use crate::{Error, ErrorKind, Result};

/// Most bytes of an encoded photo: 32 MiB.
pub const MAX_PHOTO_BYTES: usize = 32 << 20;

/// Most bytes the decoder may allocate for the pixels: four channels of 16 bits.
const MAX_DECODER_BYTES: u64 = MAX_PHOTO_PIXELS as u64 * 8;

/// A decoded photo: upright, RGB, 8 bits.
#[derive(Clone)]
pub struct Photo {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Photo {
    /// Decodes JPEG, PNG or WebP, whatever the file was called.
    ///
    /// The EXIF orientation is applied. Grey, palette, CMYK and 16-bit images become 8-bit RGB;
    /// alpha is dropped, the colours beneath it stay as they are (as Pillow's `convert("RGB")`
    /// does), and so does [`Pixels`]. ICC profiles are not applied. Of an animation the first
    /// image is taken.
    ///
    /// Fails with [`ErrorKind::InvalidImage`] if the bytes are not such an image, are longer than
    /// [`MAX_PHOTO_BYTES`], or hold more than [`MAX_PHOTO_PIXELS`]; the size is read from the
    /// header, before anything is allocated for the pixels.
    ///
    /// ```
    /// use dyno_core::{ErrorKind, pixels::Photo};
    ///
    /// let error = Photo::decode(b"%PDF-1.7 ...").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidImage);
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_sized(bytes, check_size)
    }

    /// As [`Photo::decode`], asking `accept` about the upright width and height before the pixels
    /// are decoded.
    pub(super) fn decode_sized(
        bytes: &[u8],
        accept: impl FnOnce(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let format = sniff(bytes)?;
        if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
            return Err(invalid(
                "a JPEG image that was cut short: it has no end marker".to_owned(),
            ));
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_DECODER_BYTES);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(|e| undecodable(format, e))?;
        let orientation = decoder.orientation().map_err(|e| undecodable(format, e))?;
        let (width, height) = upright(decoder.dimensions(), orientation);
        check_size(width, height)?;
        accept(width, height)?;

        let mut image = DynamicImage::from_decoder(decoder).map_err(|e| undecodable(format, e))?;
        // Before turning: three bytes are quicker to move about than eight.
        image = DynamicImage::ImageRgb8(image.into_rgb8());
        image.apply_orientation(orientation);
        Ok(Self {
            width,
            height,
            rgb: image.into_rgb8().into_raw(),
        })
    }

    /// Width in pixels, of the upright photo.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels, of the upright photo.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Its pixels, to be staged.
    pub fn pixels(&self) -> Result<Pixels<'_>> {
        Pixels::new(
            &self.rgb,
            self.width,
            self.height,
            self.width * PixelFormat::Rgb8.bytes(),
            PixelFormat::Rgb8,
        )
    }

    /// The R, G, B bytes, row by row.
    pub(super) fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }
}

impl fmt::Debug for Photo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Photo({}x{})", self.width, self.height)
    }
}

/// The format of `bytes` if it is one of the three; otherwise an error that says what was found.
fn sniff(bytes: &[u8]) -> Result<ImageFormat> {
    if bytes.len() > MAX_PHOTO_BYTES {
        return Err(invalid(format!(
            "a photo of {} bytes: at most {MAX_PHOTO_BYTES} bytes can be taken",
            bytes.len()
        )));
    }
    let found = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) => {
            return Ok(format);
        }
        Ok(other) => format!("a {other:?} image"),
        Err(_) if bytes.is_empty() => "nothing (0 bytes)".to_owned(),
        Err(_) if is_heic(bytes) => "a HEIC image".to_owned(),
        Err(_) => {
            let start: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
            format!(
                "{} bytes of an unknown format (they start with {})",
                bytes.len(),
                start.join(" ")
            )
        }
    };
    Err(invalid(format!(
        "expected a JPEG, PNG or WebP image, found {found}"
    )))
}

/// Whether the markers of a JPEG (ITU-T T.81, annex B) lead to its end. The decoder fills what is
/// missing with grey, and half a photo must not get an answer.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const STAND_ALONE: [std::ops::RangeInclusive<u8>; 2] = [0x01..=0x01, 0xD0..=0xD8];
    const END: u8 = 0xD9;
    let mut rest = bytes;
    // Also skips the entropy-coded data of a scan: there 0xFF is followed by 0x00 or a restart.
    while let Some(at) = rest.iter().position(|&byte| byte == 0xFF) {
        rest = &rest[at + 1..];
        match rest.first() {
            None => return false,
            Some(&END) => return true,
            Some(0x00 | 0xFF) => {}
            Some(marker) if STAND_ALONE.iter().any(|range| range.contains(marker)) => {}
            Some(_) => {
                let Some(&[_, high, low]) = rest.first_chunk() else {
                    return false;
                };
                let segment = 1 + usize::from(u16::from_be_bytes([high, low]));
                let Some(after) = rest.get(segment..) else {
                    return false;
                };
                rest = after;
            }
        }
    }
    false
}

/// What iPhones write unless told otherwise, so people will try it.
fn is_heic(bytes: &[u8]) -> bool {
    matches!(
        bytes.get(4..12),
        Some(b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftypmsf1")
    )
}

fn undecodable(format: ImageFormat, source: image::ImageError) -> Error {
    Error::with_source(
        ErrorKind::InvalidImage,
        format!("a {format:?} image that cannot be decoded"),
        source,
    )
}

/// Width and height once `orientation` is applied.
fn upright((width, height): (u32, u32), orientation: Orientation) -> (usize, usize) {
    let (width, height) = (width as usize, height as usize);
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
        _ => (width, height),
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder};
    use proptest::prelude::*;

    use super::super::{Frame, sample};
    use super::*;
    use crate::schedule::PhotoCodec;

    fn png(pixels: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(pixels, width, height, colour)
            .unwrap();
        bytes
    }

    fn refused(bytes: &[u8]) -> String {
        let error = Photo::decode(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidImage);
        error.to_string()
    }

    #[test]
    fn every_colour_type_becomes_rgb() {
        let grey = Photo::decode(&png(&[7, 200], 2, 1, ExtendedColorType::L8)).unwrap();
        assert_eq!(grey.rgb, [7, 7, 7, 200, 200, 200]);
        let clear = [10, 20, 30, 0, 40, 50, 60, 255];
        let alpha = Photo::decode(&png(&clear, 2, 1, ExtendedColorType::Rgba8)).unwrap();
        assert_eq!(alpha.rgb, [10, 20, 30, 40, 50, 60]);
        let deep: Vec<u8> = [0u16, 0x8080, 0xFFFF]
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        let deep = Photo::decode(&png(&deep, 1, 1, ExtendedColorType::Rgb16)).unwrap();
        assert_eq!(deep.rgb, [0, 0x80, 0xFF]);
    }

    #[test]
    fn exif_orientation_turns_the_photo_upright() {
        // Red on the left, blue on the right; orientation 6 wants a quarter turn clockwise.
        let pixels: Vec<u8> = (0..16)
            .flat_map(|_| [[255, 0, 0].repeat(16), [0, 0, 255].repeat(16)].concat())
            .collect();
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let mut jpeg = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, 95);
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder
            .write_image(&pixels, 32, 16, ExtendedColorType::Rgb8)
            .unwrap();

        let photo = Photo::decode(&jpeg).unwrap();
        assert_eq!((photo.width(), photo.height()), (16, 32));
        let (top, bottom) = (&photo.rgb[..3], &photo.rgb[photo.rgb.len() - 3..]);
        assert!(top[0] > 240 && top[2] < 15, "the top is {top:?}");
        assert!(
            bottom[0] < 15 && bottom[2] > 240,
            "the bottom is {bottom:?}"
        );
        assert_eq!(photo.pixels().unwrap().width(), 16);
    }

    #[test]
    fn what_was_found_instead_of_a_photo_is_said() {
        assert!(refused(b"").contains("nothing (0 bytes)"));
        assert!(refused(b"GIF89a......").contains("found a Gif image"));
        assert!(refused(b"\0\0\0\x18ftypheic....").contains("HEIC"));
        assert!(refused(b"hello, world").contains("12 bytes of an unknown format"));
        assert!(refused(&vec![0xFF; MAX_PHOTO_BYTES + 1]).contains("at most"));
    }

    #[test]
    fn a_header_that_promises_too_much_is_refused_before_decoding() {
        let mut bytes = png(&[0; 3], 1, 1, ExtendedColorType::Rgb8);
        // IHDR: length, type, width, height, five bytes, CRC.
        bytes[16..20].copy_from_slice(&16_000u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&16_000u32.to_be_bytes());
        let checksum = crc32fast::hash(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&checksum);
        assert!(refused(&bytes).contains("16000x16000"));
    }

    #[test]
    fn a_photo_cut_short_is_refused() {
        let frame = Frame::from_rgb(64, 48, sample::rgb(64, 48)).unwrap();
        for codec in [
            PhotoCodec::Jpeg(80),
            PhotoCodec::WebP(80),
            PhotoCodec::Png,
            PhotoCodec::WebPLossless,
        ] {
            let bytes = frame.encode(codec).unwrap();
            assert!(Photo::decode(&bytes).is_ok());
            for length in [bytes.len() / 2, bytes.len() * 9 / 10] {
                let message = refused(&bytes[..length]);
                assert!(message.contains("image that"), "{codec:?}: {message}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn damaged_photos_never_panic(
            codec in prop::sample::select(
                &[
                    PhotoCodec::Jpeg(60),
                    PhotoCodec::WebP(60),
                    PhotoCodec::Png,
                    PhotoCodec::WebPLossless,
                ][..],
            ),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            length in any::<prop::sample::Index>(),
        ) {
            let frame = Frame::from_rgb(24, 16, sample::rgb(24, 16)).unwrap();
            let mut bytes = frame.encode(codec).unwrap();
            for (index, value) in damage {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(length.index(bytes.len()) + 1);
            if let Ok(photo) = Photo::decode(&bytes) {
                prop_assert_eq!(photo.rgb.len(), photo.width * photo.height * 3);
            }
        }
    }
}
