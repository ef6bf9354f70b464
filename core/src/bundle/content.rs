//! Reading a bundle's files, and the hash that phone and server compare.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    BUNDLE_FORMAT, BundleFile, BundleHash, CALIBRATION_FILE, Calibration, Cut, GRAPH_FILE,
    MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest, OPTIONAL_FILES, PROFILE_FILE, Profile,
    WEIGHTS_FILE,
};
use crate::pixels::Preprocess;
use crate::{Error, ErrorKind, Result, TensorSpec};

/// Read size while hashing.
const HASH_CHUNK_BYTES: usize = 1 << 20;

/// Where a bundle is written that appears in `folder` when it is complete: beside it, under a name that no server serves.
pub(super) fn partial(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.partial-{}", std::process::id()))
}

/// Reads and checks `bundle.json`.
pub(crate) fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST_FILE);
    let text = read_bounded(&path)?;
    let invalid = |source: serde_json::Error| {
        Error::with_source(
            ErrorKind::InvalidBundle,
            format!("unreadable {MANIFEST_FILE}"),
            source,
        )
    };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(invalid)?;
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    if format != Some(u64::from(BUNDLE_FORMAT)) {
        let found = format.map_or_else(|| "none".to_owned(), |f| f.to_string());
        return Err(Error::new(
            ErrorKind::InvalidBundle,
            format!(
                "its format version is {found}, this dyno reads {BUNDLE_FORMAT}: prepare the model \
                 again with this version"
            ),
        ));
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(invalid)?;
    check_manifest(&manifest)?;
    Ok(manifest)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|source| {
        Error::with_source(
            ErrorKind::InvalidBundle,
            format!("no bundle here: cannot open {MANIFEST_FILE}"),
            source,
        )
    })?;
    let mut text = Vec::new();
    file.take(MAX_MANIFEST_BYTES)
        .read_to_end(&mut text)
        .map_err(|e| Error::io(path, "read", e))?;
    Ok(text)
}

fn check_manifest(manifest: &Manifest) -> Result<()> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidBundle, what);
    let names: Vec<&str> = manifest.files.iter().map(|f| f.name.as_str()).collect();
    if !are_bundle_files(&manifest.files) {
        return Err(invalid(format!(
            "{MANIFEST_FILE} lists the files {names:?}, not {GRAPH_FILE}, {WEIGHTS_FILE} and what \
             this dyno knows besides: a newer dyno may read it"
        )));
    }
    let rows_in_order = manifest
        .cuts
        .iter()
        .enumerate()
        .all(|(i, cut)| cut.index == i);
    let heads_grow = manifest
        .cuts
        .is_sorted_by(|a, b| a.flops_before <= b.flops_before);
    if manifest.cuts.len() < 2 || !rows_in_order || !heads_grow {
        return Err(invalid("its cut table is not in order".to_owned()));
    }
    let specs = manifest.cuts.iter().flat_map(|cut| &cut.tensors);
    for spec in specs.chain([&manifest.input]).chain(&manifest.outputs) {
        spec.check_bounds().map_err(|e| invalid(e.to_string()))?;
    }
    manifest
        .preprocess
        .check()
        .map_err(|e| invalid(e.to_string()))?;
    if manifest.preprocess.input_shape().as_slice() != manifest.input.shape {
        return Err(invalid(
            "its preprocessing does not make the model's input".to_owned(),
        ));
    }
    let computed = content_hash(manifest)?;
    if computed != manifest.hash {
        return Err(invalid(format!(
            "its hash is {computed}, but {MANIFEST_FILE} says {}: fetch or prepare it again",
            manifest.hash
        )));
    }
    Ok(())
}

/// The graph, the weights, and some of the files that may follow, each once and in their order.
fn are_bundle_files(files: &[BundleFile]) -> bool {
    let mut known = OPTIONAL_FILES.iter();
    let [graph, weights, others @ ..] = files else {
        return false;
    };
    graph.name == GRAPH_FILE
        && weights.name == WEIGHTS_FILE
        && others.iter().all(|file| {
            known.any(|&(name, max_bytes)| file.name == name && file.bytes <= max_bytes)
        })
}

/// Lists a file of [`OPTIONAL_FILES`] that was written to `folder` in its manifest, which gets
/// another hash.
pub(crate) fn list_file(folder: &Path, manifest: &mut Manifest, name: &str) -> Result<()> {
    let order = |file: &BundleFile| OPTIONAL_FILES.iter().position(|(n, _)| *n == file.name);
    manifest.files.retain(|file| file.name != name);
    manifest.files.push(describe_file(folder, name)?);
    manifest.files.sort_by_key(order);
    manifest.hash = content_hash(manifest)?;
    Ok(())
}

/// The calibration, if the manifest lists one.
pub(crate) fn read_calibration(folder: &Path, manifest: &Manifest) -> Result<Option<Calibration>> {
    if !manifest
        .files
        .iter()
        .any(|file| file.name == CALIBRATION_FILE)
    {
        return Ok(None);
    }
    let path = folder.join(CALIBRATION_FILE);
    let text = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    let calibration: Calibration = serde_json::from_slice(&text).map_err(|e| {
        Error::with_source(
            ErrorKind::InvalidBundle,
            format!("unreadable {CALIBRATION_FILE}"),
            e,
        )
    })?;
    calibration.check(manifest)?;
    Ok(Some(calibration))
}

/// Checks length and hash of every file.
pub(crate) fn check_files(folder: &Path, manifest: &Manifest) -> Result<()> {
    for expected in &manifest.files {
        let path = folder.join(&expected.name);
        let found = describe_file(folder, &expected.name).map_err(|e| {
            Error::with_source(
                ErrorKind::InvalidBundle,
                format!("cannot read {}", path.display()),
                e,
            )
        })?;
        if found != *expected {
            return Err(Error::new(
                ErrorKind::InvalidBundle,
                format!(
                    "{} is not the file it was ({} bytes, {} expected): fetch or prepare the \
                     bundle again",
                    expected.name, found.bytes, expected.bytes
                ),
            ));
        }
    }
    Ok(())
}

/// Length and hash of a file of the bundle.
pub(crate) fn describe_file(folder: &Path, name: &str) -> Result<BundleFile> {
    let path = folder.join(name);
    let io = |e| Error::io(&path, "read", e);
    let mut file = File::open(&path).map_err(io)?;
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk).map_err(io)?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        bytes += read as u64;
    }
    Ok(BundleFile {
        name: name.to_owned(),
        bytes,
        sha256: hex(&hasher.finalize()),
    })
}

/// The profile, if it is there and fits the cut table; a bundle works without.
pub(crate) fn read_profile(folder: &Path, manifest: &Manifest) -> Option<Profile> {
    let text = std::fs::read(folder.join(PROFILE_FILE)).ok()?;
    let profile: Option<Profile> = serde_json::from_slice(&text).ok();
    let fits = |profile: &Profile| profile.head_ms.len() == manifest.cuts.len();
    let profile = profile.filter(fits);
    if profile.is_none() {
        log::warn!(
            "{PROFILE_FILE} of {} does not fit its cut table; ignored",
            manifest.model
        );
    }
    profile
}

/// SHA-256 over everything that changes an answer.
pub(crate) fn content_hash(manifest: &Manifest) -> Result<BundleHash> {
    #[derive(Serialize)]
    struct Content<'a> {
        format: u32,
        input: &'a TensorSpec,
        outputs: &'a [TensorSpec],
        preprocess: &'a Preprocess,
        labels: &'a [String],
        cuts: &'a [Cut],
        files: &'a [BundleFile],
    }
    let content = Content {
        format: manifest.format,
        input: &manifest.input,
        outputs: &manifest.outputs,
        preprocess: &manifest.preprocess,
        labels: &manifest.labels,
        cuts: &manifest.cuts,
        files: &manifest.files,
    };
    let text = serde_json::to_vec(&content)
        .map_err(|e| Error::with_source(ErrorKind::Internal, "cannot serialise the manifest", e))?;
    BundleHash::parse(&hex(&Sha256::digest(&text)))
}

/// Lower-case hex digits.
pub(crate) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::manifest;

    /// Refused for another reason than its hash.
    fn refused(change: impl FnOnce(&mut Manifest)) -> bool {
        let mut manifest = manifest();
        manifest.files = [GRAPH_FILE, WEIGHTS_FILE]
            .map(|name| BundleFile {
                name: name.to_owned(),
                bytes: 0,
                sha256: "0".repeat(64),
            })
            .into();
        change(&mut manifest);
        manifest.hash = content_hash(&manifest).unwrap();
        check_manifest(&manifest).is_err()
    }

    #[test]
    fn a_manifest_with_a_right_hash_must_make_sense_as_well() {
        assert!(!refused(|_| ()));
        assert!(refused(|m| m.files[0].name = "../graph.onnx".to_owned()));
        assert!(refused(|m| m.files.reverse()));
        let extra = |m: &mut Manifest, name: &str, bytes| {
            let sha256 = "0".repeat(64);
            let name = name.to_owned();
            m.files.push(BundleFile {
                name,
                bytes,
                sha256,
            });
        };
        assert!(!refused(|m| extra(m, CALIBRATION_FILE, 9)));
        assert!(refused(|m| extra(m, "other.json", 9)));
        assert!(refused(|m| extra(m, CALIBRATION_FILE, u64::MAX)));
        assert!(refused(|m| {
            extra(m, CALIBRATION_FILE, 9);
            extra(m, CALIBRATION_FILE, 9);
        }));
        assert!(refused(|m| {
            extra(m, CALIBRATION_FILE, 9);
            m.files.rotate_right(1);
        }));
        assert!(refused(|m| m.cuts.truncate(1)));
        assert!(refused(|m| m.cuts.swap(1, 2)));
        assert!(refused(|m| m.cuts[1].flops_before = u64::MAX));
        assert!(refused(|m| m.cuts[1].tensors[0].shape = vec![usize::MAX; 2]));
        assert!(refused(|m| m.outputs[0].shape = vec![1; 9]));
        assert!(refused(|m| m.input.shape = vec![1, 3, 64, 65]));
        assert!(refused(|m| m.preprocess.std[0] = 0.0));
    }
}
