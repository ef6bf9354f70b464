//! A tail as an ONNX file of its own, for inference servers that know nothing of bundles, and its name
//! there.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::str::FromStr;

use bytes::Bytes;
use prost::Message as _;

use super::{Bundle, BundleHash, WEIGHTS_FILE};
use crate::graph::proto::TensorProto;
use crate::graph::span::Source;
use crate::{Error, ErrorKind, Result, TensorSpec};

/// Largest file: what protobuf, and with it every reader of ONNX, takes.
const MAX_BYTES: usize = i32::MAX as usize;

/// Digits of a bundle's hash in the name of a tail.
const HASH_DIGITS: usize = 12;

/// How tails are named where another server has them: `{model}`, `{hash}` and `{cut}` stand for the
/// model's name, the first 12 digits of its bundle's hash, and the cut's index.
///
/// With the hash in it, the tails of two versions of a model can be there side by side.
///
/// ```
/// use dyno_core::bundle::{BundleHash, TailPattern};
///
/// let hash = BundleHash::parse(&"0123456789abcdef".repeat(4))?;
/// let name = TailPattern::default().of("shapes12", &hash, 3);
/// assert_eq!(name, "shapes12_0123456789ab_cut3");
/// assert!("tail".parse::<TailPattern>().is_err());
/// # Ok::<(), dyno_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailPattern(String);

impl TailPattern {
    /// The name of one tail.
    pub fn of(&self, model: &str, hash: &BundleHash, cut: usize) -> String {
        let digits = hash.as_str().get(..HASH_DIGITS).unwrap_or_default();
        self.0
            .replace("{hash}", digits)
            .replace("{cut}", &cut.to_string())
            .replace("{model}", model)
    }
}

impl Default for TailPattern {
    fn default() -> Self {
        Self("{model}_{hash}_cut{cut}".to_owned())
    }
}

impl fmt::Display for TailPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TailPattern {
    type Err = Error;

    /// Fails with [`ErrorKind::InvalidArgument`] unless different tails get different names, of
    /// characters that are plain in paths and in other servers' names.
    fn from_str(text: &str) -> Result<Self> {
        let whose = text.contains("{model}") || text.contains("{hash}");
        let rest = ["{model}", "{hash}", "{cut}"]
            .iter()
            .fold(text.to_owned(), |rest, placeholder| {
                rest.replace(placeholder, "")
            });
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if !whose || !text.contains("{cut}") || !rest.bytes().all(plain) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "'{}' cannot name tails: take {{cut}} and {{model}} or {{hash}}, with \
                     A-Z a-z 0-9 _ - between them",
                    text.escape_debug()
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// How many activations a tail runs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailBatch {
    /// One: every shape is fixed.
    One,
    /// Any number, stacked along the first dimension, which is open.
    Any,
}

/// The steps behind a cut as a model.
#[derive(Debug, Clone)]
pub struct TailModel {
    /// ONNX, its weights inside.
    pub onnx: Vec<u8>,
    /// What it takes: the tensors of the cut that its steps read, by name. Shapes are those of one
    /// activation.
    pub inputs: Vec<TensorSpec>,
    /// What it gives: the model's outputs, by name, but for those that are tensors of the cut
    /// already. Shapes are those of one activation.
    pub outputs: Vec<TensorSpec>,
}

impl Bundle {
    /// The tail behind a cut, for whoever runs it without this crate. Reads its weights from the bundle's
    /// file.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if there is no such cut or nothing behind it, and with
    /// [`ErrorKind::UnsupportedModel`] if it is beyond the 2 GiB of an ONNX file, or cannot take several
    /// activations together and is to.
    pub fn tail_model(&self, cut: usize, batch: TailBatch) -> Result<TailModel> {
        let last = self.manifest().last_cut();
        let mut span = self.span_model(cut, last)?;
        if batch == TailBatch::Any {
            span = crate::graph::batch::open(&span).ok_or_else(|| {
                Error::new(
                    ErrorKind::UnsupportedModel,
                    format!("the tail behind cut {cut} takes one activation at a time"),
                )
            })?;
        }
        let outputs: Vec<TensorSpec> = self
            .cut(last)?
            .tensors
            .iter()
            .zip(&span.outputs)
            .filter(|(_, source)| matches!(source, Source::Computed(_)))
            .map(|(spec, _)| spec.clone())
            .collect();
        let inputs = span
            .inputs
            .iter()
            .filter_map(|&index| span.entry.get(index));
        let inputs = inputs.cloned().collect();
        if let Some(graph) = span.proto.graph.as_mut() {
            self.inline(&mut graph.initializer)?;
        }
        let bytes = span.proto.encoded_len();
        if bytes > MAX_BYTES {
            return Err(Error::new(
                ErrorKind::UnsupportedModel,
                format!(
                    "the tail behind cut {cut} has {bytes} bytes, and an ONNX file at most {MAX_BYTES}"
                ),
            ));
        }
        Ok(TailModel {
            onnx: span.proto.encode_to_vec(),
            inputs,
            outputs,
        })
    }

    /// Puts the weights that lie in the bundle's file into the graph.
    fn inline(&self, tensors: &mut [TensorProto]) -> Result<()> {
        let path = self.folder().join(WEIGHTS_FILE);
        let read = |error| Error::io(&path, "read", error);
        let mut file = File::open(&path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        for tensor in tensors {
            if tensor.data_location != Some(TensorProto::EXTERNAL) {
                continue;
            }
            let number = |key: &str| tensor.external(key)?.parse::<u64>().ok();
            let range = number("offset").zip(number("length"));
            let within = |&(offset, bytes): &(u64, u64)| {
                offset.checked_add(bytes).is_some_and(|end| end <= length)
            };
            let (offset, bytes) = range.filter(within).ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidBundle,
                    format!("the weights '{}' are not in {WEIGHTS_FILE}", tensor.label()),
                )
            })?;
            let mut data = Vec::new();
            file.seek(SeekFrom::Start(offset)).map_err(read)?;
            (&mut file)
                .take(bytes)
                .read_to_end(&mut data)
                .map_err(read)?;
            tensor.raw_data = Some(Bytes::from(data));
            tensor.external_data = Vec::new();
            tensor.data_location = None;
        }
        Ok(())
    }
}
