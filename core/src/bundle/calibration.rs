//! `calibration.json`: what each precision costs at each cut, in bytes and in answers.
//!
//! Made by [`calibrate`](crate::calibrate), read by the planner. Part of the bundle's hash, so that
//! phone and server hold the same. `docs/calibration.md` says what the numbers mean.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::calibrate::{Doubt, Judgement, Measure};
use crate::pack::Shaping;
use crate::schedule::{Codec, Levels, PhotoCodec, Plan, Precision, Quantisation};
use crate::{Error, ErrorKind, Result};

/// Version of the table's layout.
pub const CALIBRATION_FORMAT: u32 = 2;
/// Most rows of one cut: calibration makes about a hundred. What each may be chosen for is seen from all of them, so that
/// many would keep whoever makes a client of a hostile table busy for hours.
const MAX_ROWS_OF_CUT: usize = 256;
/// Most leads of a row below which answers are in doubt; calibration makes six.
const MAX_DOUBTS: usize = 16;

/// The content of `calibration.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// [`CALIBRATION_FORMAT`].
    pub format: u32,
    /// Photos that were measured.
    pub images: usize,
    /// Photos whose true class was given.
    pub with_truth: usize,
    /// What was compared.
    pub measure: Measure,
    /// What [`Codec::Shaped`] was measured with. A table of an older format has none, and is told by
    /// that.
    #[serde(default)]
    pub shaping: Shaping,
    /// By cut, then from coarse to fine.
    pub rows: Vec<CalibrationRow>,
}

/// One way of sending what crosses one cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationRow {
    /// Index in the cut table.
    pub cut: usize,
    /// What was sent.
    #[serde(flatten)]
    pub sent: Sent,
    /// Photos behind this row. Fewer than the table's where the first ones showed that more would
    /// change nothing; such a row is never chosen unless it is exact.
    pub images: usize,
    /// Bytes with each codec that can carry it.
    pub bytes: Vec<CodecBytes>,
    /// What it does to the answers.
    pub fidelity: Judgement,
    /// What it does to those that lead by enough, by the share that does not; none where too few photos were
    /// measured, or it is exact, or the model is no classifier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<Doubt>,
}

/// Bytes of the messages of one codec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodecBytes {
    /// Name of the codec; with its quality for a photo.
    pub codec: String,
    /// Mean over the photos.
    pub mean: f64,
    /// 95 of 100 messages are no larger.
    pub p95: usize,
}

/// How precisely something is sent, whatever codec then writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "SentText", into = "SentText")]
pub enum Sent {
    /// The tensors of the cut, packed.
    Packed(Quantisation, Precision),
    /// The photo itself, at cut 0.
    Photo(PhotoCodec),
}

/// [`Sent`] as JSON.
#[derive(Serialize, Deserialize)]
struct SentText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    photo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quantisation: Option<Quantisation>,
    levels: Option<u32>,
}

impl From<Sent> for SentText {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Photo(codec) => Self {
                photo: Some(codec.to_string()),
                quantisation: None,
                levels: None,
            },
            Sent::Packed(quantisation, precision) => Self {
                photo: None,
                quantisation: Some(quantisation),
                levels: match precision {
                    Precision::Raw => None,
                    Precision::Levels(levels) => Some(levels.get()),
                },
            },
        }
    }
}

impl TryFrom<SentText> for Sent {
    type Error = Error;

    fn try_from(text: SentText) -> Result<Self> {
        match (text.photo, text.quantisation) {
            (Some(photo), None) => photo.parse().map(Self::Photo),
            (None, Some(quantisation)) => {
                let precision = match text.levels {
                    None => Precision::Raw,
                    Some(levels) => Precision::Levels(Levels::new(levels)?),
                };
                Ok(Self::Packed(quantisation, precision))
            }
            _ => Err(Error::new(
                ErrorKind::InvalidBundle,
                "a row is of a photo or of a quantisation, not of both",
            )),
        }
    }
}

impl Sent {
    /// What `plan` sends; none if it sends nothing.
    pub const fn of(plan: &Plan) -> Option<Self> {
        match *plan {
            Plan::Device => None,
            Plan::Photo(codec) => Some(Self::Photo(codec)),
            Plan::Split {
                precision, codec, ..
            } => Some(Self::Packed(codec.quantisation(), precision)),
        }
    }

    /// Whether nothing is lost: fp32, or a lossless photo.
    pub const fn is_exact(self) -> bool {
        match self {
            Self::Packed(_, precision) => matches!(precision, Precision::Raw),
            Self::Photo(codec) => codec.is_lossless(),
        }
    }

    /// The plans that send this at `cut`, one a codec, with the names that reports use.
    pub fn plans(self, cut: usize) -> Vec<(String, Plan)> {
        match self {
            Self::Photo(codec) => vec![(codec.to_string(), Plan::Photo(codec))],
            Self::Packed(quantisation, precision) => {
                let plan = |codec: Codec| Plan::Split {
                    cut,
                    precision,
                    codec,
                };
                let codecs = quantisation.codecs();
                codecs.map(|c| (c.as_str().to_owned(), plan(c))).collect()
            }
        }
    }
}

/// The cheapest way of sending what crosses a cut that keeps a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Allowed {
    /// What to do.
    pub plan: Plan,
    /// Mean bytes of its messages.
    pub bytes_mean: f64,
    /// 95 of 100 messages are no larger.
    pub bytes_p95: usize,
    /// The upper bound of the loss of accuracy, in percentage points.
    pub max_drop_pp: f64,
}

impl Calibration {
    /// What keeps a loss of `max_drop_pp` percentage points at `cut` in the fewest mean bytes;
    /// nothing if the cut was not measured or nothing keeps it.
    ///
    /// The upper bound of the loss must keep the limit, for the precision and for every finer one
    /// that was measured on all photos: a coarse one that looks better than a finer one was lucky.
    pub fn allowed(&self, cut: usize, max_drop_pp: f64) -> Option<Allowed> {
        self.cheapest(cut, max_drop_pp, |_| true)
    }

    /// The same for a photo at cut 0.
    pub fn allowed_photo(&self, max_drop_pp: f64) -> Option<PhotoCodec> {
        let is_photo = |sent: Sent| matches!(sent, Sent::Photo(_));
        match self.cheapest(0, max_drop_pp, is_photo)?.plan {
            Plan::Photo(codec) => Some(codec),
            Plan::Device | Plan::Split { .. } => None,
        }
    }

    /// Every way of sending what crosses `cut` that keeps a loss of `max_drop_pp` percentage points.
    pub fn all_allowed(&self, cut: usize, max_drop_pp: f64) -> Vec<Allowed> {
        self.keeping(cut, max_drop_pp, |_| true).collect()
    }

    fn cheapest(
        &self,
        cut: usize,
        max_drop_pp: f64,
        wanted: impl Fn(Sent) -> bool,
    ) -> Option<Allowed> {
        self.keeping(cut, max_drop_pp, wanted)
            .min_by(|a, b| a.bytes_mean.total_cmp(&b.bytes_mean))
    }

    fn keeping(
        &self,
        cut: usize,
        max_drop_pp: f64,
        wanted: impl Fn(Sent) -> bool,
    ) -> impl Iterator<Item = Allowed> {
        let rows = self.rows.iter();
        rows.filter(move |row| row.cut == cut && wanted(row.sent))
            .filter_map(|row| Some((row, self.bound_pp(row)?)))
            .filter(move |(_, bound_pp)| *bound_pp <= max_drop_pp)
            .flat_map(|(row, bound_pp)| row.ways(bound_pp))
    }

    /// The upper bound of the loss that a row stands for; none if too little was measured.
    pub(super) fn bound_pp(&self, row: &CalibrationRow) -> Option<f64> {
        if row.sent.is_exact() {
            return Some(0.0);
        }
        let bounds = self.as_fine(row).map(|other| other.fidelity.max_drop_pp());
        (row.images == self.images).then(|| bounds.fold(0.0, f64::max))
    }

    /// The rows of the same cut and kind that were measured on all photos and are as fine as `row` or finer.
    pub(super) fn as_fine<'a>(
        &'a self,
        row: &'a CalibrationRow,
    ) -> impl Iterator<Item = &'a CalibrationRow> {
        self.rows.iter().filter(|other| {
            other.cut == row.cut
                && other.images == self.images
                && fineness(other.sent)
                    .zip(fineness(row.sent))
                    .is_some_and(|((kind, a), (same_kind, b))| kind == same_kind && a >= b)
        })
    }

    /// Fails with [`ErrorKind::InvalidBundle`] if this is no table for the bundle's cuts.
    pub(super) fn check(&self, manifest: &Manifest) -> Result<()> {
        let fits = |row: &CalibrationRow| {
            row.cut < manifest.last_cut()
                && row.images <= self.images
                && row.fidelity.max_drop_pp() >= 0.0
                && row.bytes.iter().all(|b| b.mean.is_finite() && b.mean > 0.0)
                && row.doubts.len() <= MAX_DOUBTS
                && row.doubts.iter().all(Doubt::is_sound)
                && (row.cut == 0 || matches!(row.sent, Sent::Packed(..)))
        };
        if self.format != CALIBRATION_FORMAT
            || !self.has_few_rows(manifest)
            || !self.shaping.fits(&manifest.cuts)
            || !self.rows.iter().all(fits)
        {
            return Err(Error::new(
                ErrorKind::InvalidBundle,
                "its calibration does not fit its cut table: prepare and calibrate it again",
            ));
        }
        Ok(())
    }

    /// Whether no cut has too many rows, or two of the same.
    fn has_few_rows(&self, manifest: &Manifest) -> bool {
        let mut seen = HashSet::new();
        let mut rows_of_cut = vec![0; manifest.cuts.len()];
        self.rows.iter().all(|row| {
            let Some(rows) = rows_of_cut.get_mut(row.cut) else {
                return false;
            };
            *rows += 1;
            *rows <= MAX_ROWS_OF_CUT && seen.insert((row.cut, row.sent))
        })
    }
}

impl CalibrationRow {
    /// One for each codec that this build knows.
    pub(super) fn ways(&self, max_drop_pp: f64) -> impl Iterator<Item = Allowed> {
        let plans = self.sent.plans(self.cut);
        self.bytes.iter().filter_map(move |bytes| {
            let (_, plan) = plans.iter().find(|(name, _)| *name == bytes.codec)?;
            Some(Allowed {
                plan: *plan,
                bytes_mean: bytes.mean,
                bytes_p95: bytes.p95,
                max_drop_pp,
            })
        })
    }
}

/// What kind of sending it is, and how fine within the kind; none where nothing is lost.
fn fineness(sent: Sent) -> Option<((Option<Quantisation>, &'static str), u32)> {
    match sent {
        Sent::Packed(quantisation, Precision::Levels(levels)) => {
            Some(((Some(quantisation), ""), levels.get()))
        }
        Sent::Packed(_, Precision::Raw) => None,
        Sent::Photo(codec) => {
            let quality = codec.quality()?;
            Some(((None, codec.as_str()), quality.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::{flips, manifest, table};

    fn row(cut: usize, levels: Option<u32>, bytes: f64, max_pp: f64) -> CalibrationRow {
        let precision = levels.map_or(Precision::Raw, |l| {
            Precision::Levels(Levels::new(l).unwrap())
        });
        let coded = |codec: Codec, share: f64| CodecBytes {
            codec: codec.as_str().to_owned(),
            mean: bytes * share,
            p95: 2000,
        };
        CalibrationRow {
            cut,
            sent: Sent::Packed(Quantisation::Plain, precision),
            images: 100,
            bytes: vec![coded(Codec::Raw, 2.0), coded(Codec::Zstd, 1.0)],
            fidelity: flips(max_pp),
            doubts: Vec::new(),
        }
    }

    fn photo(codec: PhotoCodec, bytes: f64, max_pp: f64) -> CalibrationRow {
        CalibrationRow {
            sent: Sent::Photo(codec),
            bytes: vec![CodecBytes {
                codec: codec.to_string(),
                mean: bytes,
                p95: 9,
            }],
            ..row(0, None, 1.0, max_pp)
        }
    }

    fn levels(allowed: Option<Allowed>) -> Option<u32> {
        match allowed?.plan {
            Plan::Split {
                precision: Precision::Levels(levels),
                codec: Codec::Zstd,
                ..
            } => Some(levels.get()),
            Plan::Split { .. } => Some(0),
            Plan::Device | Plan::Photo(_) => None,
        }
    }

    #[test]
    fn the_fewest_bytes_whose_bound_keeps_the_limit_are_chosen() {
        let table = table(vec![
            row(1, Some(4), 100.0, 2.0),
            row(1, Some(8), 150.0, 0.8),
            row(1, Some(16), 200.0, 0.4),
            row(1, None, 3000.0, 9.0),
        ]);
        assert_eq!(levels(table.allowed(1, 5.0)), Some(4));
        assert_eq!(levels(table.allowed(1, 1.0)), Some(8));
        assert_eq!(levels(table.allowed(1, 0.5)), Some(16));
        assert_eq!(levels(table.allowed(1, 0.1)), Some(0), "fp32 is exact");
        assert_eq!(table.allowed(2, 5.0), None, "not measured");
        let chosen = table.allowed(1, 1.0).unwrap();
        assert!((chosen.max_drop_pp - 0.8).abs() < 1e-9);
        assert!((chosen.bytes_mean - 150.0).abs() < 1e-9);
    }

    #[test]
    fn a_coarse_precision_that_was_lucky_is_not_trusted() {
        let table = table(vec![
            row(1, Some(4), 100.0, 0.3),
            row(1, Some(8), 150.0, 0.8),
            row(1, Some(16), 200.0, 0.2),
        ]);
        assert_eq!(levels(table.allowed(1, 0.5)), Some(16));
        assert_eq!(levels(table.allowed(1, 1.0)), Some(4));
    }

    #[test]
    fn rows_of_a_few_photos_are_not_chosen() {
        let mut few = row(1, Some(4), 100.0, 0.3);
        few.images = 12;
        let table = table(vec![few, row(1, Some(8), 150.0, 0.3)]);
        assert_eq!(levels(table.allowed(1, 0.5)), Some(8));
    }

    #[test]
    fn a_photo_competes_with_the_tensor_at_cut_0() {
        let table = table(vec![
            row(0, Some(32), 500.0, 0.2),
            photo(PhotoCodec::Jpeg(40), 300.0, 1.5),
            photo(PhotoCodec::Jpeg(80), 600.0, 0.6),
            photo(PhotoCodec::WebPLossless, 5000.0, 0.0),
        ]);
        assert_eq!(levels(table.allowed(0, 1.0)), Some(32));
        assert_eq!(table.allowed_photo(2.0), Some(PhotoCodec::Jpeg(40)));
        assert_eq!(table.allowed_photo(1.0), Some(PhotoCodec::Jpeg(80)));
        assert_eq!(table.allowed_photo(0.1), Some(PhotoCodec::WebPLossless));
    }

    #[test]
    fn the_table_survives_its_json() {
        let table = table(vec![
            row(1, Some(12), 100.0, 2.0),
            row(1, None, 3000.0, 0.0),
            photo(PhotoCodec::Jpeg(75), 600.0, 0.6),
        ]);
        let text = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), table);
        assert!(text.contains("\"photo\":\"jpeg:75\""), "{text}");
        assert!(text.contains("\"levels\":12"), "{text}");
        assert!(text.contains("\"levels\":null"), "{text}");
    }

    #[test]
    fn a_codec_of_the_future_is_passed_over() {
        let mut table = table(vec![row(1, Some(8), 150.0, 0.3)]);
        table.rows[0].bytes[1].codec = "telepathy".to_owned();
        let allowed = table.allowed(1, 1.0).unwrap();
        assert!((allowed.bytes_mean - 300.0).abs() < 1e-9, "{allowed:?}");
    }

    #[test]
    fn a_table_of_another_bundle_is_refused() {
        let manifest = manifest();
        let good = table(vec![row(1, Some(8), 150.0, 0.3)]);
        good.check(&manifest).unwrap();
        let refused = |change: &dyn Fn(&mut Calibration)| {
            let mut table = good.clone();
            change(&mut table);
            table.check(&manifest).is_err()
        };
        assert!(refused(&|t| t.format = 1));
        assert!(refused(&|t| t.shaping.insert(1, Vec::new())));
        assert!(refused(&|t| t.rows[0].cut = manifest.last_cut()));
        assert!(refused(&|t| t.rows[0].images = 101));
        assert!(refused(&|t| t.rows[0].bytes[0].mean = f64::NAN));
        assert!(refused(
            &|t| t.rows[0].sent = Sent::Photo(PhotoCodec::Jpeg(75))
        ));
        assert!(
            refused(&|t| t.rows.push(t.rows[0].clone())),
            "the same twice"
        );
        let many = |count: u32| {
            let levels = 2..2 + count;
            table(
                levels
                    .map(|levels| row(1, Some(levels), 150.0, 0.3))
                    .collect(),
            )
        };
        many(256).check(&manifest).unwrap();
        assert!(many(257).check(&manifest).is_err());
    }
}
