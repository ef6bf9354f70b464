//! Codecs: how a tensor on its grid of levels becomes bytes, and back into a buffer of known size.
//!
//! Two kinds share one trait: those of the paper, which shuffle the codes into bit planes and hand
//! them to a codec of bytes (`planes.rs` with `lz4.rs` and `zstd.rs`), and the project's own entropy
//! coder, which reads the codes as the picture that they are (`context.rs`).

mod context;
mod lz4;
mod planes;
mod zstd;

use super::quantise::Quantiser;
use crate::schedule::Codec;
use crate::{Error, ErrorKind, Result};

/// What the elements of a tensor may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grid {
    /// Any f32.
    Raw,
    /// The levels of a quantiser.
    Levels(Quantiser),
}

/// What both sides know of a tensor before its payload is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// Dimensions, outermost first.
    pub(super) shape: &'a [usize],
    pub(super) grid: Grid,
}

/// A way to write the elements of a tensor.
pub(super) trait TensorCodec {
    /// Appends `values`, one for each element of the frame and finite where it has levels.
    ///
    /// May write more than no codec would have; the caller looks at the length.
    fn encode(&mut self, frame: &Frame<'_>, values: &[f32], payload: &mut Vec<u8>) -> Result<()>;

    /// Inverse of [`encode`](Self::encode) but for the rounding to levels: fills `values`.
    ///
    /// Allocates no more than the values take, whatever the payload says. Fails with
    /// [`ErrorKind::InvalidActivation`] if it is not what an encoder writes.
    fn decode(&mut self, frame: &Frame<'_>, payload: &[u8], values: &mut [f32]) -> Result<()>;
}

/// Every codec, with the memory that it keeps between tensors; unused ones hold none.
#[derive(Debug, Default)]
pub(super) struct Codecs {
    raw: planes::Planes<planes::Plain>,
    lz4: planes::Planes<lz4::Lz4>,
    zstd: planes::Planes<zstd::Zstd>,
    context: context::Context,
}

impl Codecs {
    /// Lets up to this many cores work on one large tensor.
    pub(super) fn set_threads(&mut self, threads: usize) {
        self.context.set_threads(threads);
    }

    pub(super) fn get(&mut self, codec: Codec) -> &mut dyn TensorCodec {
        match codec {
            Codec::Raw => &mut self.raw,
            Codec::Lz4 => &mut self.lz4,
            Codec::Zstd => &mut self.zstd,
            // What is shaped is written as what is not.
            Codec::Context | Codec::Shaped => &mut self.context,
        }
    }
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

    use super::planes::{ByteCodec, Plain};
    use super::{lz4::Lz4, zstd::Zstd};
    use crate::ErrorKind;

    /// Bytes with runs, as bit planes have them.
    fn sample(bytes: usize) -> Vec<u8> {
        (0..bytes)
            .map(|i| if i % 97 < 80 { 0 } else { (i * 31 % 251) as u8 })
            .collect()
    }

    fn check(codec: &mut impl ByteCodec, smaller: bool) {
        // From long to short, so that buffers hold leftovers; 6 MiB needs a real window.
        for bytes in [6 << 20, 5000, 200] {
            let plain = sample(bytes);
            let mut payload = vec![1, 2];
            codec.encode(&plain, &mut payload).unwrap();
            let payload = &payload[2..];
            assert!(!smaller || payload.len() < plain.len());
            let mut back = vec![9; bytes];
            codec.decode(payload, &mut back).unwrap();
            assert_eq!(back, plain);
            for wrong in [0, 1, bytes - 1, bytes + 1, 1 << 20] {
                let error = codec.decode(payload, &mut vec![0; wrong]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidActivation);
            }
        }
    }

    #[test]
    fn what_is_encoded_decodes_and_every_other_size_is_refused() {
        check(&mut Plain, false);
        check(&mut Lz4::default(), true);
        check(&mut Zstd::default(), true);
    }
}
