//! The driver: every cut of a bundle, one after the other, each kept as soon as it is measured.

use std::path::PathBuf;
use std::sync::Arc;

use super::fidelity::for_table;
use super::lab::{Lab, LabOptions, Message};
use super::resume::{Progress, key};
use super::search::{Ladder, Rung, search};
use super::shaping::learn;
use super::{Measure, PhotoSet, Skipped, Truth};
use crate::Result;
use crate::bundle::{Bundle, CALIBRATION_FORMAT, Calibration, CalibrationRow, CodecBytes, Step};
use crate::pack::{Shaping, TensorShaping};
use crate::runtime::Cancel;

/// What to calibrate with.
#[derive(Debug, Clone, Default)]
pub struct Calibrate {
    /// Folder of photos.
    pub images: PathBuf,
    /// CSV file with their true classes.
    pub truth: Option<PathBuf>,
    /// Most photos to take.
    pub limit: Option<usize>,
    /// Instead of what suits the model.
    pub measure: Option<Measure>,
    /// Where an interrupted calibration is kept, and one that ended too: remove it when the table is where it is to stay.
    pub resume_file: Option<PathBuf>,
    /// Set from another thread to stop.
    pub cancel: Cancel,
}

/// A calibration and how it came about.
#[derive(Debug)]
pub struct CalibrationSummary {
    /// The table.
    pub calibration: Calibration,
    /// Photos that could not be read.
    pub skipped: Vec<Skipped>,
    /// Cuts whose rows were there from an interrupted calibration.
    pub resumed_cuts: usize,
}

/// Measures every cut of `bundle`. `progress` is told (cuts done, cuts in all).
///
/// Fails with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) once `options.cancel` is set;
/// the next call with the same options goes on from there. Other failures are those of
/// [`PhotoSet::read`] and [`Lab::new`].
pub fn calibrate(
    bundle: &Arc<Bundle>,
    options: &Calibrate,
    progress: &dyn Fn(Step, u64, u64),
) -> Result<CalibrationSummary> {
    progress(Step::Photos, 0, 0);
    let photos = PhotoSet::read(
        &options.images,
        options.limit,
        &bundle.manifest().preprocess,
    )?;
    let truth = options.truth.as_deref().map(Truth::read).transpose()?;
    let lab_options = LabOptions {
        measure: options.measure,
        cancel: options.cancel.clone(),
    };
    let mut lab = Lab::new(bundle.clone(), photos, truth.as_ref(), lab_options)?;
    let mut done = Progress::open(options.resume_file.as_deref(), key(&lab)?);
    let resumed_cuts = done.cuts();
    let cuts = lab.cuts();
    for (i, &cut) in cuts.iter().enumerate() {
        progress(Step::Calibrate, i as u64, cuts.len() as u64);
        if !done.has(cut) {
            let shaping = learn(&lab, cut)?;
            lab.set_shaping(&Shaping::default().with(cut, shaping.clone()));
            let rows = rows(&lab, cut, changes_something(&shaping))?;
            done.add(cut, shaping, rows)?;
        }
    }
    let (shaping, rows) = done.finish();
    Ok(CalibrationSummary {
        calibration: Calibration {
            format: CALIBRATION_FORMAT,
            images: lab.images(),
            with_truth: lab.with_truth(),
            measure: lab.measure(),
            shaping,
            rows,
        },
        skipped: lab.photos().skipped().to_vec(),
        resumed_cuts,
    })
}

/// Whether messages that are shaped so differ from those that are not.
fn changes_something(shaping: &[TensorShaping]) -> bool {
    shaping.len() > 1 || shaping.iter().any(|tensor| tensor.diffusion > 0.0)
}

fn rows(lab: &Lab, cut: usize, shaped: bool) -> Result<Vec<CalibrationRow>> {
    let mut ladders = Ladder::all(cut, shaped)?;
    search(lab, cut, &mut ladders)?;
    let rungs = ladders.iter().flat_map(|ladder| &ladder.rungs);
    let seen = rungs.filter(|rung| !rung.observed.is_empty());
    Ok(seen.map(|rung| row(lab, cut, rung)).collect())
}

fn row(lab: &Lab, cut: usize, rung: &Rung) -> CalibrationRow {
    let codecs = rung.sent.plans(cut).into_iter().enumerate();
    let bytes = codecs.map(|(i, (codec, _))| {
        let messages = rung.observed.iter().filter_map(|o| o.messages.get(i));
        bytes(codec, messages)
    });
    CalibrationRow {
        cut,
        sent: rung.sent,
        images: rung.observed.len(),
        bytes: bytes.collect(),
        fidelity: lab.judge(&rung.observed),
        // Rows of fewer photos are not chosen, nor are those that lose nothing in doubt.
        doubts: if rung.observed.len() == lab.images() && !rung.sent.is_exact() {
            lab.doubts(&rung.observed)
        } else {
            Vec::new()
        },
    }
}

/// Mean, and the length that 95 of 100 messages do not exceed (by nearest rank).
pub(super) fn bytes<'a>(codec: String, messages: impl Iterator<Item = &'a Message>) -> CodecBytes {
    let mut lengths: Vec<usize> = messages.map(|message| message.bytes).collect();
    lengths.sort_unstable();
    let count = lengths.len();
    CodecBytes {
        codec,
        mean: for_table(lengths.iter().sum::<usize>() as f64 / count.max(1) as f64),
        p95: lengths
            .get((count * 95).div_ceil(100).saturating_sub(1))
            .copied()
            .unwrap_or(0),
    }
}
