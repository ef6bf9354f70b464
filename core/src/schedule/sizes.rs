//! How many bytes a plan sends: what calibration measured or the shape suggests, corrected by what
//! was really sent.

use std::collections::HashMap;

use super::ewma::Ewma;
use super::plan::{Codec, PhotoCodec, Plan, Precision};
use crate::bundle::{Cut, Manifest};

/// Weight of the newest message in its cut's correction.
const WEIGHT: f64 = 0.2;
/// Share of quantised elements that a codec is assumed to leave.
const CODED_SHARE: f64 = 0.5;
/// Share of fp32 elements that a codec is assumed to leave: mantissas do not compress.
const CODED_RAW_SHARE: f64 = 0.9;
/// The same of pixels at 256 levels, by lz4 and by zstd: what 200 photos of 224x224 pixels took.
const LZ4_PIXELS_SHARE: f64 = 0.85;
const ZSTD_PIXELS_SHARE: f64 = 0.77;
/// Share of RGB bytes that a JPEG, a lossy WebP and a lossless picture are assumed to leave: what 200
/// photos of 224x224 pixels took at quality 90, a little rounded up, and without loss.
const JPEG_SHARE: f64 = 0.16;
const WEBP_SHARE: f64 = 0.12;
const LOSSLESS_SHARE: f64 = 0.6;

/// Bytes of every plan of one bundle.
#[derive(Debug, Clone)]
pub struct Sizes {
    elements: Vec<usize>,
    input_elements: usize,
    expected: HashMap<Plan, f64>,
    /// Bytes really sent over bytes expected, one for each cut, the photo's at cut 0. What crosses a
    /// cut is busier than expected at every precision alike.
    corrections: Vec<Ewma>,
}

impl Sizes {
    /// Sizes of which nothing is known but the cut table.
    pub fn new(manifest: &Manifest) -> Self {
        Self {
            elements: manifest.cuts.iter().map(Cut::elements).collect(),
            input_elements: manifest.input.elements(),
            expected: HashMap::new(),
            corrections: vec![Ewma::new(1.0, WEIGHT); manifest.cuts.len().max(1)],
        }
    }

    /// Expects messages of `bytes` for `plan`: what calibration measured.
    pub fn expect(&mut self, plan: &Plan, bytes: f64) {
        self.expected.insert(*plan, bytes);
    }

    /// Expected bytes of the body that `plan` sends; 0 for a plan that sends nothing.
    pub fn bytes(&self, plan: &Plan) -> usize {
        let correction = self.correction_at(corrected_by(plan));
        whole_bytes(self.uncorrected(plan) * correction)
    }

    /// Learns from a message of `bytes`.
    pub fn observe(&mut self, plan: &Plan, bytes: usize) {
        let expected = self.uncorrected(plan);
        if let Some(correction) = corrected_by(plan).and_then(|cut| self.corrections.get_mut(cut))
            && expected > 0.0
        {
            correction.observe(bytes as f64 / expected);
        }
    }

    /// What is expected before any correction.
    pub(super) fn uncorrected(&self, plan: &Plan) -> f64 {
        let measured = self.expected.get(plan).copied();
        measured.unwrap_or_else(|| uncoded_bytes(plan, self.elements(plan)) * assumed_share(plan))
    }

    /// What bytes that are corrected by a cut's messages are multiplied by after what was learnt; 1 for none.
    pub(super) fn correction_at(&self, corrected_by: Option<usize>) -> f64 {
        corrected_by
            .and_then(|cut| self.corrections.get(cut))
            .map_or(1.0, Ewma::get)
    }

    /// Elements of what `plan` sends.
    pub(super) fn elements(&self, plan: &Plan) -> usize {
        match plan {
            Plan::Device => 0,
            Plan::Split { cut, .. } => self.elements.get(*cut).copied().unwrap_or(0),
            Plan::Photo(_) => self.input_elements,
        }
    }
}

/// The cut by whose correction a plan's bytes are multiplied; none for what its shape says exactly.
pub(super) fn corrected_by(plan: &Plan) -> Option<usize> {
    match *plan {
        Plan::Device | Plan::Photo(PhotoCodec::Ppm) => None,
        Plan::Split {
            codec, precision, ..
        } if codec == Codec::Raw || !codec.can_code(precision) => None,
        Plan::Split { cut, .. } => Some(cut),
        Plan::Photo(_) => Some(0),
    }
}

/// Bytes are whole.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a tensor's bytes: not negative, and far below 2^53"
)]
pub(super) fn whole_bytes(bytes: f64) -> usize {
    // Not `ceil`, which is a call into the C library on x86-64 as it is built for by default, five times as long.
    let begun = bytes as usize;
    begun.saturating_add(usize::from((begun as f64) < bytes))
}

fn uncoded_bytes(plan: &Plan, elements: usize) -> f64 {
    let bits = match plan {
        Plan::Split {
            precision: Precision::Raw,
            ..
        } => 32,
        Plan::Split {
            precision: Precision::Levels(levels),
            ..
        } => levels.bits(),
        Plan::Photo(_) => 8,
        Plan::Device => 0,
    };
    elements as f64 * f64::from(bits) / 8.0
}

fn assumed_share(plan: &Plan) -> f64 {
    match plan {
        Plan::Device
        | Plan::Photo(PhotoCodec::Ppm)
        | Plan::Split {
            codec: Codec::Raw, ..
        } => 1.0,
        Plan::Split {
            precision: Precision::Raw,
            ..
        } => CODED_RAW_SHARE,
        Plan::Split {
            cut: 0,
            codec: Codec::Lz4,
            ..
        } => LZ4_PIXELS_SHARE,
        Plan::Split {
            cut: 0,
            codec: Codec::Zstd,
            ..
        } => ZSTD_PIXELS_SHARE,
        Plan::Split { .. } => CODED_SHARE,
        Plan::Photo(PhotoCodec::Jpeg(_)) => JPEG_SHARE,
        Plan::Photo(PhotoCodec::WebP(_)) => WEBP_SHARE,
        Plan::Photo(PhotoCodec::Png | PhotoCodec::WebPLossless) => LOSSLESS_SHARE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Levels;
    use crate::schedule::fixtures::manifest;

    fn split(cut: usize, precision: Precision, codec: Codec) -> Plan {
        Plan::Split {
            cut,
            precision,
            codec,
        }
    }

    const EIGHT: Precision = Precision::Levels(Levels::EIGHT_BITS);

    #[test]
    fn before_anything_was_sent_the_shape_decides() {
        let sizes = Sizes::new(&manifest());
        let elements = manifest().cuts[1].elements();
        assert_eq!(sizes.bytes(&split(1, EIGHT, Codec::Zstd)), elements / 2);
        assert_eq!(sizes.bytes(&split(1, EIGHT, Codec::Raw)), elements);
        assert_eq!(
            sizes.bytes(&split(1, Precision::Raw, Codec::Raw)),
            elements * 4
        );
        assert_eq!(sizes.bytes(&Plan::Device), 0);
        let photo = |codec| sizes.bytes(&split(0, EIGHT, codec)) as f64;
        assert!((photo(Codec::Zstd) / photo(Codec::Raw) - 0.77).abs() < 0.01);
    }

    #[test]
    fn what_was_sent_corrects_its_own_cut_at_every_precision() {
        let mut sizes = Sizes::new(&manifest());
        let (first, second) = (split(1, EIGHT, Codec::Zstd), split(2, EIGHT, Codec::Zstd));
        let four = split(1, Precision::Levels(Levels::new(16).unwrap()), Codec::Zstd);
        let (untouched, coarse) = (sizes.bytes(&second), sizes.bytes(&four));
        let sent = sizes.bytes(&first) * 2;
        sizes.observe(&first, sent);
        assert_eq!(sizes.bytes(&first), sent);
        assert_eq!(sizes.bytes(&four), coarse * 2);
        assert_eq!(sizes.bytes(&second), untouched);
    }

    #[test]
    fn what_was_calibrated_is_expected() {
        let mut sizes = Sizes::new(&manifest());
        let plan = split(1, EIGHT, Codec::Zstd);
        sizes.expect(&plan, 2_000.0);
        assert_eq!(sizes.bytes(&plan), 2_000);
        sizes.observe(&plan, 3_000);
        assert_eq!(sizes.bytes(&plan), 3_000);
    }

    #[test]
    fn a_photo_is_learnt_like_a_cut() {
        let mut sizes = Sizes::new(&manifest());
        let photo = Plan::Photo(PhotoCodec::Jpeg(90));
        let prior = sizes.bytes(&photo);
        assert!(prior > 0);
        sizes.observe(&photo, prior * 2);
        assert!(sizes.bytes(&photo).abs_diff(prior * 2) <= 1);
    }
}
