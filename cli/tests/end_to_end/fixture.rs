//! The model that ships, prepared once for all tests, and its samples with the right answers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{Run, dyno};

/// The shipped model's name, and so its bundle's.
pub(crate) const MODEL: &str = "shapes12";
/// The bundle's last cut: everything on the device.
pub(crate) const LAST_CUT: u64 = 29;

/// The folder of the shipped model.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// A folder with one bundle, the shipped model's, as a server is given it.
pub(crate) fn bundles() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Cargo's folder for what tests leave behind: a static is never dropped.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("end_to_end");
        std::fs::create_dir_all(&folder).unwrap();
        prepare(&folder.join(MODEL), &["--force"]).ok();
        folder
    })
}

/// The shipped model's bundle.
pub(crate) fn bundle() -> PathBuf {
    bundles().join(MODEL)
}

/// Prepares the shipped model as its TOML says, and as `flags` say.
pub(crate) fn prepare(out: &Path, flags: &[&str]) -> Run {
    let model = models().join("shapes12.onnx");
    let preprocess = models().join("shapes12.toml");
    let mut arguments = arguments([
        "prepare".as_ref(),
        model.as_os_str(),
        "--preprocess".as_ref(),
        preprocess.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    arguments.extend(flags.iter().map(OsString::from));
    dyno(arguments)
}

/// `dyno inspect --json`.
pub(crate) fn inspect(bundle: &Path) -> Value {
    let run = dyno(["inspect".as_ref(), bundle.as_os_str(), "--json".as_ref()]);
    run.ok().json()
}

/// The hash that `dyno inspect` shows.
pub(crate) fn hash(bundle: &Path) -> String {
    inspect(bundle)["hash"].as_str().unwrap().to_owned()
}

/// `dyno infer --json` on the shared bundle.
pub(crate) fn infer(flags: &[&str], images: &[PathBuf]) -> Run {
    infer_with(&bundle(), flags, images)
}

/// `dyno infer --json` on another bundle.
pub(crate) fn infer_with(bundle: &Path, flags: &[&str], images: &[PathBuf]) -> Run {
    dyno(infer_arguments(bundle, flags, images))
}

pub(crate) fn infer_arguments(bundle: &Path, flags: &[&str], images: &[PathBuf]) -> Vec<OsString> {
    let mut all = arguments(["infer".as_ref(), "--json".as_ref(), "--bundle".as_ref()]);
    all.push(bundle.into());
    all.extend(flags.iter().map(OsString::from));
    all.extend(images.iter().map(OsString::from));
    all
}

fn arguments<const N: usize>(arguments: [&std::ffi::OsStr; N]) -> Vec<OsString> {
    arguments.map(OsString::from).to_vec()
}

/// A sample photo and the class that it shows.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) file: PathBuf,
    pub(crate) class: u64,
    pub(crate) name: String,
}

/// The samples in the order of their list.
pub(crate) fn samples() -> Vec<Sample> {
    let folder = models().join("samples");
    let list = std::fs::read_to_string(folder.join("labels.csv")).unwrap();
    let sample = |line: &str| {
        let columns: Vec<&str> = line.split(',').collect();
        Sample {
            file: folder.join(columns[0]),
            class: columns[1].parse().unwrap(),
            name: columns[2].to_owned(),
        }
    };
    list.lines().skip(1).map(sample).collect()
}

/// The sample photos' files, the first so many.
pub(crate) fn photos(count: usize) -> Vec<PathBuf> {
    samples().into_iter().take(count).map(|s| s.file).collect()
}

/// A folder that goes with the test.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Copies a folder of files.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Class and score of the first label.
#[track_caller]
pub(crate) fn top(line: &Value) -> (u64, f64) {
    let first = &line["top"][0];
    let score = first["score"].as_f64();
    (
        first["index"]
            .as_u64()
            .unwrap_or_else(|| panic!("no label: {line}")),
        score.unwrap(),
    )
}

/// Checks that every sample got an answer, in order, and the right one.
#[track_caller]
pub(crate) fn assert_right(lines: &[Value], samples: &[Sample]) {
    assert_eq!(lines.len(), samples.len());
    for (line, sample) in lines.iter().zip(samples) {
        assert_eq!(line["image"], sample.file.display().to_string());
        assert_eq!(top(line).0, sample.class, "{line}");
    }
}

/// The names of an object's fields, sorted.
#[track_caller]
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap_or_else(|| panic!("{value}"));
    object.keys().map(String::as_str).collect()
}
