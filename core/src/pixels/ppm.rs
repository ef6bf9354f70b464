//! PPM: the pixels of a staged photo as they are, behind the one line that names their size.
//!
//! Only the form that is written here is read: `P6`, width and height, 255, each followed by one
//! newline or space, then three bytes a pixel and nothing else.

use super::Frame;
use crate::{Error, ErrorKind, Result};

/// What every PPM of this form begins with.
const MAGIC: &[u8] = b"P6\n";

/// The frame as PPM.
pub(super) fn encode(frame: &Frame) -> Vec<u8> {
    let mut bytes = header(frame.width(), frame.height());
    bytes.extend_from_slice(frame.rgb());
    bytes
}

/// Whether `bytes` claim to be PPM.
pub(super) fn is_ppm(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The pixels of a PPM that has to be of this size.
///
/// Fails with [`ErrorKind::InvalidImage`] if it is of another, or not of the form that is written.
pub(super) fn decode(bytes: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidImage, what);
    let header = header(width, height);
    let rgb = bytes.strip_prefix(header.as_slice()).ok_or_else(|| {
        invalid(format!(
            "a PPM must begin with 'P6', {width} {height} and 255 on lines of their own: the model \
             takes photos staged to that size"
        ))
    })?;
    let expected = width.saturating_mul(height).saturating_mul(3);
    if rgb.len() != expected {
        return Err(invalid(format!(
            "a PPM of {width}x{height} pixels holds {expected} bytes of them, this one {}",
            rgb.len()
        )));
    }
    Ok(rgb.to_vec())
}

fn header(width: usize, height: usize) -> Vec<u8> {
    format!("P6\n{width} {height}\n255\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let rgb = (0..2 * 3 * 3)
            .map(|i| u8::try_from(i * 14).unwrap())
            .collect();
        Frame::from_rgb(3, 2, rgb).unwrap()
    }

    #[test]
    fn pixels_survive() {
        let bytes = encode(&frame());
        assert!(is_ppm(&bytes));
        assert_eq!(decode(&bytes, 3, 2).unwrap(), frame().rgb());
    }

    #[test]
    fn only_exactly_that_form_is_read() {
        let good = encode(&frame());
        let mut long = good.clone();
        long.push(0);
        let spaced = [b"P6\n 3 2\n255\n", frame().rgb()].concat();
        for (bad, width, height) in [
            (&good[..], 2, 3),
            (&good[..good.len() - 1], 3, 2),
            (&long, 3, 2),
            (&spaced, 3, 2),
            (b"P6\n", 3, 2),
            (b"", 0, 0),
            (&good, usize::MAX, usize::MAX),
        ] {
            let error = decode(bad, width, height).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidImage);
        }
    }
}
