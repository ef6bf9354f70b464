//! The shipped model, prepared once for all tests, and packed activations made for it by hand.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dyno_core::bundle::{Bundle, Cut, Draft, Manifest, WriteOptions};
use dyno_core::pack::Packer;
use dyno_core::pixels::PreprocessFile;
use dyno_core::schedule::{Codec, Levels, Precision};

pub(crate) const MODEL: &str = "shapes12";

/// A folder with the bundle, as a server is given it.
pub(crate) fn bundles() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Cargo's folder for what tests leave behind: a static is never dropped.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
        std::fs::create_dir_all(&folder).unwrap();
        prepare(&folder.join(MODEL));
        folder
    })
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn prepare(out: &Path) {
    let read = |name: &str| std::fs::read_to_string(models().join(name)).unwrap();
    let silent = |_, _, _| {};
    let draft = Draft::read(&models().join("shapes12.onnx"), None, &silent).unwrap();
    let preprocess = PreprocessFile::from_toml(&read("shapes12.toml")).unwrap();
    let options = WriteOptions {
        preprocess: preprocess.complete(&draft.input().shape).unwrap(),
        labels: read("labels.txt").lines().map(Into::into).collect(),
        threads: 1,
        replace: true,
    };
    draft.write(out, &options, &silent).unwrap();
}

pub(crate) fn manifest() -> &'static Manifest {
    static MANIFEST: OnceLock<Manifest> = OnceLock::new();
    MANIFEST.get_or_init(|| {
        let bundle = Bundle::open(&bundles().join(MODEL)).unwrap();
        bundle.manifest().clone()
    })
}

/// A photo that the model knows.
pub(crate) fn photo() -> Vec<u8> {
    let samples = std::fs::read_dir(models().join("samples")).unwrap();
    let mut photos: Vec<_> = samples
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jpg"))
        .collect();
    photos.sort();
    std::fs::read(&photos[0]).unwrap()
}

/// The inner cut with the fewest elements, all in one tensor: messages for it are small.
pub(crate) fn small_cut() -> &'static Cut {
    let manifest = manifest();
    let inner = &manifest.cuts[1..manifest.last_cut()];
    let single = inner.iter().filter(|cut| cut.tensors.len() == 1);
    single.min_by_key(|cut| cut.elements()).unwrap()
}

/// The cut whose messages are the longest that the server takes.
pub(crate) fn large_cut() -> &'static Cut {
    let manifest = manifest();
    let with_tail = &manifest.cuts[..manifest.last_cut()];
    with_tail.iter().max_by_key(|cut| cut.elements()).unwrap()
}

/// A wave of values for a cut of one tensor: something to compress, nothing special.
pub(crate) fn packed(cut: &Cut, precision: Precision, codec: Codec) -> Vec<u8> {
    let values: Vec<Vec<f32>> = cut
        .tensors
        .iter()
        .map(|tensor| wave(tensor.elements()))
        .collect();
    let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
    Packer::default()
        .pack(cut, &values, precision, codec)
        .unwrap()
}

fn wave(elements: usize) -> Vec<f32> {
    (0..elements).map(|i| (i % 17) as f32 / 16.0).collect()
}

/// A message of one tensor, field by field, each of which can be wrong (`docs/wire-format.md`).
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) magic: [u8; 3],
    pub(crate) version: u8,
    pub(crate) cut: u16,
    pub(crate) tensors: u8,
    pub(crate) reserved: u8,
    pub(crate) row: ForgedRow,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct ForgedRow {
    pub(crate) codec: u8,
    pub(crate) reserved: u8,
    pub(crate) last_code: u16,
    pub(crate) lo: f32,
    pub(crate) hi: f32,
    pub(crate) elements: u32,
    /// Bytes of the payload; those that there are unless it is given.
    pub(crate) payload_bytes: Option<u32>,
}

pub(crate) const RAW: u8 = 0;
pub(crate) const LZ4: u8 = 1;
pub(crate) const ZSTD: u8 = 2;
pub(crate) const CONTEXT: u8 = 3;

impl Forged {
    /// A sound one for [`small_cut`]: 256 levels, no codec, all codes 0.
    pub(crate) fn sound() -> Self {
        let elements = small_cut().elements();
        Self {
            magic: *b"DyN",
            version: 1,
            cut: u16::try_from(small_cut().index).unwrap(),
            tensors: 1,
            reserved: 0,
            row: ForgedRow {
                codec: RAW,
                reserved: 0,
                last_code: u16::try_from(Levels::EIGHT_BITS.get() - 1).unwrap(),
                lo: 0.0,
                hi: 1.0,
                elements: u32::try_from(elements).unwrap(),
                payload_bytes: None,
            },
            payload: vec![0; 8 * elements.div_ceil(8)],
        }
    }

    /// A sound message with one thing changed.
    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut forged = Self::sound();
        change(&mut forged);
        forged.bytes()
    }

    /// The message, with a checksum that fits.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let row = &self.row;
        let payload_bytes = row
            .payload_bytes
            .unwrap_or_else(|| u32::try_from(self.payload.len()).unwrap());
        let mut bytes = self.magic.to_vec();
        bytes.push(self.version);
        bytes.extend(self.cut.to_le_bytes());
        bytes.extend([self.tensors, self.reserved, row.codec, row.reserved]);
        bytes.extend(row.last_code.to_le_bytes());
        bytes.extend(row.lo.to_le_bytes());
        bytes.extend(row.hi.to_le_bytes());
        bytes.extend(row.elements.to_le_bytes());
        bytes.extend(payload_bytes.to_le_bytes());
        bytes.extend(&self.payload);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }
}
