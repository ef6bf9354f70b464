//! `dyno bench promise`: does what a bundle's calibration allows keep the limit on other photos?
//!
//! At each cut, what is allowed at each limit is sent with photos that were not calibrated on, with and without
//! second looks, and the accuracy that is lost is measured.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use dyno_core::bundle::{Allowed, AllowedTwice, Bundle, Calibration, Sent};
use dyno_core::calibrate::{Detail, Judgement, Lab, LabOptions, Observation, PhotoSet, Truth};
use dyno_core::schedule::{Plan, Precision, Quantisation};
use serde::Serialize;

use super::pack::chosen_cuts;
use crate::prepare::say_skipped;
use crate::{output, progress};

/// Limits that are checked unless told otherwise, in percentage points.
const LIMITS_PP: &[f64] = &[1.0, 0.5];

/// Arguments of `dyno bench promise`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The calibrated bundle's folder.
    #[arg(long, short)]
    bundle: PathBuf,
    /// Folder of photos that were not calibrated on.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// CSV file with the photos' true classes (columns file and class_index).
    #[arg(long, value_name = "FILE.csv")]
    truth: PathBuf,
    /// Photos to measure with, evenly over the folder; all unless told.
    #[arg(long, value_name = "PHOTOS")]
    limit: Option<usize>,
    /// Limits of the loss of accuracy, in percentage points.
    #[arg(long, value_delimiter = ',', default_values_t = LIMITS_PP.iter().copied())]
    limits: Vec<f64>,
    /// Cuts to measure; all that were calibrated unless told.
    #[arg(long, value_delimiter = ',')]
    cuts: Option<Vec<usize>>,
    /// Measure coarser precisions too, down to the last that keeps the limit on these photos: what
    /// the bound costs in bytes.
    #[arg(long)]
    slack: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The JSON of `dyno bench promise`.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    calibrated_on: usize,
    images: usize,
    violations: usize,
    rows: Vec<Row>,
}

/// What is allowed at one cut and limit, and what it did.
#[derive(Debug, Serialize)]
struct Row {
    cut: usize,
    limit_pp: f64,
    sent: String,
    bytes_mean: f64,
    /// The calibration's bound.
    max_drop_pp: f64,
    /// What was lost on these photos.
    drop_pp: f64,
    agreement: f64,
    /// Share of the photos that were sent again because the answer was in doubt, and what calibration expected; none
    /// of what is sent once.
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<Again>,
    kept: bool,
    /// The fewest bytes that keep the limit on these photos.
    #[serde(skip_serializing_if = "Option::is_none")]
    least_bytes_mean: Option<f64>,
}

/// How many photos are sent twice, 0 to 1.
#[derive(Debug, Serialize)]
struct Again {
    expected: f64,
    found: f64,
}

/// Measures and prints; a limit that was not kept is an error of this command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Arc::new(Bundle::open(&args.bundle)?);
    let calibration = bundle
        .calibration()
        .context("the bundle is not calibrated: prepare it with --calibrate")?
        .clone();
    let photos = PhotoSet::read(&args.images, args.limit, &bundle.manifest().preprocess)?;
    say_skipped(photos.skipped());
    let truth = Truth::read(&args.truth)?;
    let lab = Lab::new(bundle.clone(), photos, Some(&truth), LabOptions::default())?;
    let cuts = chosen_cuts(args.cuts.as_deref(), &lab)?;
    let bar = progress::bar(cuts.len() as u64, "measuring cuts");
    let mut rows = Vec::new();
    for cut in cuts {
        let mut measured = Measured::new(&lab, cut);
        for &limit_pp in &args.limits {
            if let Some(allowed) = calibration.allowed(cut, limit_pp) {
                let mut row = measured.row(limit_pp, &allowed)?;
                if args.slack {
                    let least = measured.least_bytes(&calibration, limit_pp, &allowed)?;
                    row.least_bytes_mean = Some(least);
                }
                rows.push(row);
            }
            let sent = calibration.allowed_twice(cut, limit_pp);
            let computed = calibration.allowed_with_device(cut, limit_pp);
            for way in sent.iter().chain(&computed) {
                rows.push(measured.row_twice(limit_pp, way)?);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if rows.is_empty() {
        bail!(
            "the calibration allows nothing at these cuts within these limits: there is nothing to check"
        );
    }
    let report = Report {
        model: bundle.manifest().model.clone(),
        calibrated_on: calibration.images,
        images: lab.images(),
        violations: rows.iter().filter(|row| !row.kept).count(),
        rows,
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::line(table(&report))?;
    }
    if report.violations > 0 {
        bail!(
            "{} of {} limits were not kept on these photos",
            report.violations,
            report.rows.len()
        );
    }
    Ok(())
}

/// What was measured at one cut, each way of sending once.
struct Measured<'a> {
    lab: &'a Lab,
    cut: usize,
    done: HashMap<Sent, Vec<Observation>>,
}

impl<'a> Measured<'a> {
    fn new(lab: &'a Lab, cut: usize) -> Self {
        Self {
            lab,
            cut,
            done: HashMap::new(),
        }
    }

    fn row(&mut self, limit_pp: f64, allowed: &Allowed) -> Result<Row> {
        let (drop_pp, agreement) = self.drop_and_agreement(sent_by(allowed)?)?;
        Ok(Row {
            cut: self.cut,
            limit_pp,
            sent: allowed.plan.to_string(),
            bytes_mean: allowed.bytes_mean,
            max_drop_pp: allowed.max_drop_pp,
            drop_pp,
            agreement,
            again: None,
            kept: drop_pp <= limit_pp,
            least_bytes_mean: None,
        })
    }

    fn row_twice(&mut self, limit_pp: f64, way: &AllowedTwice) -> Result<Row> {
        let first = self.observed(sent_by(&way.first)?)?.to_vec();
        let then = match &way.then {
            Some(then) => sent_by(then)?,
            // The device finishes, and nothing is lost.
            None => Sent::Packed(Quantisation::Plain, Precision::Raw),
        };
        let then = self.observed(then)?;
        let is_in_doubt = |observed: &&Observation| observed.outcome.leads_by_less_than(way.lead);
        let again = first.iter().filter(is_in_doubt).count();
        let taken = first.iter().zip(then).map(|(first, then)| {
            let taken = if is_in_doubt(&first) { then } else { first };
            taken.clone()
        });
        let taken: Vec<Observation> = taken.collect();
        let (drop_pp, agreement) = judged(self.lab, &taken)?;
        let found = again as f64 / first.len().max(1) as f64;
        Ok(Row {
            cut: self.cut,
            limit_pp,
            sent: match &way.then {
                Some(then) => format!("{}; again: {}", way.first.plan, then.plan),
                None => format!("{}; again: {}", way.first.plan, Plan::Device),
            },
            bytes_mean: way.bytes_mean(),
            max_drop_pp: way.max_drop_pp(),
            drop_pp,
            agreement,
            again: Some(Again {
                expected: way.share,
                found,
            }),
            kept: drop_pp <= limit_pp,
            least_bytes_mean: None,
        })
    }

    /// Goes through the calibrated rows from those that cost as much as `allowed` to cheaper ones,
    /// until one does not keep the limit.
    fn least_bytes(
        &mut self,
        calibration: &Calibration,
        limit_pp: f64,
        allowed: &Allowed,
    ) -> Result<f64> {
        let mut ways: Vec<(Sent, f64)> = calibration
            .rows
            .iter()
            .filter(|row| row.cut == self.cut)
            .filter_map(|row| {
                let bytes = row.bytes.iter().map(|codec| codec.mean);
                Some((row.sent, bytes.min_by(f64::total_cmp)?))
            })
            .filter(|(_, bytes)| *bytes < allowed.bytes_mean)
            .collect();
        ways.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut least = allowed.bytes_mean;
        for (sent, bytes) in ways {
            if self.drop_and_agreement(sent)?.0 > limit_pp {
                break;
            }
            least = bytes;
        }
        Ok(least)
    }

    fn drop_and_agreement(&mut self, sent: Sent) -> Result<(f64, f64)> {
        let lab = self.lab;
        judged(lab, self.observed(sent)?)
    }

    fn observed(&mut self, sent: Sent) -> Result<&[Observation]> {
        match self.done.entry(sent) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let images = 0..self.lab.images();
                let lists = self
                    .lab
                    .observe(self.cut, &[sent], images, Detail::Fidelity)?;
                let observed = lists.into_iter().next().context("nothing was measured")?;
                Ok(unknown.insert(observed))
            }
        }
    }
}

/// The accuracy that was lost, in percentage points, and the agreement.
fn judged(lab: &Lab, observed: &[Observation]) -> Result<(f64, f64)> {
    let Judgement::Agreement {
        agreement,
        drop: Some(drop),
        ..
    } = lab.judge(observed)
    else {
        bail!("the promise can be checked for classifiers with two true classes or more");
    };
    Ok((drop.pp, agreement))
}

fn sent_by(allowed: &Allowed) -> Result<Sent> {
    Sent::of(&allowed.plan).context("a plan that sends nothing was allowed")
}

fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "cut",
        "limit",
        "bytes",
        "bound",
        "lost",
        "agreement",
        "again",
        "least",
        "kept",
        "sent as",
    ]);
    for row in &report.rows {
        table.add_row([
            row.cut.to_string(),
            format!("{} pp", row.limit_pp),
            format!("{:.0}", row.bytes_mean),
            format!("{:.2} pp", row.max_drop_pp),
            format!("{:.2} pp", row.drop_pp),
            format!("{:.4}", row.agreement),
            row.again.as_ref().map_or_else(String::new, |again| {
                format!(
                    "{:.0} % ({:.0} %)",
                    100.0 * again.found,
                    100.0 * again.expected
                )
            }),
            row.least_bytes_mean
                .map_or_else(String::new, |bytes| format!("{bytes:.0}")),
            if row.kept { "yes" } else { "NO" }.to_owned(),
            row.sent.clone(),
        ]);
    }
    for column in 0..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "{table}\n{}: calibrated on {} photos, checked on {}: {} of {} limits not kept",
        report.model,
        report.calibrated_on,
        report.images,
        report.violations,
        report.rows.len()
    )
}
