//! `dyno infer`: photos in, labels out.

mod report;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use dyno_core::bundle::Bundle;
use dyno_core::client::{
    Client, ClientConfig, ExecutionMode, HttpOptions, HttpTransport, Inference, Transport,
};
use dyno_core::runtime::DeviceExecutor;
use dyno_core::schedule::{Codec, Levels, Objective, PhotoCodec, Plan, Precision};
use dyno_core::{Error, ErrorKind};

use self::report::Report;
use crate::objective::ObjectiveArgs;
use crate::prepare::default_threads;
use crate::token::TokenArgs;
use crate::verify::read_photo;

/// Arguments of `dyno infer`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    #[arg(long, short)]
    bundle: PathBuf,
    /// Server that holds the same bundle, for example http://127.0.0.1:8477.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// PEM file with the certificate authority to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    root_certificate: Option<PathBuf>,
    #[command(flatten)]
    token: TokenArgs,
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
    /// 90), jpeg:QUALITY, webp:QUALITY, png, webp-lossless or ppm.
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
    /// Run the images as one stream: device, network and server work on successive images at once.
    #[arg(long)]
    stream: bool,
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
    let mut report = Report::new(&args)?;
    if args.stream {
        stream::infer(&client, &args.images, &mut report).await?;
    } else {
        for image in &args.images {
            report.image(image, None, infer(&client, image).await)?;
        }
    }
    report.end()
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
            let mut options = HttpOptions {
                token: args.token.token()?,
                ..HttpOptions::default()
            };
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
                     webp, webp:75, png, webp-lossless or ppm"
                ),
            )
        }),
    }
}
