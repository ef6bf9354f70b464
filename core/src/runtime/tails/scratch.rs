//! The folder that a store works in while it makes sessions, and those that killed programs left behind.
//!
//! It holds the model's weights twice, and goes with the store. A program that is killed leaves it: one that is killed again and
//! again while it starts would fill the disk. So each folder has a file that is locked for as long as its program runs, and
//! whoever makes one removes those that nobody holds.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

use tempfile::{NamedTempFile, TempDir};

/// What the names of all such folders begin with.
const PREFIX: &str = "dyno-tails-";
/// The locked file.
const LOCK_FILE: &str = "lock";

/// A folder for temporary files, of this program alone.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Held, never read; none where the file system has no locks. Let go of before the folder goes.
    _lock: Option<File>,
    folder: TempDir,
}

impl Scratch {
    /// A new folder in `parent`, in place of those that nobody has any more.
    pub(super) fn new_in(parent: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        remove_abandoned(parent, &std::fs::symlink_metadata(folder.path())?);
        Ok(Self {
            _lock: locked_file(folder.path())?,
            folder,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The file that says that the folder is in use; locked before it has its name, so that nobody finds it free.
fn locked_file(folder: &Path) -> io::Result<Option<File>> {
    let file = NamedTempFile::new_in(folder)?;
    if let Err(error) = file.as_file().lock() {
        log::debug!("{} cannot be locked: {error}", folder.display());
        return Ok(None);
    }
    Ok(Some(file.persist(folder.join(LOCK_FILE))?))
}

/// Removes the folders in `parent` that belong to who `own` belongs to, and whose program has gone. What cannot be read or
/// removed stays: others may be at it as well.
fn remove_abandoned(parent: &Path, own: &Metadata) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let is_one = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let path = entry.path();
        // Others might have put anything there, for this to wait for or to stumble over.
        let is_own = || std::fs::symlink_metadata(&path).is_ok_and(|of| is_of_same_user(&of, own));
        if is_one && is_own() && is_abandoned(&path) {
            match std::fs::remove_dir_all(&path) {
                Ok(()) => log::info!("removed {}, which a killed program left", path.display()),
                Err(error) => log::debug!("cannot remove {}: {error}", path.display()),
            }
        }
    }
}

/// Whether the folder has its file, and nobody holds it: one without is about to be made.
fn is_abandoned(folder: &Path) -> bool {
    File::open(folder.join(LOCK_FILE)).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(unix)]
fn is_of_same_user(of: &Metadata, own: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    of.is_dir() && of.uid() == own.uid()
}

#[cfg(not(unix))]
fn is_of_same_user(of: &Metadata, _own: &Metadata) -> bool {
    of.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_who_made_it() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(parent.path()).unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("weights"), "w").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_program_left_goes_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let in_use = Scratch::new_in(parent.path()).unwrap();
        for name in ["dyno-tails-killed", "dyno-tails-new", "another"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("weights"), "w").unwrap();
        }
        for name in ["dyno-tails-killed", "another"] {
            std::fs::write(at(name).join(LOCK_FILE), "").unwrap();
        }
        std::fs::write(at("dyno-tails-file"), "").unwrap();
        let next = Scratch::new_in(parent.path()).unwrap();
        assert!(in_use.path().exists() && next.path().exists());
        assert!(!at("dyno-tails-killed").exists());
        for name in ["dyno-tails-new", "dyno-tails-file", "another"] {
            assert!(at(name).exists(), "{name}");
        }
    }
}
