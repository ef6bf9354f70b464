//! The lossless last stage: bit planes to fewer bytes, and back into a buffer of known size.
//!
//! The decoder knows from the cut how many bytes must come out, so a payload that claims anything
//! else is refused before a buffer is made, and no payload can make one grow.

use std::borrow::Cow;
use std::fmt;

use lz4_flex::block as lz4;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::schedule::Codec;
use crate::{Error, ErrorKind, Result};

/// zstd's default: on the ReLU maps of `benches/pack.rs` level 9 saves 2 to 4 % for 3 to 6 times the
/// time.
const ZSTD_LEVEL: i32 = 3;
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// Bits of the frame header descriptor that stay zero: unused, reserved, checksum, dictionary.
const ZSTD_FORBIDDEN_BITS: u8 = 0b0001_1111;
/// Bit of the frame header descriptor: the window is the content, its descriptor is left out.
const ZSTD_SINGLE_SEGMENT: u8 = 0b0010_0000;
/// Window descriptor of 8 MiB, which every decoder must support (RFC 8878, 3.1.1.1.2).
const ZSTD_MAX_WINDOW: u8 = 13 << 3;

/// The encoding side, with the buffers and the zstd context that it keeps between calls.
#[derive(Default)]
pub(super) struct Encoder {
    zstd: Option<Compressor<'static>>,
    coded: Vec<u8>,
}

impl Encoder {
    /// `plain` as `codec` writes it, whether or not that is smaller.
    pub(super) fn encode<'a>(&'a mut self, codec: Codec, plain: &'a [u8]) -> Result<&'a [u8]> {
        let written = match codec {
            Codec::Raw => return Ok(plain),
            Codec::Lz4 => {
                self.reserve(lz4::get_maximum_output_size(plain.len()));
                lz4::compress_into(plain, &mut self.coded).map_err(|e| failed(codec, e))?
            }
            Codec::Zstd => {
                self.reserve(zstd_safe::compress_bound(plain.len()));
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => none.insert(Compressor::new(ZSTD_LEVEL).map_err(|e| failed(codec, e))?),
                };
                zstd.compress_to_buffer(plain, self.coded.as_mut_slice())
                    .map_err(|e| failed(codec, e))?
            }
        };
        Ok(&self.coded[..written])
    }

    fn reserve(&mut self, bytes: usize) {
        if self.coded.len() < bytes {
            self.coded.resize(bytes, 0);
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// The `plain_bytes` bytes that `payload` stands for, or [`ErrorKind::InvalidActivation`].
///
/// Allocates `plain_bytes`, and for zstd a decoding context (about 160 kB).
pub(super) fn decode(codec: Codec, payload: &[u8], plain_bytes: usize) -> Result<Cow<'_, [u8]>> {
    let (plain, written) = match codec {
        Codec::Raw => (Cow::Borrowed(payload), payload.len()),
        Codec::Lz4 => {
            let mut plain = vec![0; plain_bytes];
            let written = lz4::decompress_into(payload, &mut plain)
                .map_err(|e| invalid(format!("not an LZ4 block of {plain_bytes} bytes: {e}")))?;
            (Cow::Owned(plain), written)
        }
        Codec::Zstd => {
            check_zstd_frame(payload, plain_bytes)?;
            let mut plain = vec![0; plain_bytes];
            let written = Decompressor::new()
                .and_then(|mut zstd| zstd.decompress_to_buffer(payload, plain.as_mut_slice()))
                .map_err(|e| invalid(format!("not a zstd frame of {plain_bytes} bytes: {e}")))?;
            (Cow::Owned(plain), written)
        }
    };
    if written != plain_bytes {
        return Err(invalid(format!(
            "the {codec} payload holds {written} bytes, expected {plain_bytes}"
        )));
    }
    Ok(plain)
}

/// Accepts one frame that fills `payload`, says that its content has `content_bytes`, has a small
/// window, and neither dictionary nor checksum (RFC 8878, 3.1.1.1).
fn check_zstd_frame(payload: &[u8], content_bytes: usize) -> Result<()> {
    let Some((&ZSTD_MAGIC, &[descriptor, window, ..])) = payload.split_first_chunk() else {
        return Err(invalid("the payload does not begin with a zstd frame"));
    };
    if descriptor & ZSTD_FORBIDDEN_BITS != 0 {
        return Err(invalid(
            "the zstd frame has a dictionary, a checksum or reserved bits",
        ));
    }
    if descriptor & ZSTD_SINGLE_SEGMENT == 0 && window > ZSTD_MAX_WINDOW {
        return Err(invalid("the zstd frame has a window of more than 8 MiB"));
    }
    match zstd_safe::get_frame_content_size(payload) {
        Ok(Some(bytes)) if usize::try_from(bytes) == Ok(content_bytes) => {}
        Ok(Some(bytes)) => {
            return Err(invalid(format!(
                "the zstd frame holds {bytes} bytes, expected {content_bytes}"
            )));
        }
        Ok(None) | Err(_) => {
            return Err(invalid("the zstd frame does not say how much it holds"));
        }
    }
    if zstd_safe::find_frame_compressed_size(payload).ok() != Some(payload.len()) {
        return Err(invalid("the payload is not one whole zstd frame"));
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidActivation, message)
}

fn failed(codec: Codec, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(
        ErrorKind::Internal,
        format!("{codec} could not encode an activation; use another codec"),
        source,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // pseudo-random bits are cut to size

    use super::*;

    /// Bytes with runs, as bit planes have them.
    fn sample(bytes: usize) -> Vec<u8> {
        (0..bytes)
            .map(|i| if i % 97 < 80 { 0 } else { (i * 31 % 251) as u8 })
            .collect()
    }

    fn zstd_frame(plain: &[u8]) -> Vec<u8> {
        Encoder::default()
            .encode(Codec::Zstd, plain)
            .unwrap()
            .to_vec()
    }

    /// A frame with a header of its own and one run-length block of `run` bytes (at most 128 KiB).
    fn rle_frame(header: &[u8], run: u32) -> Vec<u8> {
        let block = (run << 3 | 1 << 1 | 1).to_le_bytes();
        [&ZSTD_MAGIC, header, &block[..3], &[0]].concat()
    }

    fn refusal(codec: Codec, payload: &[u8], plain_bytes: usize) -> String {
        let error = decode(codec, payload, plain_bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidActivation);
        error.to_string()
    }

    #[test]
    fn what_is_encoded_decodes_and_is_smaller() {
        let mut encoder = Encoder::default();
        for &codec in &[Codec::Lz4, Codec::Zstd] {
            // From long to short, so that the buffer holds leftovers; 6 MiB needs a real window.
            for bytes in [6 << 20, 5000, 200] {
                let plain = sample(bytes);
                let coded = encoder.encode(codec, &plain).unwrap().to_vec();
                assert!(coded.len() < plain.len());
                assert_eq!(decode(codec, &coded, bytes).unwrap(), plain);
            }
        }
    }

    #[test]
    fn every_other_size_than_the_expected_is_refused() {
        let plain = sample(3000);
        for &codec in Codec::ALL {
            let mut encoder = Encoder::default();
            let coded = encoder.encode(codec, &plain).unwrap();
            for wrong in [0, 1, 2999, 3001, 1 << 20] {
                refusal(codec, coded, wrong);
            }
            assert_eq!(decode(codec, coded, 3000).unwrap(), plain);
        }
    }

    #[test]
    fn lz4_that_runs_past_its_buffer_is_refused() {
        // One literal, then a match of a length that goes on and on.
        let bomb = [&[0x1F, 0, 1, 0][..], &[0xFF; 4000], &[0]].concat();
        refusal(Codec::Lz4, &bomb, 1000);
        // A match that begins before the output does.
        refusal(Codec::Lz4, &[0x10, 0, 9, 0], 100);
        refusal(Codec::Lz4, &[], 1);
    }

    #[test]
    fn zstd_frames_that_lie_about_their_size_are_refused() {
        // Content sizes of eight bytes in single-segment frames.
        let header = |size: u64| [&[0xE0][..], &size.to_le_bytes()].concat();
        assert_eq!(
            decode(Codec::Zstd, &rle_frame(&header(1000), 1000), 1000).unwrap(),
            vec![0; 1000]
        );
        let message = refusal(Codec::Zstd, &rle_frame(&header(1 << 62), 1000), 1000);
        assert!(message.contains("4611686018427387904"), "{message}");
        refusal(Codec::Zstd, &rle_frame(&header(1000), 100_000), 1000);
        refusal(Codec::Zstd, &rle_frame(&header(1000), 10), 1000);
        // No content size at all: a window descriptor follows instead.
        let message = refusal(Codec::Zstd, &rle_frame(&[0, 0], 1000), 1000);
        assert!(message.contains("does not say"), "{message}");
    }

    #[test]
    fn zstd_windows_checksums_and_dictionaries_are_refused() {
        // Two-byte content size (less 256), and a window.
        let frame = |descriptor, window| rle_frame(&[descriptor, window, 0xE8, 0], 488);
        assert!(decode(Codec::Zstd, &frame(0x40, 13 << 3), 488).is_ok());
        assert!(refusal(Codec::Zstd, &frame(0x40, (13 << 3) + 1), 488).contains("8 MiB"));
        assert!(refusal(Codec::Zstd, &frame(0x40, 0xFF), 488).contains("8 MiB"));
        for forbidden in [1, 2, 3, 4, 8, 16] {
            let message = refusal(Codec::Zstd, &frame(0x40 | forbidden, 0), 488);
            assert!(message.contains("dictionary"), "{message}");
        }
    }

    #[test]
    fn only_one_zstd_frame_is_accepted() {
        let plain = sample(1000);
        let frame = zstd_frame(&plain);
        let skippable = [&0x184D_2A50_u32.to_le_bytes()[..], &[4, 0, 0, 0], &[0; 4]].concat();
        let empty = [&ZSTD_MAGIC[..], &[0x20, 0, 1, 0, 0]].concat();
        for trailing in [&frame, &skippable, &empty, &vec![0]] {
            refusal(Codec::Zstd, &[&frame[..], trailing].concat(), 1000);
        }
        refusal(Codec::Zstd, &[&skippable[..], &frame].concat(), 1000);
        refusal(Codec::Zstd, &[&empty[..], &frame].concat(), 1000);
        for end in 0..frame.len() {
            refusal(Codec::Zstd, &frame[..end], 1000);
        }
    }
}
