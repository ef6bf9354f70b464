//! `dyno inspect`: what a bundle holds, as a table or as JSON.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use dyno_core::TensorSpec;
use dyno_core::bundle::{
    Allowed, Bundle, BundleFile, BundleHash, Calibration, Cut, Manifest, Profile, Provenance,
};
use dyno_core::pixels::Preprocess;
use dyno_core::schedule::DEFAULT_MAX_ACCURACY_DROP_PP;
use serde::Serialize;

use crate::explain::{self, ExplainArgs};
use crate::output;

/// Arguments of `dyno inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    bundle: PathBuf,
    #[command(flatten)]
    explain: ExplainArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The JSON of `dyno inspect`: the manifest, the elements of each cut, the profile.
#[derive(Debug, Serialize)]
struct Report<'a> {
    format: u32,
    model: &'a str,
    hash: &'a BundleHash,
    input: &'a TensorSpec,
    outputs: &'a [TensorSpec],
    preprocess: &'a Preprocess,
    labels: &'a [String],
    cuts: Vec<CutRow<'a>>,
    files: &'a [BundleFile],
    provenance: &'a Provenance,
    profile: Option<&'a Profile>,
    calibration: Option<&'a Calibration>,
}

#[derive(Debug, Serialize)]
struct CutRow<'a> {
    #[serde(flatten)]
    cut: &'a Cut,
    elements: usize,
}

impl<'a> Report<'a> {
    fn new(bundle: &'a Bundle) -> Self {
        let manifest = bundle.manifest();
        let row = |cut: &'a Cut| CutRow {
            cut,
            elements: cut.elements(),
        };
        Self {
            format: manifest.format,
            model: &manifest.model,
            hash: &manifest.hash,
            input: &manifest.input,
            outputs: &manifest.outputs,
            preprocess: &manifest.preprocess,
            labels: &manifest.labels,
            cuts: manifest.cuts.iter().map(row).collect(),
            files: &manifest.files,
            provenance: &manifest.provenance,
            profile: bundle.profile(),
            calibration: bundle.calibration(),
        }
    }
}

/// Prints the bundle.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    if args.explain.explain {
        let explanation = args.explain.explanation(&bundle)?;
        return if args.json {
            output::json(&explain::Report::new(&explanation))
        } else {
            output::line(explain::describe(&explanation)?)
        };
    }
    if args.json {
        return output::json(&Report::new(&bundle));
    }
    output::line(describe(&bundle)?)
}

fn describe(bundle: &Bundle) -> Result<String> {
    let (manifest, profile) = (bundle.manifest(), bundle.profile());
    let spec = |t: &TensorSpec| format!("{} {:?} {:?}", t.name, t.element, t.shape);
    let mut text = String::new();
    writeln!(text, "model       {}", manifest.model)?;
    writeln!(text, "hash        {}", manifest.hash)?;
    let provenance = &manifest.provenance;
    writeln!(
        text,
        "source      {} (opset {})",
        provenance.source, provenance.opset
    )?;
    writeln!(text, "input       {}", spec(&manifest.input))?;
    for output in &manifest.outputs {
        writeln!(text, "output      {}", spec(output))?;
    }
    let Preprocess {
        height,
        width,
        fit,
        colour,
        layout,
        mean,
        std,
    } = &manifest.preprocess;
    writeln!(
        text,
        "preprocess  {height}x{width} {fit:?}, {colour:?}, {layout:?}"
    )?;
    writeln!(
        text,
        "            mean {mean:?}, std {std:?}, on pixels scaled to 0-1"
    )?;
    writeln!(text, "labels      {}", manifest.labels.len())?;
    if let Some(profile) = profile {
        let whole_ms = profile.span_ms(0, manifest.last_cut());
        writeln!(
            text,
            "profile     {}, {} thread(s), whole model {whole_ms:.1} ms",
            profile.machine, profile.threads
        )?;
    }
    let calibration = bundle.calibration();
    if let Some(calibration) = calibration {
        writeln!(
            text,
            "calibrated  {} photos, {} with a true class, by {}",
            calibration.images, calibration.with_truth, calibration.measure
        )?;
    }
    write!(text, "\n{}", cut_table(&manifest.cuts, profile))?;
    if let Some(calibration) = calibration {
        write!(text, "\n\n{}", allowed_table(manifest, calibration))?;
    }
    Ok(text)
}

fn cut_table(cuts: &[Cut], profile: Option<&Profile>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["cut", "after", "head", "elements", "head ms", "tensors"]);
    let total = cuts.last().map_or(0, |cut| cut.flops_before).max(1) as f64;
    for cut in cuts {
        let shapes: Vec<String> = cut
            .tensors
            .iter()
            .map(|t| format!("{:?}", t.shape))
            .collect();
        let head_ms =
            profile.map_or_else(String::new, |p| format!("{:.2}", p.span_ms(0, cut.index)));
        table.add_row([
            cut.index.to_string(),
            cut.after.clone(),
            format!("{:.1} %", 100.0 * cut.flops_before as f64 / total),
            cut.elements().to_string(),
            head_ms,
            shapes.join(" "),
        ]);
    }
    for column in [0, 2, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What keeps the default limit at each cut in the fewest bytes.
fn allowed_table(manifest: &Manifest, calibration: &Calibration) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["cut", "bytes", "95 % within", "bound", "sent as"]);
    for cut in 0..manifest.last_cut() {
        let allowed = calibration.allowed(cut, DEFAULT_MAX_ACCURACY_DROP_PP);
        let Some(Allowed {
            plan,
            bytes_mean,
            bytes_p95,
            max_drop_pp,
        }) = allowed
        else {
            continue;
        };
        table.add_row([
            cut.to_string(),
            format!("{bytes_mean:.0}"),
            bytes_p95.to_string(),
            format!("{max_drop_pp:.2} pp"),
            plan.to_string(),
        ]);
    }
    for column in 0..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "fewest bytes that lose at most {DEFAULT_MAX_ACCURACY_DROP_PP} percentage point of \
         accuracy:\n{table}"
    )
}
