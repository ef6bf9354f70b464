//! How many bytes a plan sends, and how long it takes to make and to read them: assumed at first,
//! then learnt from what was really sent.

use super::ewma::Ewma;
use super::plan::{Codec, PhotoCodec, Plan, Precision};
use crate::bundle::Manifest;

/// Weight of the newest message.
const WEIGHT: f64 = 0.3;
/// Share of quantised elements that a codec is assumed to leave.
const CODED_SHARE: f64 = 0.5;
/// Share of fp32 elements that a codec is assumed to leave: mantissas do not compress.
const CODED_RAW_SHARE: f64 = 0.9;
/// Share of RGB bytes that a JPEG, a lossy WebP and a lossless picture are assumed to leave: what 200
/// photos of 224x224 pixels took at quality 90, a little rounded up, and without loss.
const JPEG_SHARE: f64 = 0.16;
const WEBP_SHARE: f64 = 0.12;
const LOSSLESS_SHARE: f64 = 0.6;
/// Milliseconds for a million elements to be packed on a phone, and unpacked on a server.
const PACK_MS_PER_MILLION: f64 = 10.0;
const UNPACK_MS_PER_MILLION: f64 = 5.0;

/// Bytes and coding times of every plan of one bundle.
#[derive(Debug, Clone)]
pub struct Sizes {
    cuts: Vec<Message>,
    photo: Message,
    activation_coding: Coding,
    photo_coding: Coding,
}

/// What is known of the messages of one plan.
#[derive(Debug, Clone)]
struct Message {
    elements: usize,
    /// Sent bytes as a share of the uncoded ones; none before the first was sent.
    share: Option<Ewma>,
}

/// Speed of making and reading messages, in milliseconds for a million elements.
#[derive(Debug, Clone)]
struct Coding {
    pack: Ewma,
    unpack: Ewma,
}

impl Coding {
    fn new() -> Self {
        Self {
            pack: Ewma::new(PACK_MS_PER_MILLION, WEIGHT),
            unpack: Ewma::new(UNPACK_MS_PER_MILLION, WEIGHT),
        }
    }
}

impl Sizes {
    /// Sizes of which nothing is known but the cut table.
    pub fn new(manifest: &Manifest) -> Self {
        let message = |elements| Message {
            elements,
            share: None,
        };
        Self {
            cuts: manifest
                .cuts
                .iter()
                .map(|cut| message(cut.elements()))
                .collect(),
            photo: message(manifest.input.elements()),
            activation_coding: Coding::new(),
            photo_coding: Coding::new(),
        }
    }

    /// Expects messages of `bytes` for `plan` until some were sent: what calibration measured.
    pub fn expect(&mut self, plan: &Plan, bytes: f64) {
        if let Some(message) = self.message_mut(plan) {
            let share = bytes / uncoded_bytes(plan, message.elements).max(1.0);
            message.share = Some(Ewma::new(share, WEIGHT));
        }
    }

    /// Expected bytes of the body that `plan` sends; 0 for a plan that sends nothing.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a tensor's bytes: not negative, and far below 2^53"
    )]
    pub fn bytes(&self, plan: &Plan) -> usize {
        let Some(message) = self.message(plan) else {
            return 0;
        };
        let share = message
            .share
            .as_ref()
            .map_or_else(|| assumed_share(plan), Ewma::get);
        (uncoded_bytes(plan, message.elements) * share).ceil() as usize
    }

    /// Expected milliseconds to pack the activation or encode the photo.
    pub fn pack_ms(&self, plan: &Plan) -> f64 {
        self.millions(plan) * self.coding(plan).pack.get()
    }

    /// Expected milliseconds for the server to undo that.
    pub fn unpack_ms(&self, plan: &Plan) -> f64 {
        self.millions(plan) * self.coding(plan).unpack.get()
    }

    /// Learns from a message of `bytes` that took `pack_ms` to make.
    pub fn observe_packed(&mut self, plan: &Plan, bytes: usize, pack_ms: f64) {
        if let Some(message) = self.message_mut(plan) {
            let share = bytes as f64 / uncoded_bytes(plan, message.elements).max(1.0);
            message
                .share
                .get_or_insert_with(|| Ewma::new(share, WEIGHT))
                .observe(share);
        }
        let millions = self.millions(plan);
        self.coding_mut(plan).pack.observe(pack_ms / millions);
    }

    /// Learns from a server that took `unpack_ms` to read the message.
    pub fn observe_unpacked(&mut self, plan: &Plan, unpack_ms: f64) {
        let millions = self.millions(plan);
        self.coding_mut(plan).unpack.observe(unpack_ms / millions);
    }

    fn millions(&self, plan: &Plan) -> f64 {
        self.message(plan).map_or(0.0, |m| m.elements as f64 / 1e6)
    }

    fn coding(&self, plan: &Plan) -> &Coding {
        match plan {
            Plan::Photo(_) => &self.photo_coding,
            Plan::Device | Plan::Split { .. } => &self.activation_coding,
        }
    }

    fn coding_mut(&mut self, plan: &Plan) -> &mut Coding {
        match plan {
            Plan::Photo(_) => &mut self.photo_coding,
            Plan::Device | Plan::Split { .. } => &mut self.activation_coding,
        }
    }

    fn message_mut(&mut self, plan: &Plan) -> Option<&mut Message> {
        match plan {
            Plan::Device => None,
            Plan::Split { cut, .. } => self.cuts.get_mut(*cut),
            Plan::Photo(_) => Some(&mut self.photo),
        }
    }

    fn message(&self, plan: &Plan) -> Option<&Message> {
        match plan {
            Plan::Device => None,
            Plan::Split { cut, .. } => self.cuts.get(*cut),
            Plan::Photo(_) => Some(&self.photo),
        }
    }
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
        | Plan::Split {
            codec: Codec::Raw, ..
        } => 1.0,
        Plan::Split {
            precision: Precision::Raw,
            ..
        } => CODED_RAW_SHARE,
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

    #[test]
    fn before_anything_was_sent_the_shape_decides() {
        let sizes = Sizes::new(&manifest());
        let elements = manifest().cuts[1].elements();
        let eight = Precision::Levels(Levels::EIGHT_BITS);
        assert_eq!(sizes.bytes(&split(1, eight, Codec::Zstd)), elements / 2);
        assert_eq!(sizes.bytes(&split(1, eight, Codec::Raw)), elements);
        assert_eq!(
            sizes.bytes(&split(1, Precision::Raw, Codec::Raw)),
            elements * 4
        );
        assert_eq!(sizes.bytes(&Plan::Device), 0);
    }

    #[test]
    fn what_was_sent_corrects_its_own_cut_alone() {
        let mut sizes = Sizes::new(&manifest());
        let eight = Precision::Levels(Levels::EIGHT_BITS);
        let (first, second) = (split(1, eight, Codec::Zstd), split(2, eight, Codec::Zstd));
        let untouched = sizes.bytes(&second);
        sizes.observe_packed(&first, 1_000, 2.5);
        assert_eq!(sizes.bytes(&first), 1_000);
        assert!((sizes.pack_ms(&first) - 2.5).abs() < 1e-9);
        assert_eq!(sizes.bytes(&second), untouched);
    }

    #[test]
    fn what_was_calibrated_is_expected_until_something_was_sent() {
        let mut sizes = Sizes::new(&manifest());
        let plan = split(1, Precision::Levels(Levels::EIGHT_BITS), Codec::Zstd);
        sizes.expect(&plan, 2_000.0);
        assert_eq!(sizes.bytes(&plan), 2_000);
        sizes.observe_packed(&plan, 3_000, 1.0);
        assert_eq!(sizes.bytes(&plan), 3_000);
    }

    #[test]
    fn a_photo_is_learnt_like_a_cut() {
        let mut sizes = Sizes::new(&manifest());
        let photo = Plan::Photo(PhotoCodec::Jpeg(90));
        let prior = sizes.bytes(&photo);
        assert!(prior > 0);
        sizes.observe_packed(&photo, prior * 2, 1.0);
        sizes.observe_unpacked(&photo, 0.5);
        assert!(sizes.bytes(&photo).abs_diff(prior * 2) <= 1);
        assert!((sizes.unpack_ms(&photo) - 0.5).abs() < 1e-9);
    }
}
