//! Writes the seeds of the fuzz targets `unpack` and `payload`: activations of the shipped model for
//! its own sample photos. `make fuzz-seeds` runs it.
//!
//! The cuts are those in `fuzz/fuzz_targets/unpack.rs`, the layout of a `payload` seed is that of
//! the target's argument.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyno_core::bundle::{Bundle, Cut};
use dyno_core::pack::Packer;
use dyno_core::pixels::{Frame, Photo};
use dyno_core::runtime::{Activation, Cancel, SpanOptions, SpanStore};
use dyno_core::schedule::{Codec, Levels, Precision};

/// Cut of the shipped model, its place among the cuts of `unpack` and among the shapes of `payload`.
const CUTS: [(usize, usize, u8); 2] = [(24, 5, 7), (25, 6, 8)];
const LEVELS: [u32; 3] = [3, 16, 300];
const PHOTOS: [&str; 2] = ["02_heart.jpg", "15_ring.jpg"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(bundle), Some(photos), Some(out)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: fuzz_seeds BUNDLE PHOTOS OUT".into());
    };
    let bundle = Arc::new(Bundle::open(&bundle)?);
    let options = SpanOptions {
        threads: 1,
        capacity: 1,
    };
    let spans = SpanStore::new(bundle.clone(), options)?;
    let preprocess = &bundle.manifest().preprocess;
    for photo in PHOTOS {
        let name = photo.trim_end_matches(".jpg");
        let photo = Photo::decode(&std::fs::read(photos.join(photo))?)?;
        let input = Frame::stage(&photo.pixels()?, preprocess)?.to_tensor(preprocess)?;
        for (index, target_cut, target_shape) in CUTS {
            let input = Activation::new(0, vec![input.clone()]);
            let head = spans.run(input, index, &Cancel::new())?.output;
            let cut = Cut {
                index: target_cut,
                ..bundle.cut(index)?.clone()
            };
            for levels in LEVELS {
                for &codec in Codec::ALL {
                    let precision = Precision::Levels(Levels::new(levels)?);
                    let message =
                        Packer::default().pack(&cut, &head.as_f32()?, precision, codec)?;
                    let file = format!("{name}-{index}-{levels}-levels-{codec}");
                    write(&out, &file, &message, target_shape)?;
                }
            }
        }
    }
    Ok(())
}

fn write(out: &Path, file: &str, message: &[u8], target_shape: u8) -> std::io::Result<()> {
    const CONTEXT: u8 = 3;
    let (body, _crc) = message.split_last_chunk::<4>().unwrap();
    std::fs::write(out.join("unpack").join(file), body)?;
    let (row, payload) = body[8..].split_at(20);
    if row[0] == CONTEXT {
        let lo = f32::from_le_bytes(row[4..8].try_into().unwrap());
        let mut seed = vec![target_shape, row[2], row[3]];
        // Some code of 0.0 for a signed tensor, or none.
        seed.extend(if lo < 0.0 { &[1, 1, 0][..] } else { &[0] });
        seed.extend(payload);
        std::fs::write(out.join("payload").join(file), seed)?;
    }
    Ok(())
}
