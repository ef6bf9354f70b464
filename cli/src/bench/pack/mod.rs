//! `dyno bench pack`: bytes, fidelity and speed of every codec and precision at every cut.
//!
//! It measures with what calibrates (`dyno_core::calibrate`): real messages, unpacked, through the
//! real tail.

mod row;
mod summary;
mod sweep;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use dyno_core::bundle::Bundle;
use dyno_core::calibrate::{Lab, LabOptions, Measure, PhotoSet, Truth};
use dyno_core::schedule::Levels;
use serde::Serialize;

use super::plot;
use crate::prepare::say_skipped;
use crate::{output, progress};
pub(crate) use row::Row;
use summary::Summary;
use sweep::Sweep;

/// Levels that are measured unless told otherwise; fp32 always is.
const LEVELS: &[u32] = &[
    2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 26, 28, 32, 36, 40, 44, 48,
    56, 64, 80, 96, 128, 256,
];

/// Arguments of `dyno bench pack`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    #[arg(long, short)]
    bundle: PathBuf,
    /// Folder of photos.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// CSV file with the photos' true classes (columns file and class_index).
    #[arg(long, value_name = "FILE.csv")]
    truth: Option<PathBuf>,
    /// Photos to measure with, evenly over the folder; all unless told.
    #[arg(long, value_name = "PHOTOS")]
    limit: Option<usize>,
    /// Distance to measure where the model is no classifier: miou (class maps) or l2.
    #[arg(long)]
    distance: Option<Measure>,
    /// Levels to measure; fp32 always is.
    #[arg(long, value_delimiter = ',', default_values_t = LEVELS.iter().copied())]
    levels: Vec<u32>,
    /// Cuts to measure; all that can be sent unless told.
    #[arg(long, value_delimiter = ',')]
    cuts: Option<Vec<usize>>,
    /// Agreement below which a precision is not measured on more than the first photos.
    #[arg(long, default_value_t = 0.9, value_name = "SHARE")]
    from_agreement: f64,
    /// Print how the codecs compare at equal agreement and at equal precision, instead of the rows.
    #[arg(long)]
    summary: bool,
    /// Draw bytes against agreement, a panel a cut, as SVG.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Print JSON: the rows, and the summary.
    #[arg(long)]
    json: bool,
}

/// The JSON of `dyno bench pack`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a str,
    images: usize,
    with_truth: usize,
    measure: Measure,
    rows: &'a [Row],
    summary: &'a Summary,
}

/// Measures and prints.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Arc::new(Bundle::open(&args.bundle)?);
    let levels = args.sorted_levels()?;
    let photos = PhotoSet::read(&args.images, args.limit, &bundle.manifest().preprocess)?;
    say_skipped(photos.skipped());
    let truth = args.truth.as_deref().map(Truth::read).transpose()?;
    let options = LabOptions {
        measure: args.distance,
        ..LabOptions::default()
    };
    let lab = Lab::new(bundle.clone(), photos, truth.as_ref(), options)?;
    let cuts = args.chosen_cuts(&lab)?;
    let sweep = Sweep {
        lab: &lab,
        levels: &levels,
        from_agreement: args.from_agreement,
    };
    let bar = progress::bar(cuts.len() as u64, "measuring cuts");
    let mut rows = Vec::new();
    for cut in cuts {
        rows.extend(sweep.rows(cut)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(path) = &args.plot {
        let picture = plot::svg(&bundle.manifest().model, &rows);
        std::fs::write(path, picture)
            .with_context(|| format!("cannot write the picture to {}", path.display()))?;
    }
    let summary = Summary::of(&rows);
    if args.json {
        return output::json(&Report {
            model: &bundle.manifest().model,
            images: lab.images(),
            with_truth: lab.with_truth(),
            measure: lab.measure(),
            rows: &rows,
            summary: &summary,
        });
    }
    if args.summary {
        return output::line(table::summary(&summary));
    }
    output::line(table::rows(&rows))
}

impl Args {
    /// From coarse to fine, each once.
    fn sorted_levels(&self) -> Result<Vec<Levels>> {
        let levels: dyno_core::Result<Vec<Levels>> =
            self.levels.iter().map(|&l| Levels::new(l)).collect();
        let mut levels = levels?;
        levels.sort_unstable();
        levels.dedup();
        Ok(levels)
    }

    fn chosen_cuts(&self, lab: &Lab) -> Result<Vec<usize>> {
        chosen_cuts(self.cuts.as_deref(), lab)
    }
}

/// All cuts that can be measured, or those that were `chosen`; fails if one of these cannot.
pub(super) fn chosen_cuts(chosen: Option<&[usize]>, lab: &Lab) -> Result<Vec<usize>> {
    let known = lab.cuts();
    let Some(chosen) = chosen else {
        return Ok(known);
    };
    if let Some(cut) = chosen.iter().find(|cut| !known.contains(cut)) {
        bail!("nothing can be sent at cut {cut}: dyno inspect lists the cuts");
    }
    Ok(chosen.to_vec())
}
