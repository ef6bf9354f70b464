//! A bundle: what `dyno prepare` makes from a model. Phone and server hold the same one.
//!
//! A folder with `bundle.json` (the manifest), `graph.onnx` (the graph without its weights),
//! `weights.bin` (the weights, mapped by every session), `profile.json` (times of one machine, not
//! part of the hash), and, where it was calibrated, `calibration.json` (what each precision costs).

mod archive;
mod calibration;
mod content;
mod draft;
pub mod manifest;
mod profile;
mod references;
mod second_look;
mod tail;
#[cfg(test)]
mod tests;
mod verify;
mod weights;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;

pub use archive::unpack;
pub use calibration::{Allowed, CALIBRATION_FORMAT, Calibration, CalibrationRow, CodecBytes, Sent};
pub(crate) use content::{describe_file, hex};
pub use draft::{Draft, Progress, Step, WriteOptions};
pub use manifest::{BUNDLE_FORMAT, BundleFile, BundleHash, Cut, Manifest, Provenance};
pub use profile::Profile;
pub use second_look::AllowedTwice;
pub use tail::{TailBatch, TailModel, TailPattern};
pub use verify::{CutCheck, MAX_RELATIVE_ERROR, Verification, verify};

use crate::graph::proto::{GraphProto, ModelProto};
use crate::graph::span::{End, SpanModel, extract};
use crate::graph::topology::Topology;
use crate::pack::Shaping;
use crate::{Error, ErrorKind, Result};

/// File name of the manifest.
pub const MANIFEST_FILE: &str = "bundle.json";
/// File name of the graph.
pub const GRAPH_FILE: &str = "graph.onnx";
/// File name of the weights.
pub const WEIGHTS_FILE: &str = "weights.bin";
/// File name of the profile.
pub const PROFILE_FILE: &str = "profile.json";
/// File name of the calibration.
pub const CALIBRATION_FILE: &str = "calibration.json";
/// Largest calibration that is read: 64 MiB.
pub const MAX_CALIBRATION_BYTES: u64 = 64 << 20;
/// Files that a bundle may have, in the order of its list, and the most bytes of each. They are part
/// of its hash where they are there.
const OPTIONAL_FILES: &[(&str, u64)] = &[(CALIBRATION_FILE, MAX_CALIBRATION_BYTES)];
/// Largest manifest that is read: 16 MiB.
pub const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// A bundle on disk whose content has been checked against its hash.
///
/// Its files must not change while it is open: ONNX Runtime maps the weights.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    /// What `folder` refers to where that is a file descriptor: open for as long as the bundle.
    _pin: Option<File>,
    manifest: Manifest,
    profile: Option<Profile>,
    calibration: Option<Calibration>,
    shaping: Arc<Shaping>,
    /// The model without its graph, and the graph.
    model: ModelProto,
    graph: GraphProto,
}

impl Bundle {
    /// Opens the bundle in `folder`, hashing its files (about 2 ms a megabyte).
    ///
    /// Fails with [`ErrorKind::InvalidBundle`] if a file is missing or changed, if it was
    /// written by another version, or if its graph refers to other files than its own; the message
    /// says which and what to do.
    ///
    /// ```no_run
    /// let bundle = dyno_core::bundle::Bundle::open("bundles/shapes".as_ref())?;
    /// println!("{} cuts", bundle.manifest().cuts.len());
    /// # Ok::<(), dyno_core::Error>(())
    /// ```
    pub fn open(folder: &Path) -> Result<Self> {
        Self::read(folder.to_owned(), None, folder)
    }

    /// Opens the bundle in the folder that is at `folder` now, and stays with it if another is put
    /// in its place: what is read later (sessions map the weights when they are built) is never the
    /// other's. Once the folder is deleted, spans that have not been built cannot be.
    ///
    /// Where there is no `/proc` this is [`open`](Self::open). Fails like it.
    pub fn open_pinned(folder: &Path) -> Result<Self> {
        match pin(folder) {
            Some((pin, path)) => Self::read(path, Some(pin), folder),
            None => Self::open(folder),
        }
    }

    /// `shown` is what errors name.
    fn read(folder: PathBuf, pin: Option<File>, shown: &Path) -> Result<Self> {
        let at = |error: Error| error.context(format!("bundle {}", shown.display()));
        let manifest = content::read_manifest(&folder).map_err(at)?;
        content::check_files(&folder, &manifest).map_err(at)?;
        let graph = std::fs::read(folder.join(GRAPH_FILE))
            .map_err(|e| Error::io(&shown.join(GRAPH_FILE), "read", e))?;
        let mut model = ModelProto::decode(bytes::Bytes::from(graph)).map_err(|e| {
            at(Error::with_source(
                ErrorKind::InvalidBundle,
                "unreadable graph",
                e,
            ))
        })?;
        references::check(&model).map_err(at)?;
        let graph = model.graph.take().unwrap_or_default();
        let profile = content::read_profile(&folder, &manifest);
        let calibration = content::read_calibration(&folder, &manifest).map_err(at)?;
        let shaping = calibration.as_ref().map(|c| c.shaping.clone());
        Ok(Self {
            folder,
            _pin: pin,
            manifest,
            profile,
            calibration,
            shaping: Arc::new(shaping.unwrap_or_default()),
            model,
            graph,
        })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it says about its model.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Times measured where it was prepared, if the bundle still carries them.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// What each precision costs at each cut, if the bundle was calibrated.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// How activations are to be packed with [`Codec::Shaped`](crate::schedule::Codec::Shaped): as
    /// learnt when the bundle was calibrated.
    pub fn shaping(&self) -> Arc<Shaping> {
        self.shaping.clone()
    }

    /// The row of the cut table; fails with [`ErrorKind::InvalidArgument`] if there is none.
    pub fn cut(&self, index: usize) -> Result<&Cut> {
        self.manifest.cuts.get(index).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "there is no cut {index}: this model has 0 to {}",
                    self.manifest.last_cut()
                ),
            )
        })
    }

    /// The nodes between two cuts as a model of their own.
    pub(crate) fn span_model(&self, from: usize, to: usize) -> Result<SpanModel> {
        let (first, last) = (self.cut(from)?, self.cut(to)?);
        if from >= to {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("a span goes forward: cut {from} is not before cut {to}"),
            ));
        }
        let topology = Topology::new(&self.graph);
        let from = End {
            position: position(&topology, first)?,
            tensors: &first.tensors,
        };
        let to = End {
            position: position(&topology, last)?,
            tensors: &last.tensors,
        };
        extract(&self.model, &topology, from, to)
    }
}

/// The folder, open, and a path that leads to it whatever is renamed.
#[cfg(target_os = "linux")]
fn pin(folder: &Path) -> Option<(File, PathBuf)> {
    use std::os::fd::AsRawFd as _;
    let pin = File::open(folder).ok()?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", pin.as_raw_fd()));
    path.is_dir().then_some((pin, path))
}

#[cfg(not(target_os = "linux"))]
fn pin(_folder: &Path) -> Option<(File, PathBuf)> {
    None
}

/// Steps of the head at a cut.
fn position(topology: &Topology<'_>, cut: &Cut) -> Result<usize> {
    if cut.index == 0 {
        return Ok(0);
    }
    topology
        .step_named(&cut.after)
        .map(|step| step + 1)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidBundle,
                format!(
                    "cut {} follows node '{}', which the graph lacks",
                    cut.index, cut.after
                ),
            )
        })
}
