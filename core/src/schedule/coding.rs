//! How long it takes to make and to read messages: measured once on a reference machine, then
//! corrected by each codec's own times.

use super::plan::{Codec, PhotoCodec, Plan, Precision};
use super::steady::Steady;

/// Milliseconds for a million elements to be packed and unpacked on one core of the reference machine
/// (an AMD EPYC at about 3 GHz, `dyno bench pack`, cuts of three classifiers).
const SPEEDS_MS_PER_MILLION: [(f64, f64); CODECS] = [
    (0.8, 0.7),   // raw
    (1.4, 0.9),   // lz4
    (4.5, 1.3),   // zstd
    (13.0, 18.0), // context
    (15.0, 18.0), // shaped
    (1.1, 0.4),   // fp32, raw
    (6.2, 5.7),   // fp32, lz4
    (16.0, 4.5),  // fp32, zstd
    (5.5, 1.8),   // JPEG
    (76.0, 7.5),  // lossy WebP
    (3.2, 4.6),   // lossless WebP
    (12.0, 5.0),  // PNG
    (0.2, 0.2),   // PPM
];
const CODECS: usize = 13;

/// The codec of a plan, as a row of the table; none for a plan that sends nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CodecRow(usize);

impl CodecRow {
    pub(super) const fn of(plan: &Plan) -> Option<Self> {
        let row = match *plan {
            Plan::Device => return None,
            Plan::Split {
                precision: Precision::Levels(_),
                codec,
                ..
            } => match codec {
                Codec::Raw => 0,
                Codec::Lz4 => 1,
                Codec::Zstd => 2,
                Codec::Context => 3,
                Codec::Shaped => 4,
            },
            Plan::Split {
                precision: Precision::Raw,
                codec,
                ..
            } => match codec {
                // What the coders of levels cannot write is sent raw.
                Codec::Raw | Codec::Context | Codec::Shaped => 5,
                Codec::Lz4 => 6,
                Codec::Zstd => 7,
            },
            Plan::Photo(codec) => match codec {
                PhotoCodec::Jpeg(_) => 8,
                PhotoCodec::WebP(_) => 9,
                PhotoCodec::WebPLossless => 10,
                PhotoCodec::Png => 11,
                PhotoCodec::Ppm => 12,
            },
        };
        Some(Self(row))
    }
}

/// Reference times of one plan's message, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct ReferenceTimes {
    pub(super) pack_ms: f64,
    pub(super) unpack_ms: f64,
}

/// Times of a message of `elements`, on the reference machine.
pub(super) fn reference(row: Option<CodecRow>, elements: usize) -> ReferenceTimes {
    let Some((pack, unpack)) = row.and_then(|row| SPEEDS_MS_PER_MILLION.get(row.0)) else {
        return ReferenceTimes::default();
    };
    let millions = elements as f64 / 1e6;
    ReferenceTimes {
        pack_ms: millions * pack,
        unpack_ms: millions * unpack,
    }
}

/// How many times as long as the reference the codecs take, beyond what the machine's own factor
/// says: another processor favours other codecs.
#[derive(Debug, Clone)]
pub(super) struct Coding {
    pack: [Steady; CODECS],
    unpack: [Steady; CODECS],
}

impl Coding {
    pub(super) fn new() -> Self {
        Self {
            pack: std::array::from_fn(|_| Steady::new(1.0)),
            unpack: std::array::from_fn(|_| Steady::new(1.0)),
        }
    }

    pub(super) fn pack_correction(&self, row: CodecRow) -> f64 {
        self.pack.get(row.0).map_or(1.0, Steady::get)
    }

    pub(super) fn unpack_correction(&self, row: CodecRow) -> f64 {
        self.unpack.get(row.0).map_or(1.0, Steady::get)
    }

    /// The least of all corrections of packing, and of unpacking.
    pub(super) fn least_corrections(&self) -> (f64, f64) {
        let least = |all: &[Steady]| all.iter().map(Steady::get).fold(f64::INFINITY, f64::min);
        (least(&self.pack), least(&self.unpack))
    }

    /// Learns that packing took `share` times the reference times the machine's factor.
    pub(super) fn observe_pack(&mut self, row: CodecRow, share: f64) {
        if let Some(correction) = self.pack.get_mut(row.0) {
            correction.observe(share);
        }
    }

    pub(super) fn observe_unpack(&mut self, row: CodecRow, share: f64) {
        if let Some(correction) = self.unpack.get_mut(row.0) {
            correction.observe(share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Levels;

    fn split(precision: Precision, codec: Codec) -> Plan {
        Plan::Split {
            cut: 1,
            precision,
            codec,
        }
    }

    #[test]
    fn every_codec_has_a_row_of_its_own() {
        let eight = Precision::Levels(Levels::EIGHT_BITS);
        let mut rows: Vec<usize> = [
            Plan::Photo(PhotoCodec::Jpeg(90)),
            Plan::Photo(PhotoCodec::WebP(90)),
            Plan::Photo(PhotoCodec::WebPLossless),
            Plan::Photo(PhotoCodec::Png),
            Plan::Photo(PhotoCodec::Ppm),
        ]
        .into_iter()
        .chain(Codec::ALL.iter().map(|&codec| split(eight, codec)))
        .chain([Codec::Raw, Codec::Lz4, Codec::Zstd].map(|codec| split(Precision::Raw, codec)))
        .map(|plan| CodecRow::of(&plan).unwrap().0)
        .collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..CODECS).collect::<Vec<_>>());
        assert_eq!(CodecRow::of(&Plan::Device), None);
    }

    #[test]
    fn one_codec_that_is_slow_here_says_nothing_of_the_others() {
        let mut coding = Coding::new();
        let webp = CodecRow::of(&Plan::Photo(PhotoCodec::WebP(75))).unwrap();
        let jpeg = CodecRow::of(&Plan::Photo(PhotoCodec::Jpeg(75))).unwrap();
        coding.observe_pack(webp, 3.0);
        assert!((coding.pack_correction(webp) - 3.0).abs() < 1e-9);
        assert!((coding.pack_correction(jpeg) - 1.0).abs() < 1e-9);
        assert!((coding.unpack_correction(webp) - 1.0).abs() < 1e-9);
    }
}
