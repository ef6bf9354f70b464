//! `dyno inspect`: what a bundle holds, as a table or as JSON.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use dyno_core::TensorSpec;
use dyno_core::bundle::{Bundle, Cut, Manifest, Profile};
use dyno_core::pixels::Preprocess;
use serde_json::Value;

use crate::output;

/// Arguments of `dyno inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    bundle: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the bundle.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    if args.json {
        return output::json(&report(bundle.manifest(), bundle.profile())?);
    }
    output::line(describe(bundle.manifest(), bundle.profile())?)
}

/// The manifest as it stands in the bundle, the elements of each cut, and the profile.
fn report(manifest: &Manifest, profile: Option<&Profile>) -> Result<Value> {
    let mut report = serde_json::to_value(manifest)?;
    for (index, cut) in manifest.cuts.iter().enumerate() {
        report["cuts"][index]["elements"] = cut.elements().into();
    }
    report["profile"] = serde_json::to_value(profile)?;
    Ok(report)
}

fn describe(manifest: &Manifest, profile: Option<&Profile>) -> Result<String> {
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
    write!(text, "\n{}", cut_table(&manifest.cuts, profile))?;
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
