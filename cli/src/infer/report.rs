//! What `dyno infer` prints of each image, and the outputs it writes.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use dyno_core::client::{Inference, Label, StageTimes};
use dyno_core::{Error, ErrorKind, Tensor};
use serde::Serialize;

use super::Args;
use crate::{npy, output};

/// Tells of images one after the other.
#[derive(Debug)]
pub(super) struct Report<'a> {
    args: &'a Args,
    failed: usize,
}

impl<'a> Report<'a> {
    /// Fails if two images' outputs would go to one file.
    pub(super) fn new(args: &'a Args) -> Result<Self> {
        if args.output.is_some() {
            let mut stems = HashSet::new();
            if let Some(twice) = args.images.iter().find(|image| !stems.insert(stem(image))) {
                bail!(
                    "--output names its files after the images, and two of them are called '{}': rename one, or infer them by \
                     turns",
                    stem(twice)
                );
            }
        }
        Ok(Self { args, failed: 0 })
    }

    /// Tells what became of an image; of one of a stream with its number there.
    pub(super) fn image(
        &mut self,
        image: &Path,
        seq: Option<u64>,
        inference: Result<Inference>,
    ) -> Result<()> {
        match inference {
            Ok(inference) => {
                print_inference(image, seq, &inference, self.args.json)?;
                if let Some(output) = &self.args.output {
                    let several = self.args.images.len() > 1;
                    write_outputs(output, several.then_some(image), &inference.outputs)?;
                }
                Ok(())
            }
            Err(error) => {
                self.failed += 1;
                print_error(image, seq, &error, self.args.json)
            }
        }
    }

    /// Fails if one of the images did.
    pub(super) fn end(self) -> Result<()> {
        match self.failed {
            0 => Ok(()),
            failed => bail!("{failed} of {} images failed", self.args.images.len()),
        }
    }
}

/// The JSON line of an image.
#[derive(Debug, Serialize)]
struct Line<'a> {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    top: &'a [Label],
    ran_on: &'static str,
    cut: usize,
    levels: Option<u32>,
    codec: Option<&'static str>,
    bytes_up: usize,
    /// The first answer was in doubt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    second_look: bool,
    ms: Ms,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<FallbackLine<'a>>,
}

/// Times of the stages.
#[derive(Debug, Serialize)]
struct Ms {
    total: f64,
    preprocess: f64,
    device: f64,
    pack: f64,
    network: f64,
    queue: f64,
    server: f64,
    post: f64,
}

impl From<&StageTimes> for Ms {
    fn from(times: &StageTimes) -> Self {
        let round = |ms: f64| (ms * 1e3).round() / 1e3;
        Self {
            total: round(times.total_ms),
            preprocess: round(times.preprocess_ms),
            device: round(times.device_ms),
            pack: round(times.pack_ms),
            network: round(times.network_ms),
            queue: round(times.queue_ms),
            server: round(times.server_ms),
            post: round(times.post_ms),
        }
    }
}

/// Why something else than the plan answered.
#[derive(Debug, Serialize)]
struct FallbackLine<'a> {
    kind: &'static str,
    error: &'a str,
    from_cut: usize,
}

/// The JSON line of an image that failed.
#[derive(Debug, Serialize)]
struct ErrorLine {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    error: String,
    kind: &'static str,
}

fn print_inference(
    image: &Path,
    seq: Option<u64>,
    inference: &Inference,
    json: bool,
) -> Result<()> {
    if json {
        let line = Line {
            image: image.display().to_string(),
            seq,
            top: &inference.top,
            ran_on: inference.ran_on.as_str(),
            cut: inference.cut,
            levels: inference.levels,
            codec: inference.codec,
            bytes_up: inference.bytes_up,
            second_look: inference.second_look,
            ms: Ms::from(&inference.times),
            fallback: inference.fallback.as_ref().map(|f| FallbackLine {
                kind: f.kind.as_str(),
                error: &f.message,
                from_cut: f.from_cut,
            }),
        };
        return output::json_line(&line);
    }
    output::line(format_args!(
        "{}: {:.1} ms, {} ({}), {} bytes sent{}",
        image.display(),
        inference.times.total_ms,
        inference.ran_on.as_str(),
        inference.plan,
        inference.bytes_up,
        if inference.second_look {
            ", asked again"
        } else {
            ""
        }
    ))?;
    if let Some(fallback) = &inference.fallback {
        output::line(format_args!(
            "  finished from cut {}: {}",
            fallback.from_cut, fallback.message
        ))?;
    }
    for label in &inference.top {
        output::line(format_args!(
            "  {:6.2} %  {:5}  {}",
            100.0 * label.score,
            label.index,
            label.label
        ))?;
    }
    if inference.top.is_empty() {
        for output in &inference.outputs {
            output::line(format_args!(
                "  output of shape {:?} (write it with --output FILE.npy)",
                output.shape()
            ))?;
        }
    }
    Ok(())
}

fn print_error(image: &Path, seq: Option<u64>, error: &anyhow::Error, json: bool) -> Result<()> {
    if !json {
        eprintln!("{}: {error:#}", image.display());
        return Ok(());
    }
    let kind = error
        .downcast_ref::<Error>()
        .map_or(ErrorKind::Io, Error::kind);
    output::json_line(&ErrorLine {
        image: image.display().to_string(),
        seq,
        error: format!("{error:#}"),
        kind: kind.as_str(),
    })
}

/// Writes the outputs; with several images the image's name, with several outputs their number
/// goes into the file's name.
fn write_outputs(file: &Path, image: Option<&Path>, outputs: &[Tensor]) -> Result<()> {
    for (index, output) in outputs.iter().enumerate() {
        let mut name = stem(file);
        if let Some(image) = image {
            name = format!("{name}-{}", stem(image));
        }
        if outputs.len() > 1 {
            name = format!("{name}-{index}");
        }
        let path = file.with_file_name(format!("{name}.npy"));
        npy::save(&path, output).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}
