//! `dyno verify`: head and tail at every cut against the whole model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use dyno_core::Tensor;
use dyno_core::bundle::{Bundle, MAX_RELATIVE_ERROR, Verification, verify};
use dyno_core::pixels::{Frame, Photo};

use crate::prepare::default_threads;
use crate::{output, progress};

/// Photos taken from a folder unless told otherwise.
const DEFAULT_PHOTOS: usize = 3;

/// Arguments of `dyno verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    bundle: PathBuf,
    /// Check with photos from this folder; with generated ones otherwise.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// How many photos of the folder to use.
    #[arg(long, default_value_t = DEFAULT_PHOTOS)]
    limit: usize,
    /// Threads that run one inference.
    #[arg(long, default_value_t = default_threads())]
    threads: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Verifies the bundle; an error too large is an error of this command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Arc::new(Bundle::open(&args.bundle)?);
    let inputs = match &args.images {
        Some(folder) => photos(&bundle, folder, args.limit)?,
        None => vec![generated(&bundle)?],
    };
    let bar = progress::bar(bundle.manifest().cuts.len() as u64, "verifying cuts");
    let verification = verify(&bundle, &inputs, args.threads, |done, _| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if args.json {
        output::json(&verification)?;
    } else {
        output::line(table(&verification))?;
    }
    if !verification.pass {
        bail!(
            "{}: a cut is further from the whole model than {MAX_RELATIVE_ERROR} of the output's \
             range",
            verification.model
        );
    }
    Ok(())
}

/// The image files of a folder in the order of their names, at most `limit`.
pub(crate) fn image_files(folder: &Path, limit: usize) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let is_image = |path: &PathBuf| {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        extension.is_some_and(|e| matches!(e.as_str(), "jpg" | "jpeg" | "png" | "webp"))
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_image)
        .collect();
    files.sort();
    files.truncate(limit);
    if files.is_empty() {
        bail!(
            "there are no JPEG, PNG or WebP files in {}",
            folder.display()
        );
    }
    Ok(files)
}

/// Reads and decodes a photo.
pub(crate) fn read_photo(path: &Path) -> Result<Photo> {
    let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Photo::decode(&content).with_context(|| path.display().to_string())
}

fn photos(bundle: &Bundle, folder: &Path, limit: usize) -> Result<Vec<Tensor>> {
    let preprocess = &bundle.manifest().preprocess;
    let tensor = |path: &PathBuf| {
        let photo = read_photo(path)?;
        let frame = Frame::stage(&photo.pixels()?, preprocess)?;
        Ok(frame.to_tensor(preprocess)?)
    };
    image_files(folder, limit)?.iter().map(tensor).collect()
}

/// Smooth waves with noise on them: every channel and region carries something.
fn generated(bundle: &Bundle) -> Result<Tensor> {
    let preprocess = &bundle.manifest().preprocess;
    let (width, height) = (preprocess.width, preprocess.height);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let rgb = (0..width * height * 3).map(|i| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let noise = random >> 58;
        let (x, y, channel) = (i / 3 % width, i / 3 / width, i % 3);
        let wave = ((x * (channel + 2) + y * 3) % 192) as u64;
        (wave + noise).to_le_bytes()[0]
    });
    let frame = Frame::from_rgb(width, height, rgb.collect())?;
    Ok(frame.to_tensor(preprocess)?)
}

fn table(verification: &Verification) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "cut",
        "elements",
        "max abs error",
        "of the range",
        "tensors",
    ]);
    for cut in &verification.cuts {
        table.add_row([
            cut.index.to_string(),
            cut.elements.to_string(),
            format!("{:.1e}", cut.max_abs_error),
            format!("{:.1e}", cut.max_rel_error),
            cut.tensors.join(" "),
        ]);
    }
    for column in 0..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let verdict = if verification.pass { "pass" } else { "FAIL" };
    format!("{table}\n{}: {verdict}", verification.model)
}
