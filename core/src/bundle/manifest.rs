//! `bundle.json`: what a bundle says about its model. Phone and server hold the same one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pixels::Preprocess;
use crate::{Error, ErrorKind, Result, TensorSpec};

/// Version of the bundle's layout; a bundle of another version is refused.
pub const BUNDLE_FORMAT: u32 = 1;

/// SHA-256 over everything in a bundle that changes an answer, as 64 lower-case hex digits.
///
/// Phone and server compare it with every request; the profile is left out of it, because it
/// belongs to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundleHash(String);

impl BundleHash {
    /// Fails with [`ErrorKind::InvalidBundle`] unless `hex` is 64 lower-case hex digits.
    pub fn parse(hex: &str) -> Result<Self> {
        let valid = hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !valid {
            return Err(Error::new(
                ErrorKind::InvalidBundle,
                "a bundle hash is 64 lower-case hex digits",
            ));
        }
        Ok(Self(hex.to_owned()))
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BundleHash {
    type Error = Error;

    fn try_from(hex: String) -> Result<Self> {
        Self::parse(&hex)
    }
}

impl From<BundleHash> for String {
    fn from(hash: BundleHash) -> Self {
        hash.0
    }
}

impl fmt::Display for BundleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One row of the cut table.
///
/// Row 0 is before the first node (its tensor is the model's input); the last row is after the
/// last node (its tensors are the model's outputs, and nothing is left to run).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Position in the cut table.
    pub index: usize,
    /// Name of the last node of the head; empty at cut 0.
    pub after: String,
    /// What crosses: the inputs of the tail, in the order they are sent.
    pub tensors: Vec<TensorSpec>,
    /// Floating-point operations of the head (a multiply-add counts as two).
    pub flops_before: u64,
    /// Floating-point operations of the tail.
    pub flops_after: u64,
}

impl Cut {
    /// Elements of all tensors that cross; the largest `usize` if they are more.
    pub fn elements(&self) -> usize {
        let each = self.tensors.iter().map(TensorSpec::elements);
        each.fold(0, usize::saturating_add)
    }
}

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleFile {
    /// File name within the bundle's folder.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, lower-case hex.
    pub sha256: String,
}

/// Where a bundle's model came from; for people, not part of the hash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// File name of the ONNX model.
    pub source: String,
    /// SHA-256 of that file.
    pub source_sha256: String,
    /// Version of the default operator set.
    pub opset: i64,
    /// Version of dyno that prepared it.
    pub dyno: String,
}

/// The content of `bundle.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`BUNDLE_FORMAT`].
    pub format: u32,
    /// Name of the model: the folder's name when it was prepared.
    pub model: String,
    /// Hash of the content.
    pub hash: BundleHash,
    /// The one input: f32, fixed shape.
    pub input: TensorSpec,
    /// All outputs, in the graph's order.
    pub outputs: Vec<TensorSpec>,
    /// How a photo becomes the input tensor.
    pub preprocess: Preprocess,
    /// Class names in the order of the output's elements; empty if the model is no classifier or
    /// none were given.
    pub labels: Vec<String>,
    /// The cut table, from cut 0 (input) to the last (outputs).
    pub cuts: Vec<Cut>,
    /// The graph and its weights.
    pub files: Vec<BundleFile>,
    /// Where the model came from.
    pub provenance: Provenance,
}

impl Manifest {
    /// Index of the last row of the cut table: after the last node, all on the device.
    pub fn last_cut(&self) -> usize {
        self.cuts.len().saturating_sub(1)
    }

    /// Whether the model has one f32 output of shape `[1, classes]` (or `[1, classes, 1, 1]`):
    /// then answers are labels with scores, otherwise raw outputs.
    pub fn is_classifier(&self) -> bool {
        match self.outputs.as_slice() {
            [output] => {
                output.element == crate::ElementType::F32
                    && output.shape.len() >= 2
                    && output.shape[0] == 1
                    && output.shape[1] > 1
                    && output.shape[2..].iter().all(|&d| d == 1)
            }
            _ => false,
        }
    }
}
