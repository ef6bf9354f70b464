//! `dyno pull`: well-known models, checked against pinned hashes, kept in a cache.

mod download;
mod error;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
mod zoo;

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use download::Pin;
use error::PullError;
use zoo::{MODELS, ZooModel};

/// Downloads a well-known ONNX model into the cache and prints its path.
///
/// Beside the model it leaves NAME.toml, the preprocessing that `dyno prepare` reads.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Name of the model; --list shows them.
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Shows the models there are.
    #[arg(long, conflicts_with = "name")]
    list: bool,
    /// With --list: as one JSON array.
    #[arg(long, requires = "list")]
    json: bool,
    #[arg(
        long,
        value_name = "DIR",
        env = "DYNO_CACHE",
        help = "Folder to keep models in [default: $XDG_CACHE_HOME/dyno or ~/.cache/dyno]"
    )]
    cache: Option<PathBuf>,
    /// A mirror: the model is fetched from URL/NAME.onnx.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// No progress bar.
    #[arg(long)]
    quiet: bool,
}

/// Runs `dyno pull`.
///
/// # Errors
///
/// If the name is unknown, the cache cannot be written, or no address has the pinned file.
pub(crate) fn run(args: &PullArgs) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if args.list {
        stdout.write_all(list(args.json)?.as_bytes())?;
        return Ok(());
    }
    let name = args.name.as_deref().unwrap_or_default();
    let model = ZooModel::find(name).ok_or_else(|| unknown(name))?;
    let cache = cache_folder(args.cache.as_deref())?;
    let addresses = match &args.base_url {
        Some(base) => vec![format!(
            "{}/{}",
            base.trim_end_matches('/'),
            model.file_name()
        )],
        None => model.addresses(),
    };
    let job = Job {
        target: cache.join(model.file_name()),
        addresses,
        pin: Pin {
            bytes: model.bytes,
            sha256: model.sha256,
        },
    };
    let progress = progress_bar(model.name, args.quiet);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the network runtime")?
        .block_on(job.run(&progress))?;
    progress.finish_and_clear();
    write_hints(model, &job.target)?;
    writeln!(stdout, "{}", job.target.display())?;
    Ok(())
}

/// A pinned file, where to put it, and where it may come from.
struct Job<'a> {
    target: PathBuf,
    addresses: Vec<String>,
    pin: Pin<'a>,
}

impl Job<'_> {
    /// Fetches it, unless it is there already. Of several addresses the first that has it wins;
    /// the error is the first's.
    async fn run(&self, progress: &ProgressBar) -> Result<(), PullError> {
        if download::is_whole(&self.target, self.pin)? {
            return Ok(());
        }
        if let Some(folder) = self.target.parent() {
            fs::create_dir_all(folder).map_err(PullError::io("create", folder))?;
        }
        if self.target.exists() {
            log::warn!(
                "{} is not the pinned file: fetching it anew",
                self.target.display()
            );
        }
        let client = download::client()?;
        let mut first_error = None;
        for url in &self.addresses {
            match download::download(&client, url, &self.target, self.pin, progress).await {
                Ok(()) => return Ok(()),
                Err(e) if e.is_about_the_address() => {
                    log::warn!("{e}");
                    first_error.get_or_insert(e);
                }
                Err(e) => return Err(e),
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

/// The table for people, or JSON.
fn list(json: bool) -> anyhow::Result<String> {
    if json {
        let models: Vec<_> = MODELS
            .iter()
            .map(|model| {
                serde_json::json!({
                    "name": model.name,
                    "about": model.about,
                    "bytes": model.bytes,
                    "sha256": model.sha256,
                    "addresses": model.addresses(),
                    "preprocess": model.preprocess,
                })
            })
            .collect();
        return Ok(serde_json::to_string(&models)? + "\n");
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["name", "MB", "what"]);
    for model in MODELS {
        let megabytes = format!("{:.1}", model.bytes as f64 / 1e6);
        table.add_row([model.name, &megabytes, model.about]);
    }
    Ok(format!("{table}\n"))
}

/// `--cache` (or `DYNO_CACHE`), else the XDG cache folder, else `~/.cache`.
fn cache_folder(given: Option<&Path>) -> Result<PathBuf, PullError> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    // Relative paths are to be ignored, says the XDG base directory specification.
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("dyno"))
        .ok_or(PullError::NoCache)
}

/// Leaves the model's preprocessing beside it; one that is there already may have been edited.
fn write_hints(model: &ZooModel, target: &Path) -> Result<(), PullError> {
    let path = target.with_file_name(format!("{}.toml", model.name));
    if path.exists() {
        return Ok(());
    }
    fs::write(&path, model.preprocess).map_err(PullError::io("write", &path))
}

fn unknown(name: &str) -> PullError {
    let known: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
    PullError::UnknownModel {
        name: name.to_owned(),
        known: known.join(", "),
    }
}

/// On stderr, and only on a terminal: stdout carries the path.
fn progress_bar(name: &'static str, quiet: bool) -> ProgressBar {
    let target = if quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(None, target).with_message(name);
    let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
