//! Models: from a folder with a bundle to what requests see of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use dyno_core::bundle::{
    Bundle, CALIBRATION_FILE, Cut, GRAPH_FILE, MANIFEST_FILE, Manifest, WEIGHTS_FILE,
};
use dyno_core::pixels::Preprocess;
use dyno_core::runtime::give_back_free_memory;
use dyno_core::{Error, ErrorKind, Result, TensorSpec, pack};
use serde::Serialize;

use crate::archive::Archive;
use crate::batch::Line;
use crate::config::Config;
use crate::engine::TailEngine;
use crate::engines::Engines;
use crate::oip;

/// The files of a bundle that say what it is; its profile belongs to the machine that measured it.
pub(crate) const BUNDLE_FILES: [&str; 4] =
    [MANIFEST_FILE, GRAPH_FILE, WEIGHTS_FILE, CALIBRATION_FILE];
/// Longest name of a model.
const MAX_NAME: usize = 64;
/// What a staged photo may take beyond its pixels: headers, colour profile, an incompressible PNG.
const STAGED_OVERHEAD: usize = 64 << 10;
/// Bytes per pixel of a staged photo, at most.
const STAGED_BYTES_PER_PIXEL: usize = 4;

/// A model and what runs its tails.
pub struct Model {
    pub(crate) name: String,
    pub(crate) engine: Arc<dyn TailEngine>,
    pub(crate) archive: Option<Arc<Archive>>,
}

impl Model {
    /// A model under a name of its own; `folder` holds its bundle, for download.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] unless the name is 1 to 64 of `A-Z a-z 0-9 . _ -`,
    /// and with [`ErrorKind::InvalidBundle`] or [`ErrorKind::Io`] if the folder lacks a file.
    pub fn new(
        name: impl Into<String>,
        engine: Arc<dyn TailEngine>,
        folder: Option<&Path>,
    ) -> Result<Self> {
        let name = name.into();
        check_name(&name)?;
        let archive = folder
            .map(|folder| Archive::new(folder, MANIFEST_FILE, engine.manifest()).map(Arc::new))
            .transpose()?;
        Ok(Self {
            name,
            engine,
            archive,
        })
    }

    /// The model of the bundle that is in `folder` now, whatever is put there later. Blocking:
    /// hashes its files.
    pub(crate) fn open(name: &str, folder: &Path, engines: &Engines) -> Result<Self> {
        check_name(name)?;
        check_files(folder)?;
        let bundle = Bundle::open_pinned(folder)?;
        let folder = bundle.folder().to_owned();
        let engine = engines.open(name, bundle)?;
        Self::new(name, engine, Some(&folder))
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name)
            .field("hash", &self.engine.manifest().hash)
            .finish_non_exhaustive()
    }
}

/// One version of a model as requests see it: with its limits and its description made.
pub(crate) struct Served {
    pub(crate) model: Model,
    pub(crate) line: Arc<Line>,
    pub(crate) limits: Limits,
    /// JSON.
    pub(crate) metadata: Bytes,
    /// The last field, so that it is dropped when the sessions are.
    _memory: GiveBack,
}

/// Returns memory to the system when the last request of a version has ended.
struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        give_back_free_memory();
    }
}

/// Most bytes of a body, exactly as `GET /v1/models/{model}` states them.
#[derive(Debug, Clone, Copy, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names are the protocol's")]
pub(crate) struct Limits {
    pub(crate) max_activation_bytes: usize,
    pub(crate) max_photo_bytes: usize,
    pub(crate) max_staged_photo_bytes: usize,
    pub(crate) max_tensor_request_bytes: usize,
}

/// A folder that is not served, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) folder: String,
    pub(crate) error: Error,
}

/// Opens every bundle in the configured folder. Blocking: hashes all their files.
///
/// Fails if none can be served, or if one cannot and the configuration is strict.
pub(crate) fn open_all(config: &Config, engines: &Engines) -> Result<(Vec<Model>, Vec<Refused>)> {
    let mut models = Vec::new();
    let mut refused = Vec::new();
    for (name, folder) in sub_folders(&config.bundles)? {
        if !folder.join(MANIFEST_FILE).is_file() {
            continue;
        }
        match Model::open(&name, &folder, engines) {
            Ok(model) => models.push(model),
            Err(error) if config.strict => {
                return Err(error.context(format!("bundle '{}'", name.escape_debug())));
            }
            Err(error) => refused.push(Refused {
                folder: name,
                error,
            }),
        }
    }
    if models.is_empty() {
        return Err(none_opened(&config.bundles, &refused));
    }
    Ok((models, refused))
}

/// The sub-folders of the folder of bundles, and links to folders, by name. Names with a dot in front
/// are no models': bundles are written there before they are moved into place.
pub(crate) fn sub_folders(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let listed = |error| Error::io(root, "list the bundles in", error);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root).map_err(listed)? {
        let entry = entry.map_err(listed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(listed)?;
        if (kind.is_dir() || kind.is_symlink()) && !name.starts_with('.') {
            folders.push((name, entry.path()));
        }
    }
    folders.sort();
    Ok(folders)
}

/// Nothing is opened that is no file: reading a pipe would wait for ever.
fn check_files(folder: &Path) -> Result<()> {
    for name in BUNDLE_FILES {
        let metadata = std::fs::metadata(folder.join(name));
        if metadata.is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Error::new(
                ErrorKind::InvalidBundle,
                format!("{name} is no file"),
            ));
        }
    }
    Ok(())
}

fn none_opened(root: &Path, refused: &[Refused]) -> Error {
    if refused.is_empty() {
        return Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "{} has no sub-folder with a {MANIFEST_FILE}: make one with `dyno prepare`",
                root.display()
            ),
        );
    }
    let reasons: Vec<_> = refused
        .iter()
        .map(|refused| format!("{}: {}", refused.folder.escape_debug(), refused.error))
        .collect();
    Error::new(
        ErrorKind::InvalidBundle,
        format!(
            "no bundle in {} can be served: {}",
            root.display(),
            reasons.join("; ")
        ),
    )
}

fn check_name(name: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    // "." and ".." would vanish from every URL on its way here.
    let dots = name.bytes().all(|b| b == b'.');
    if dots || name.len() > MAX_NAME || !name.bytes().all(allowed) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "'{}' cannot be a model's name: take 1 to {MAX_NAME} of A-Z a-z 0-9 . _ -",
                name.escape_debug()
            ),
        ));
    }
    Ok(())
}

impl Served {
    pub(crate) fn new(model: Model, max_photo_bytes: usize) -> Result<Self> {
        let manifest = model.engine.manifest();
        let limits = Limits::new(manifest, max_photo_bytes);
        let metadata = serde_json::to_vec(&Metadata::new(&model.name, manifest, limits))
            .map_err(|error| {
                Error::with_source(ErrorKind::Internal, "cannot describe a model", error)
            })?
            .into();
        Ok(Self {
            line: Arc::new(Line::new(&model.name, Arc::clone(&model.engine))),
            model,
            limits,
            metadata,
            _memory: GiveBack,
        })
    }

    /// The hash of its bundle.
    pub(crate) fn hash(&self) -> &str {
        self.model.engine.manifest().hash.as_str()
    }
}

impl Limits {
    fn new(manifest: &Manifest, max_photo_bytes: usize) -> Self {
        let Preprocess { height, width, .. } = manifest.preprocess;
        let staged = height
            .saturating_mul(width)
            .saturating_mul(STAGED_BYTES_PER_PIXEL)
            .saturating_add(STAGED_OVERHEAD);
        Self {
            max_activation_bytes: manifest.cuts[..manifest.last_cut()]
                .iter()
                .map(pack::max_message_bytes)
                .max()
                .unwrap_or(0),
            max_photo_bytes,
            max_staged_photo_bytes: staged.min(max_photo_bytes),
            max_tensor_request_bytes: oip::max_request_bytes(&manifest.input),
        }
    }
}

/// Answer of `GET /v1/models/{model}`.
#[derive(Serialize)]
struct Metadata<'a> {
    model: &'a str,
    hash: &'a str,
    format: u32,
    input: &'a TensorSpec,
    outputs: &'a [TensorSpec],
    preprocess: &'a Preprocess,
    labels: &'a [String],
    cuts: Vec<CutRow<'a>>,
    limits: Limits,
}

#[derive(Serialize)]
struct CutRow<'a> {
    #[serde(flatten)]
    cut: &'a Cut,
    elements: usize,
    /// Absent from the last row, behind which there is nothing to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_activation_bytes: Option<usize>,
}

impl<'a> Metadata<'a> {
    fn new(name: &'a str, manifest: &'a Manifest, limits: Limits) -> Self {
        let last = manifest.last_cut();
        Self {
            model: name,
            hash: manifest.hash.as_str(),
            format: manifest.format,
            input: &manifest.input,
            outputs: &manifest.outputs,
            preprocess: &manifest.preprocess,
            labels: &manifest.labels,
            cuts: manifest
                .cuts
                .iter()
                .enumerate()
                .map(|(index, cut)| CutRow {
                    cut,
                    elements: cut.elements(),
                    max_activation_bytes: (index < last).then(|| pack::max_message_bytes(cut)),
                })
                .collect(),
            limits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Engines {
        Engines::of(&Config::new("bundles")).unwrap()
    }

    #[test]
    fn names_are_plain() {
        for good in ["resnet18", "a", "yolox_nano-416.v2", &"n".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a b",
            "ä",
            "a\0",
            &"n".repeat(65),
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_folder_without_bundles_says_how_to_make_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("not-a-bundle")).unwrap();
        let error = open_all(&Config::new(folder.path()), &here()).unwrap_err();
        assert!(error.to_string().contains("dyno prepare"), "{error}");
    }

    #[test]
    fn a_bundle_that_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("broken");
        std::fs::create_dir(&broken).unwrap();
        std::fs::write(broken.join(MANIFEST_FILE), "{").unwrap();
        for strict in [false, true] {
            let mut config = Config::new(folder.path());
            config.strict = strict;
            let error = open_all(&config, &here()).unwrap_err();
            assert!(error.to_string().contains("broken"), "{error}");
        }
    }
}
