//! `dyno infer`: photos in, labels out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use dyno_core::bundle::Bundle;
use dyno_core::client::{
    Client, ClientConfig, ExecutionMode, HttpOptions, HttpTransport, Inference, Label, StageTimes,
    Transport,
};
use dyno_core::runtime::DeviceExecutor;
use dyno_core::schedule::{Codec, Levels, Objective, PhotoCodec, Plan, Precision};
use dyno_core::{Error, ErrorKind, Tensor};
use serde::Serialize;

use crate::objective::ObjectiveArgs;
use crate::prepare::default_threads;
use crate::verify::read_photo;
use crate::{npy, output};

/// Arguments of `dyno infer`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    #[arg(long, short)]
    bundle: PathBuf,
    /// Server that holds the same bundle, for example http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// PEM file with the certificate authority to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    root_certificate: Option<PathBuf>,
    /// Name of the model on the server, if its folder there was renamed.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// AUTO, PREFER_ON_DEVICE, PREFER_CLOUD, ONLY_ON_DEVICE or ONLY_CLOUD.
    #[arg(long, default_value_t)]
    mode: ExecutionMode,
    /// Cut here instead of where the planner would; 0 sends the input or the photo.
    #[arg(long)]
    cut: Option<usize>,
    /// Levels at the cut, 2 to 65536, or raw for fp32.
    #[arg(long, default_value = "256", value_parser = precision)]
    levels: Precision,
    /// Codec at the cut: raw, lz4, zstd, context or shaped; at cut 0 also jpeg or webp (quality
    /// 90), jpeg:QUALITY, webp:QUALITY, png or webp-lossless.
    #[arg(long, default_value = "zstd", value_parser = any_codec)]
    codec: AnyCodec,
    #[command(flatten)]
    objective: ObjectiveArgs,
    /// Labels to print.
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Write the raw outputs to this NumPy file (names are added where there are several).
    #[arg(long, value_name = "FILE.npy")]
    output: Option<PathBuf>,
    /// Threads that run one inference.
    #[arg(long, default_value_t = default_threads())]
    threads: usize,
    /// Print one JSON line an image.
    #[arg(long)]
    json: bool,
    /// JPEG, PNG or WebP files.
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

/// A codec of an activation or of a photo.
#[derive(Debug, Clone, Copy)]
enum AnyCodec {
    Activation(Codec),
    Photo(PhotoCodec),
}

/// Runs every image; fails at the end if one of them failed.
pub(crate) fn run(args: Args) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    runtime.block_on(infer_all(args))
}

async fn infer_all(args: Args) -> Result<()> {
    let bundle = Arc::new(Bundle::open(&args.bundle)?);
    let client = client(&args, &bundle)?;
    if let Err(error) = client.warm_up().await {
        // Every image says what stands in its way.
        log::info!("not warmed up: {error}");
    }
    let mut failed = 0;
    for image in &args.images {
        match infer(&client, image).await {
            Ok(inference) => {
                print_inference(image, &inference, args.json)?;
                if let Some(output) = &args.output {
                    let several = args.images.len() > 1;
                    write_outputs(output, several.then_some(image), &inference.outputs)?;
                }
            }
            Err(error) => {
                failed += 1;
                print_error(image, &error, args.json)?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} of {} images failed", args.images.len()),
    }
}

fn client(args: &Args, bundle: &Arc<Bundle>) -> Result<Client> {
    let config = ClientConfig {
        mode: args.mode,
        model: args.model.clone(),
        top_k: args.top,
        plan: args.plan()?,
        objective: args.objective.objective(&Objective::default())?,
        ..ClientConfig::default()
    };
    let executor = Arc::new(DeviceExecutor::new(bundle.clone(), args.threads)?);
    let transport = match &args.server {
        Some(url) => {
            let mut options = HttpOptions::default();
            if let Some(path) = &args.root_certificate {
                let pem = std::fs::read(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                options.root_certificate = Some(pem);
            }
            let outputs = bundle.manifest().outputs.clone();
            Some(Arc::new(HttpTransport::new(url, outputs, options)?) as Arc<dyn Transport>)
        }
        None => None,
    };
    Ok(Client::new(bundle, executor, transport, config)?)
}

impl Args {
    /// The plan that the flags pin, if they pin one.
    fn plan(&self) -> Result<Option<Plan>> {
        match (self.cut, self.codec) {
            (None | Some(0), AnyCodec::Photo(codec)) => Ok(Some(Plan::Photo(codec))),
            (Some(cut), AnyCodec::Photo(codec)) => bail!(
                "a photo ({}) is sent at cut 0, not at cut {cut}: use raw, lz4, zstd, context or \
                 shaped there",
                codec.as_str()
            ),
            (Some(cut), AnyCodec::Activation(codec)) => Ok(Some(Plan::Split {
                cut,
                precision: self.levels,
                codec,
            })),
            (None, AnyCodec::Activation(_)) => Ok(None),
        }
    }
}

async fn infer(client: &Client, image: &Path) -> Result<Inference> {
    let photo = read_photo(image)?;
    Ok(client.infer_pixels(&photo.pixels()?).await?)
}

fn precision(text: &str) -> Result<Precision, Error> {
    if matches!(text, "raw" | "fp32") {
        return Ok(Precision::Raw);
    }
    let levels = text.parse().map_err(|_| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("'{text}' is neither a number nor 'raw'"),
        )
    })?;
    Levels::new(levels).map(Precision::Levels)
}

fn any_codec(text: &str) -> Result<AnyCodec, Error> {
    match text.parse() {
        Ok(codec) => Ok(AnyCodec::Activation(codec)),
        Err(_) => text.parse().map(AnyCodec::Photo).map_err(|_: Error| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "unknown codec '{text}': use raw, lz4, zstd, context, shaped, jpeg, jpeg:75, \
                     webp, webp:75, png or webp-lossless"
                ),
            )
        }),
    }
}

/// The JSON line of an image.
#[derive(Debug, Serialize)]
struct Line<'a> {
    image: String,
    top: &'a [Label],
    ran_on: &'static str,
    cut: usize,
    levels: Option<u32>,
    codec: Option<&'static str>,
    bytes_up: usize,
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

fn print_inference(image: &Path, inference: &Inference, json: bool) -> Result<()> {
    if json {
        let line = Line {
            image: image.display().to_string(),
            top: &inference.top,
            ran_on: inference.ran_on.as_str(),
            cut: inference.cut,
            levels: inference.levels,
            codec: inference.codec,
            bytes_up: inference.bytes_up,
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
        "{}: {:.1} ms, {} ({}), {} bytes sent",
        image.display(),
        inference.times.total_ms,
        inference.ran_on.as_str(),
        inference.plan,
        inference.bytes_up
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

fn print_error(image: &Path, error: &anyhow::Error, json: bool) -> Result<()> {
    if !json {
        eprintln!("{}: {error:#}", image.display());
        return Ok(());
    }
    let kind = error
        .downcast_ref::<Error>()
        .map_or(ErrorKind::Io, Error::kind)
        .as_str();
    let line = serde_json::json!({
        "image": image.display().to_string(),
        "error": format!("{error:#}"),
        "kind": kind,
    });
    output::json_line(&line)
}

/// Writes the outputs; with several images the image's name, with several outputs their number
/// goes into the file's name.
fn write_outputs(file: &Path, image: Option<&PathBuf>, outputs: &[Tensor]) -> Result<()> {
    let stem = |path: &Path| {
        path.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
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
