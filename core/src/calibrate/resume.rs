//! An interrupted calibration goes on where it was: what each cut gave lies in a file beside the
//! bundle until whoever wanted the table has it in a safe place.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::doubt::SHARES;
use super::lab::Lab;
use super::search::{LEVELS, QUALITIES};
use crate::bundle::{CALIBRATION_FORMAT, CalibrationRow};
use crate::pack::{Shaping, TensorShaping};
use crate::schedule::Codec;
use crate::{Error, ErrorKind, Result};

/// Most bytes of a file that is read.
const MAX_BYTES: u64 = 64 << 20;

/// The cuts that are done.
#[derive(Debug)]
pub(super) struct Progress {
    file: Option<PathBuf>,
    state: State,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Of everything that the rows depend on.
    key: String,
    shaping: Shaping,
    rows: Vec<CalibrationRow>,
}

impl Progress {
    /// What `file` says, if it was left by a calibration with the same `key`; a start otherwise.
    pub(super) fn open(file: Option<&Path>, key: String) -> Self {
        let left = file.and_then(read).filter(|state| state.key == key);
        Self {
            file: file.map(Path::to_owned),
            state: left.unwrap_or_else(|| State {
                key,
                ..State::default()
            }),
        }
    }

    /// How many cuts are done.
    pub(super) fn cuts(&self) -> usize {
        self.state.shaping.cuts()
    }

    pub(super) fn has(&self, cut: usize) -> bool {
        self.state.shaping.of_cut(cut).is_some()
    }

    /// Keeps what a cut gave.
    pub(super) fn add(
        &mut self,
        cut: usize,
        shaping: Vec<TensorShaping>,
        rows: Vec<CalibrationRow>,
    ) -> Result<()> {
        self.state.shaping.insert(cut, shaping);
        self.state.rows.extend(rows);
        match &self.file {
            Some(file) => write(file, &self.state),
            None => Ok(()),
        }
    }

    /// Everything, rows by cut.
    pub(super) fn finish(mut self) -> (Shaping, Vec<CalibrationRow>) {
        self.state.rows.sort_by_key(|row| row.cut);
        (self.state.shaping, self.state.rows)
    }
}

fn read(file: &Path) -> Option<State> {
    let bytes = file.metadata().ok()?.len();
    if bytes > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

/// Whole or not at all.
fn write(file: &Path, state: &State) -> Result<()> {
    let text = serde_json::to_vec(state)
        .map_err(|e| Error::with_source(ErrorKind::Internal, "cannot write JSON", e))?;
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let io = |e| Error::io(&partial, "write", e);
    let mut out = std::fs::File::create(&partial).map_err(io)?;
    out.write_all(&text).map_err(io)?;
    std::fs::rename(&partial, file).map_err(|e| Error::io(file, "write", e))
}

/// Of the bundle, the photos (their names and lengths), the labels, and how this build measures.
pub(super) fn key(lab: &Lab) -> Result<String> {
    let mut hash = Sha256::new();
    let mut add = |text: String| {
        hash.update(text.as_bytes());
        hash.update([0]);
    };
    add(format!(
        "{CALIBRATION_FORMAT} {}",
        env!("CARGO_PKG_VERSION")
    ));
    add(lab.bundle().manifest().hash.to_string());
    add(format!(
        "{} {:?} {LEVELS:?} {QUALITIES:?} {SHARES:?}",
        lab.measure(),
        Codec::ALL
    ));
    for (file, class) in lab.photos().files().iter().zip(lab.truth()) {
        let bytes = file
            .metadata()
            .map_err(|e| Error::io(file, "read", e))?
            .len();
        add(format!("{} {bytes} {class:?}", file.display()));
    }
    Ok(crate::bundle::hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{CodecBytes, Sent};
    use crate::calibrate::{Judgement, Measure};
    use crate::schedule::{Precision, Quantisation};

    fn row(cut: usize) -> CalibrationRow {
        CalibrationRow {
            cut,
            sent: Sent::Packed(Quantisation::Plain, Precision::Raw),
            images: 3,
            bytes: vec![CodecBytes {
                codec: "raw".to_owned(),
                mean: 0.1 + 0.2,
                p95: 7,
            }],
            fidelity: Judgement::Distance {
                name: Measure::L2,
                mean: 1.0 / 3.0,
                upper: 0.5,
            },
            doubts: Vec::new(),
        }
    }

    fn shaped() -> Vec<TensorShaping> {
        vec![TensorShaping {
            weight: 0.5,
            diffusion: 0.9,
        }]
    }

    #[test]
    fn what_was_done_is_found_again_also_when_all_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let open = |key: &str| Progress::open(Some(&file), key.to_owned());
        let mut first = open("a");
        first.add(2, shaped(), vec![row(2)]).unwrap();
        first.add(0, shaped(), vec![row(0), row(0)]).unwrap();
        drop(first);
        assert_eq!(open("b").cuts(), 0, "another key starts anew");
        let again = open("a");
        assert!(again.has(2) && again.has(0) && !again.has(1));
        let (shaping, rows) = again.finish();
        assert_eq!(rows, [row(0), row(0), row(2)]);
        assert_eq!(shaping.of_cut(2), Some(&shaped()[..]));
        assert_eq!(open("a").finish().1, rows);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_starts_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        std::fs::write(&file, "{\"key\":\"a\"").unwrap();
        assert_eq!(Progress::open(Some(&file), "a".to_owned()).cuts(), 0);
    }
}
