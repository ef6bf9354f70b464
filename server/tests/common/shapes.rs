//! The shipped model, prepared in two versions whose answers differ.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use dyno_core::bundle::{Bundle, Draft, WEIGHTS_FILE, WriteOptions};
use dyno_core::pack::Packer;
use dyno_core::pixels::{Frame, Photo, PreprocessFile};
use dyno_core::runtime::{Activation, Cancel, SpanOptions, SpanStore};
use dyno_core::schedule::{Codec, Precision};

/// Bytes of the last weights whose signs are other ones in the second version.
const CHANGED: usize = 512;

/// One prepared version, and what a client that has it sends.
pub struct Version {
    pub folder: PathBuf,
    pub hash: String,
    /// Packed activations of some cuts.
    pub packed: Vec<Vec<u8>>,
}

/// A photo of a cross.
pub fn photo() -> Vec<u8> {
    std::fs::read(models().join("samples/01_cross.jpg")).unwrap()
}

/// Both versions, prepared once for all tests of a program.
pub fn versions() -> &'static [Version; 2] {
    static VERSIONS: OnceLock<[Version; 2]> = OnceLock::new();
    VERSIONS.get_or_init(|| {
        // Cargo's folder for what tests leave behind: a static is never dropped.
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "{}-{}",
            env!("CARGO_CRATE_NAME"),
            std::process::id()
        ));
        std::fs::create_dir_all(&root).unwrap();
        let original = models().join("shapes12.onnx");
        let first = prepare(&original, &root.join("first"), "");
        let other = root.join("other.onnx");
        std::fs::write(&other, changed(&original, &first.folder)).unwrap();
        let second = prepare(&other, &root.join("second"), "other ");
        assert_ne!(first.hash, second.hash);
        [first, second]
    })
}

/// The model with other signs in its last weights.
fn changed(model: &Path, bundle: &Path) -> Vec<u8> {
    let weights = std::fs::read(bundle.join(WEIGHTS_FILE)).unwrap();
    let last = &weights[weights.len() - CHANGED..];
    let mut model = std::fs::read(model).unwrap();
    let at = model
        .windows(CHANGED)
        .position(|window| window == last)
        .expect("the weights are in the model as they are in the bundle");
    // The highest byte of each float has its sign.
    for byte in model[at..at + CHANGED].iter_mut().skip(3).step_by(4) {
        *byte ^= 0x80;
    }
    model
}

fn prepare(model: &Path, folder: &Path, prefix: &str) -> Version {
    let quiet = |_, _, _| {};
    let draft = Draft::read(model, None, &quiet).unwrap();
    let toml = std::fs::read_to_string(models().join("shapes12.toml")).unwrap();
    let file = PreprocessFile::from_toml(&toml).unwrap();
    let labels = std::fs::read_to_string(models().join("labels.txt")).unwrap();
    let options = WriteOptions {
        preprocess: file.complete(&draft.input().shape).unwrap(),
        labels: labels.lines().map(|l| format!("{prefix}{l}")).collect(),
        threads: 1,
        replace: true,
    };
    let bundle = Arc::new(draft.write(folder, &options, &quiet).unwrap());
    Version {
        folder: folder.into(),
        hash: bundle.manifest().hash.as_str().into(),
        packed: packed(&bundle),
    }
}

/// What the heads of this version send of the photo.
fn packed(bundle: &Arc<Bundle>) -> Vec<Vec<u8>> {
    let manifest = bundle.manifest();
    let options = SpanOptions {
        threads: 1,
        capacity: 1,
    };
    let spans = SpanStore::new(bundle.clone(), options).unwrap();
    let pixels = Photo::decode(&photo()).unwrap();
    let frame = Frame::stage(&pixels.pixels().unwrap(), &manifest.preprocess).unwrap();
    let input = frame.to_tensor(&manifest.preprocess).unwrap();
    let last = manifest.last_cut();
    [last / 3, 2 * last / 3, last - 1]
        .map(|cut| {
            let activation = Activation::new(0, vec![input.clone()]);
            let run = spans.run(activation, cut, &Cancel::new()).unwrap();
            let tensors = run.output.into_tensors().unwrap();
            let values: Vec<_> = tensors.iter().map(|t| t.as_f32().unwrap()).collect();
            let row = &manifest.cuts[cut];
            let mut packer = Packer::default();
            packer
                .pack(row, &values, Precision::Raw, Codec::Zstd)
                .unwrap()
        })
        .into()
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// Copies the files of a bundle.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Puts a bundle in place as `docs/server.md` says: written beside, then moved. What was there is
/// given back, where it lies now.
pub fn put(bundle: &Path, place: &Path) -> Option<PathBuf> {
    let beside = |what: &str| {
        let name = place.file_name().unwrap().to_str().unwrap();
        let mut number = 0;
        loop {
            let path = place.with_file_name(format!(".{name}.{what}-{number}"));
            if !path.exists() {
                return path;
            }
            number += 1;
        }
    };
    let new = beside("new");
    copy(bundle, &new);
    let old = place.exists().then(|| {
        let old = beside("old");
        std::fs::rename(place, &old).unwrap();
        old
    });
    std::fs::rename(new, place).unwrap();
    old
}
