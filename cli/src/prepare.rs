//! `dyno prepare`: an ONNX model becomes a bundle.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use dyno_core::bundle::{Bundle, Calibration, Draft, Step, WriteOptions};
use dyno_core::calibrate::{Calibrate, CalibrationSummary, Measure, Skipped, calibrate};
use dyno_core::pixels::{Anchor, Colour, Layout, PreprocessFile, Resize};
use dyno_core::runtime::Cancel;
use dyno_core::{Error, ErrorKind};
use indicatif::ProgressBar;

use crate::{output, progress};

/// Photos that a calibration takes unless told otherwise.
const CALIBRATION_PHOTOS: usize = 200;
/// Photos that could not be read and are named.
const MAX_NAMED: usize = 5;

/// Arguments of `dyno prepare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The ONNX model (opset 11 or newer, fp32).
    model: PathBuf,
    /// Folder to write; its name becomes the model's name.
    #[arg(long, short)]
    out: PathBuf,
    /// Input shape, where the model leaves dimensions open, for example 1,3,224,224.
    #[arg(long, value_delimiter = ',', value_name = "N,C,H,W")]
    input_shape: Option<Vec<usize>>,
    /// TOML file with the preprocessing; flags win over it.
    #[arg(long, value_name = "FILE")]
    preprocess: Option<PathBuf>,
    /// How a photo is fitted to the model's size: crop, letterbox or stretch.
    #[arg(long)]
    resize: Option<Resize>,
    /// Part of the largest centred crop to use, above 0 and at most 1 (256 → 224 is 0.875).
    #[arg(long)]
    crop_fraction: Option<f32>,
    /// Value that fills a letterboxed photo's frame, 0 to 255.
    #[arg(long)]
    pad: Option<u8>,
    /// Where a letterboxed photo lies: centre or top-left.
    #[arg(long)]
    anchor: Option<Anchor>,
    /// Order of the colour channels: rgb or bgr.
    #[arg(long)]
    colour: Option<Colour>,
    /// Order of the input's dimensions: nchw or nhwc.
    #[arg(long)]
    layout: Option<Layout>,
    /// Mean to subtract, on pixels scaled to 0–1.
    #[arg(long, value_name = "R,G,B", value_parser = three, allow_hyphen_values = true)]
    mean: Option<[f32; 3]>,
    /// Standard deviation to divide by, on pixels scaled to 0–1.
    #[arg(long, value_name = "R,G,B", value_parser = three)]
    std: Option<[f32; 3]>,
    /// File with one class name a line.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Threads to measure the profile with.
    #[arg(long, default_value_t = default_threads())]
    threads: usize,
    /// Measure on the photos of this folder what each precision costs at each cut.
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,
    /// CSV file with the photos' true classes (columns file and class_index).
    #[arg(long, value_name = "FILE.csv", requires = "calibrate")]
    truth: Option<PathBuf>,
    /// Photos to calibrate with, evenly over the folder.
    #[arg(long, default_value_t = CALIBRATION_PHOTOS, value_name = "PHOTOS")]
    calibrate_limit: usize,
    /// Distance to calibrate by where the model is no classifier: miou (class maps) or l2.
    #[arg(long, requires = "calibrate")]
    distance: Option<Measure>,
    /// Replace a bundle that is already there.
    #[arg(long)]
    force: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// Prepares the bundle and says what it holds.
pub(crate) fn run(args: &Args) -> Result<()> {
    let steps = Steps::new(args.quiet);
    let progress = |step, done, total| steps.show(step, done, total);
    let (said, labels) = args.preprocessing()?;
    let draft = Draft::read(&args.model, args.input_shape.as_deref(), &progress)?;
    let options = WriteOptions {
        preprocess: said.complete(&draft.input().shape)?,
        labels,
        threads: args.threads,
        replace: args.force,
    };
    let bundle = match &args.calibrate {
        None => draft.write(&args.out, &options, &progress)?,
        Some(folder) => {
            let calibrate = args.calibration(folder);
            stop_on_interrupt(calibrate.cancel.clone());
            let measure = |bundle: &Arc<Bundle>| measure(bundle, &calibrate, &steps);
            let written = draft.write_calibrated(&args.out, &options, &progress, measure);
            steps.finish();
            let bundle = written.map_err(interrupted)?;
            if let Some(file) = &calibrate.resume_file {
                // It may never have been written: there was nothing to measure.
                let _ = std::fs::remove_file(file);
            }
            bundle
        }
    };
    steps.finish();
    summarise(&bundle)
}

/// Calibrates, and says what was left out or was there already.
fn measure(
    bundle: &Arc<Bundle>,
    options: &Calibrate,
    steps: &Steps,
) -> dyno_core::Result<Option<Calibration>> {
    let progress = |step, done, total| steps.show(step, done, total);
    let summary = calibrate(bundle, options, &progress)?;
    steps.finish();
    let CalibrationSummary {
        calibration,
        skipped,
        resumed_cuts,
    } = summary;
    say_skipped(&skipped);
    if resumed_cuts > 0 {
        eprintln!("resumed: {resumed_cuts} cuts were measured before the interruption");
    }
    if options.truth.is_some() && calibration.with_truth < calibration.images {
        eprintln!(
            "labels: {} of {} photos have one",
            calibration.with_truth, calibration.images
        );
    }
    Ok(Some(calibration))
}

/// Names the photos that could not be read, the first few of them.
pub(crate) fn say_skipped(skipped: &[Skipped]) {
    if skipped.is_empty() {
        return;
    }
    eprintln!("skipped: {} photos that cannot be read", skipped.len());
    for photo in skipped.iter().take(MAX_NAMED) {
        eprintln!("  {}: {}", photo.file.display(), photo.reason);
    }
    if skipped.len() > MAX_NAMED {
        eprintln!("  and {} more", skipped.len() - MAX_NAMED);
    }
}

/// Has Ctrl-C end the calibration between two runs, so that nothing half-done is left behind.
fn stop_on_interrupt(cancel: Cancel) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        // Without a runtime Ctrl-C ends the process at once, as it does elsewhere.
        if let Ok(runtime) = runtime
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            cancel.cancel();
        }
    });
}

fn interrupted(error: Error) -> anyhow::Error {
    if error.kind() == ErrorKind::Cancelled {
        return anyhow::anyhow!(
            "interrupted: the same command goes on with the cuts that are not measured yet"
        );
    }
    error.into()
}

/// As many threads as the machine has cores, at most four: phones have that many fast ones.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
}

impl Args {
    fn calibration(&self, folder: &Path) -> Calibrate {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.out.file_name().unwrap_or_default());
        name.push(".calibration.json");
        Calibrate {
            images: folder.to_owned(),
            truth: self.truth.clone(),
            limit: Some(self.calibrate_limit),
            measure: self.distance,
            resume_file: Some(self.out.with_file_name(name)),
            cancel: Cancel::new(),
        }
    }

    /// What flags and file say together, and the labels.
    fn preprocessing(&self) -> Result<(PreprocessFile, Vec<String>)> {
        let (file, folder) = match &self.preprocess {
            Some(path) => (
                read_preprocess(path)?,
                path.parent().unwrap_or(Path::new("")),
            ),
            None => (PreprocessFile::default(), Path::new("")),
        };
        let labels = match (&self.labels, &file.labels) {
            (Some(path), _) => read_labels(path)?,
            (None, Some(path)) => read_labels(&folder.join(path))?,
            (None, None) => Vec::new(),
        };
        let flags = PreprocessFile {
            resize: self.resize,
            crop_fraction: self.crop_fraction,
            pad: self.pad,
            anchor: self.anchor,
            colour: self.colour,
            layout: self.layout,
            mean: self.mean,
            std: self.std,
            ..PreprocessFile::default()
        };
        Ok((flags.or(file), labels))
    }
}

fn read_preprocess(path: &Path) -> Result<PreprocessFile> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the preprocessing in {}", path.display()))?;
    PreprocessFile::from_toml(&text).with_context(|| path.display().to_string())
}

fn read_labels(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the labels in {}", path.display()))?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

fn three(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|n| n.trim().parse()).collect();
    let numbers = numbers.map_err(|e| format!("'{text}' is not three numbers: {e}"))?;
    numbers
        .try_into()
        .map_err(|_| "three numbers are needed, for R, G and B".to_owned())
}

fn summarise(bundle: &Bundle) -> Result<()> {
    let manifest = bundle.manifest();
    output::line(format_args!(
        "{}: {} inner cuts, input {:?}, {} output(s), {} labels\nhash {}",
        bundle.folder().display(),
        manifest.last_cut().saturating_sub(1),
        manifest.input.shape,
        manifest.outputs.len(),
        manifest.labels.len(),
        manifest.hash,
    ))?;
    match bundle.calibration() {
        Some(calibration) => output::line(format_args!(
            "calibrated with {} photos: dyno inspect shows the precisions that keep a limit",
            calibration.images
        )),
        None => Ok(()),
    }
}

/// The bar of the step under way.
struct Steps {
    quiet: bool,
    now: RefCell<Option<(Step, ProgressBar)>>,
}

impl Steps {
    fn new(quiet: bool) -> Self {
        Self {
            quiet,
            now: RefCell::new(None),
        }
    }

    fn show(&self, step: Step, done: u64, total: u64) {
        if self.quiet {
            return;
        }
        let mut now = self.now.borrow_mut();
        if now.as_ref().is_none_or(|(under_way, _)| *under_way != step) {
            if let Some((_, bar)) = now.take() {
                bar.finish_and_clear();
            }
            *now = Some((step, progress::bar(total, title(step))));
        }
        if let Some((_, bar)) = now.as_ref() {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn finish(&self) {
        if let Some((_, bar)) = self.now.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}

fn title(step: Step) -> &'static str {
    match step {
        Step::Read => "reading the model",
        Step::Shapes => "finding shapes",
        Step::Cuts => "finding cuts",
        Step::Weights => "writing weights",
        Step::Profile => "measuring heads",
        Step::Photos => "reading photos",
        Step::Calibrate => "calibrating cuts",
        _ => "working",
    }
}
