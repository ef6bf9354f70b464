//! Unpacking a bundle that a server sent as a tar archive.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use super::content::partial;
use super::{Bundle, GRAPH_FILE, MANIFEST_FILE, MAX_MANIFEST_BYTES, OPTIONAL_FILES, WEIGHTS_FILE};
use crate::graph::MAX_MODEL_BYTES;
use crate::{Error, ErrorKind, Result};

/// The files that every archive has and the most bytes that each may have.
const FILES: [(&str, u64); 3] = [
    (MANIFEST_FILE, MAX_MANIFEST_BYTES),
    (GRAPH_FILE, MAX_MODEL_BYTES),
    (WEIGHTS_FILE, 4 * MAX_MODEL_BYTES),
];

/// Unpacks the tar archive of a bundle into `folder`, which must not exist, and opens it. The folder appears complete or
/// not at all.
///
/// Only the bundle's own files are written, each of bounded size, whatever else the archive
/// holds. Fails with [`ErrorKind::InvalidBundle`] if a file is missing, unknown, too long or not
/// what the manifest says; then nothing is left behind.
pub fn unpack(archive: impl Read, folder: &Path) -> Result<Bundle> {
    if folder.exists() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{} exists already: choose another folder", folder.display()),
        ));
    }
    let partial = partial(folder);
    let unpacked = write_files(archive, &partial).and_then(|written| {
        let bundle = Bundle::open(&partial)?;
        // The manifest and what it lists; nothing else has been checked.
        if written != bundle.manifest().files.len() + 1 {
            return Err(Error::new(
                ErrorKind::InvalidBundle,
                "the archive holds files that its manifest does not list",
            ));
        }
        std::fs::rename(&partial, folder).map_err(|e| Error::io(folder, "write", e))
    });
    if unpacked.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    unpacked.and_then(|()| Bundle::open(folder))
}

/// Writes the files and says how many there were.
fn write_files(archive: impl Read, folder: &Path) -> Result<usize> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidBundle, what);
    let broken = |e: std::io::Error| {
        Error::with_source(
            ErrorKind::InvalidBundle,
            "the archive of the bundle breaks off",
            e,
        )
    };
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
    let mut archive = tar::Archive::new(archive);
    let mut written = HashSet::new();
    // Raw: an entry that holds the next one's long name would be read whole, however long it is.
    for entry in archive.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (name, max_bytes) = FILES
            .iter()
            .chain(OPTIONAL_FILES)
            .copied()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| {
                invalid(format!(
                    "the archive holds '{name}', which is no bundle file"
                ))
            })?;
        if !entry.header().entry_type().is_file() || entry.size() > max_bytes {
            return Err(invalid(format!(
                "{name} in the archive is no file of a sensible size"
            )));
        }
        if !written.insert(name) {
            return Err(invalid(format!("the archive holds {name} twice")));
        }
        let path = folder.join(name);
        let mut file = std::fs::File::create(&path).map_err(|e| Error::io(&path, "create", e))?;
        std::io::copy(&mut entry, &mut file).map_err(broken)?;
    }
    if FILES.iter().any(|(name, _)| !written.contains(name)) {
        return Err(invalid("the archive lacks files of the bundle".to_owned()));
    }
    Ok(written.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn an_archive_that_is_no_bundle_leaves_nothing_behind() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("model");
        let (a, b, c) = (MANIFEST_FILE, GRAPH_FILE, WEIGHTS_FILE);
        for files in [
            &[][..],
            &[(a, &b"{}"[..]), (b, b"")],
            &[(a, b"{}"), (a, b"{}"), (b, b""), (c, b"")],
            &[(a, b"{}"), (b, b""), (c, b"")],
            &[("../evil", b"x")],
            &[("/etc/evil", b"x")],
            &[("profile.json", b"{}")],
        ] {
            let error = unpack(&archive(files)[..], &folder).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidBundle, "{files:?}");
            assert!(!folder.exists());
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_name_of_any_length_is_not_read() {
        const NAME_BYTES: u64 = 64 << 20;
        let parent = tempfile::tempdir().unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(NAME_BYTES);
        header.set_cksum();
        let mut name = std::io::repeat(b'n').take(NAME_BYTES);
        let archive = header.as_bytes().chain(&mut name);
        let error = unpack(archive, &parent.path().join("model")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidBundle);
        assert_eq!(name.limit(), NAME_BYTES, "refused from its header");
    }

    #[test]
    fn an_archive_that_breaks_off_leaves_nothing_behind() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("model");
        let whole = archive(&[(MANIFEST_FILE, &[b' '; 2000][..])]);
        let error = unpack(&whole[..1000], &folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidBundle);
        assert!(!folder.exists());
    }
}
