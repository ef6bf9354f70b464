//! A bundle: what `dyno prepare` makes from a model. Phone and server hold the same one.

pub mod manifest;
mod profile;

use std::path::{Path, PathBuf};

pub use manifest::{BUNDLE_FORMAT, BundleFile, BundleHash, Cut, Manifest, Provenance};
pub use profile::Profile;

use crate::{Error, ErrorKind, Result};

/// A bundle on disk whose content has been checked against its hash.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
    profile: Option<Profile>,
}

impl Bundle {
    /// Opens the bundle in `folder`, hashing its files.
    pub fn open(_folder: &Path) -> Result<Self> {
        Err(Error::new(ErrorKind::Internal, "skeleton"))
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
}
