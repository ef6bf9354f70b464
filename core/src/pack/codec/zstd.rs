//! zstd (RFC 8878): one frame, of exactly the expected content.
//!
//! The decoder knows from the cut how many bytes must come out, so a payload that claims anything
//! else is refused before it is decoded, and no payload can make a buffer grow.

use std::fmt;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use super::planes::ByteCodec;
use super::{failed, invalid};
use crate::Result;
use crate::schedule::Codec;

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

/// zstd's contexts (the decoding one takes about 160 kB), made when first used.
#[derive(Default)]
pub(super) struct Zstd {
    compressor: Option<Compressor<'static>>,
    decompressor: Option<Decompressor<'static>>,
    coded: Vec<u8>,
}

impl ByteCodec for Zstd {
    fn encode(&mut self, plain: &[u8], payload: &mut Vec<u8>) -> Result<()> {
        let failed = |e| failed(Codec::Zstd, e);
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(ZSTD_LEVEL).map_err(failed)?),
        };
        let bound = zstd_safe::compress_bound(plain.len());
        self.coded.resize(bound.max(self.coded.len()), 0);
        let written = compressor
            .compress_to_buffer(plain, self.coded.as_mut_slice())
            .map_err(failed)?;
        payload.extend(&self.coded[..written]);
        Ok(())
    }

    fn decode(&mut self, payload: &[u8], plain: &mut [u8]) -> Result<()> {
        check_frame(payload, plain.len())?;
        let expected = plain.len();
        let refused = |e| invalid(format!("not a zstd frame of {expected} bytes: {e}"));
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(refused)?),
        };
        let written = decompressor
            .decompress_to_buffer(payload, plain)
            .map_err(refused)?;
        if written != expected {
            return Err(invalid(format!(
                "the zstd payload holds {written} bytes, expected {expected}"
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd").finish_non_exhaustive()
    }
}

/// Accepts one frame that fills `payload`, says that its content has `content_bytes`, has a small
/// window, and neither dictionary nor checksum (RFC 8878, 3.1.1.1).
fn check_frame(payload: &[u8], content_bytes: usize) -> Result<()> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation)] // pseudo-random bits are cut to size

    use super::*;
    use crate::ErrorKind;

    /// Bytes with runs, as bit planes have them.
    fn sample(bytes: usize) -> Vec<u8> {
        (0..bytes)
            .map(|i| if i % 97 < 80 { 0 } else { (i * 31 % 251) as u8 })
            .collect()
    }

    fn zstd_frame(plain: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        Zstd::default().encode(plain, &mut frame).unwrap();
        frame
    }

    fn decode(payload: &[u8], plain_bytes: usize) -> Result<Vec<u8>> {
        let mut plain = vec![0; plain_bytes];
        Zstd::default().decode(payload, &mut plain)?;
        Ok(plain)
    }

    /// A frame with a header of its own and one run-length block of `run` bytes (at most 128 KiB).
    fn rle_frame(header: &[u8], run: u32) -> Vec<u8> {
        let block = (run << 3 | 1 << 1 | 1).to_le_bytes();
        [&ZSTD_MAGIC, header, &block[..3], &[0]].concat()
    }

    fn refusal(payload: &[u8], plain_bytes: usize) -> String {
        let error = decode(payload, plain_bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidActivation);
        error.to_string()
    }

    #[test]
    fn zstd_frames_that_lie_about_their_size_are_refused() {
        // Content sizes of eight bytes in single-segment frames.
        let header = |size: u64| [&[0xE0][..], &size.to_le_bytes()].concat();
        assert_eq!(
            decode(&rle_frame(&header(1000), 1000), 1000).unwrap(),
            vec![0; 1000]
        );
        let message = refusal(&rle_frame(&header(1 << 62), 1000), 1000);
        assert!(message.contains("4611686018427387904"), "{message}");
        refusal(&rle_frame(&header(1000), 100_000), 1000);
        refusal(&rle_frame(&header(1000), 10), 1000);
        // No content size at all: a window descriptor follows instead.
        let message = refusal(&rle_frame(&[0, 0], 1000), 1000);
        assert!(message.contains("does not say"), "{message}");
    }

    #[test]
    fn zstd_windows_checksums_and_dictionaries_are_refused() {
        // Two-byte content size (less 256), and a window.
        let frame = |descriptor, window| rle_frame(&[descriptor, window, 0xE8, 0], 488);
        assert!(decode(&frame(0x40, 13 << 3), 488).is_ok());
        assert!(refusal(&frame(0x40, (13 << 3) + 1), 488).contains("8 MiB"));
        assert!(refusal(&frame(0x40, 0xFF), 488).contains("8 MiB"));
        for forbidden in [1, 2, 3, 4, 8, 16] {
            let message = refusal(&frame(0x40 | forbidden, 0), 488);
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
            refusal(&[&frame[..], trailing].concat(), 1000);
        }
        refusal(&[&skippable[..], &frame].concat(), 1000);
        refusal(&[&empty[..], &frame].concat(), 1000);
        for end in 0..frame.len() {
            refusal(&frame[..end], 1000);
        }
    }
}
