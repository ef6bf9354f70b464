//! `dyno inspect`: what a bundle holds, as a table or as JSON.

use std::path::PathBuf;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use dyno_core::bundle::{Bundle, Cut, Manifest, Profile};
use serde::Serialize;

/// Arguments of `dyno inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    bundle: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The JSON of `dyno inspect`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    profile: Option<&'a Profile>,
}

/// Prints the bundle.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    if args.json {
        let report = Report {
            manifest: bundle.manifest(),
            profile: bundle.profile(),
        };
        let text = serde_json::to_string_pretty(&report).context("cannot write JSON")?;
        println!("{text}");
        return Ok(());
    }
    print!("{}", describe(bundle.manifest(), bundle.profile()));
    Ok(())
}

fn describe(manifest: &Manifest, profile: Option<&Profile>) -> String {
    let mut text = format!(
        "model       {}\nhash        {}\nsource      {} (opset {})\n",
        manifest.model, manifest.hash, manifest.provenance.source, manifest.provenance.opset
    );
    let spec = |t: &dyno_core::TensorSpec| format!("{} {:?} {:?}", t.name, t.element, t.shape);
    text += &format!("input       {}\n", spec(&manifest.input));
    for output in &manifest.outputs {
        text += &format!("output      {}\n", spec(output));
    }
    let preprocess = &manifest.preprocess;
    text += &format!(
        "preprocess  {}x{} {:?}, {:?}, {:?}, mean {:?}, std {:?}\n",
        preprocess.height,
        preprocess.width,
        preprocess.fit,
        preprocess.colour,
        preprocess.layout,
        preprocess.mean,
        preprocess.std
    );
    text += &format!("labels      {}\n", manifest.labels.len());
    if let Some(profile) = profile {
        text += &format!(
            "profile     {}, {} thread(s), whole model {:.1} ms\n",
            profile.machine,
            profile.threads,
            profile.span_ms(0, manifest.last_cut())
        );
    }
    text += &format!("\n{}\n", cut_table(&manifest.cuts, profile));
    text
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
