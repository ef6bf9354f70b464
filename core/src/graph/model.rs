//! Reading an ONNX file, and fixing the shape of its input.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::normalise::{no_input, normalise};
use super::proto::{GraphProto, ModelProto, TensorProto, ValueInfo, data_type};
use crate::{ElementType, Error, ErrorKind, Result, TensorSpec};

/// Oldest version of ONNX's default operator set that is taken.
pub const MIN_OPSET: i64 = 11;
/// Largest model file that is read: protobuf's own limit.
pub const MAX_MODEL_BYTES: u64 = 2 << 30;

/// A model that can be cut, as far as its file tells.
#[derive(Debug, Clone)]
pub struct Model {
    pub(crate) proto: ModelProto,
    pub(crate) graph: GraphProto,
    folder: Option<PathBuf>,
    opset: i64,
}

impl Model {
    /// Reads the model in `path`; external data is looked for beside it.
    ///
    /// Fails with [`ErrorKind::Io`], [`ErrorKind::InvalidModel`] or
    /// [`ErrorKind::UnsupportedModel`], naming the node where there is one.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::metadata(path)
            .map_err(|e| Error::io(path, "read", e))?
            .len();
        if bytes > MAX_MODEL_BYTES {
            return Err(Error::new(
                ErrorKind::UnsupportedModel,
                format!(
                    "{} has {bytes} bytes; a protobuf file has at most {MAX_MODEL_BYTES}: save the \
                     weights as external data",
                    path.display()
                ),
            ));
        }
        let content = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        let mut model = Self::from_bytes(content).map_err(|e| e.context(path.display()))?;
        model.folder = Some(path.parent().unwrap_or(Path::new("")).to_owned());
        Ok(model)
    }

    /// Reads a model whose weights are all inside the file.
    ///
    /// ```
    /// use dyno_core::{ErrorKind, graph::Model};
    ///
    /// let error = Model::from_bytes(&b"GIF89a"[..]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidModel);
    /// ```
    pub fn from_bytes(content: impl Into<Bytes>) -> Result<Self> {
        let mut proto = ModelProto::decode(content.into()).map_err(|source| {
            Error::with_source(
                ErrorKind::InvalidModel,
                "not an ONNX model, or a truncated one",
                source,
            )
        })?;
        let graph = proto.graph.take().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidModel,
                "not an ONNX model: it holds no graph",
            )
        })?;
        let opset = check_opset(&proto)?;
        let graph = normalise(graph)?;
        Ok(Self {
            proto,
            graph,
            folder: None,
            opset,
        })
    }

    /// Version of the default operator set.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// Number of nodes, constants not counted.
    pub fn node_count(&self) -> usize {
        self.graph.node.len()
    }

    /// Gives the input a fixed shape: `shape` where given, else the file's own, in which an
    /// unknown first dimension (the batch) is taken as 1.
    ///
    /// Fails with [`ErrorKind::UnsupportedModel`] if another dimension is unknown.
    pub fn fix_input(&mut self, shape: Option<&[usize]>) -> Result<TensorSpec> {
        let input = self.graph.input.first().ok_or_else(no_input)?;
        let name = input.label().to_owned();
        let declared: Vec<Option<usize>> = input
            .tensor()
            .and_then(|t| t.shape.as_ref())
            .map(|shape| {
                let known = |d: &super::proto::Dimension| {
                    d.dim_value
                        .and_then(|v| usize::try_from(v).ok())
                        .filter(|&v| v > 0)
                };
                shape.dim.iter().map(known).collect()
            })
            .unwrap_or_default();
        let shape = match shape {
            Some(shape) => given_shape(&name, shape, &declared)?,
            None => declared_shape(&name, &declared)?,
        };
        let spec = TensorSpec {
            name,
            element: ElementType::F32,
            shape,
        };
        spec.check_bounds()?;
        if spec.shape[0] != 1 {
            return Err(Error::new(
                ErrorKind::UnsupportedModel,
                format!(
                    "input '{}' takes {} photos at once; a batch of 1 is supported",
                    spec.name, spec.shape[0]
                ),
            ));
        }
        self.graph.input = vec![ValueInfo::fixed(&spec.name, data_type::FLOAT, &spec.shape)];
        // Shapes noted for the old input may contradict the new one.
        self.graph.value_info.clear();
        for output in &mut self.graph.output {
            if let Some(tensor) = output.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()) {
                tensor.shape = None;
            }
        }
        Ok(spec)
    }

    /// Where the model's external data lies, if it was read from a file.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The bytes of an initialiser that is stored outside of the file.
    pub(crate) fn read_external(&self, tensor: &TensorProto) -> Result<Bytes> {
        let fail = |what: String| {
            Error::new(
                ErrorKind::InvalidModel,
                format!("weights of '{}': {what}", tensor.label()),
            )
        };
        let location = tensor
            .external("location")
            .ok_or_else(|| fail("external data without a location".to_owned()))?;
        let folder = self.folder.as_deref().ok_or_else(|| {
            fail(format!(
                "they lie in '{location}', but the model was not read from a folder"
            ))
        })?;
        let inside = Path::new(location)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(fail(format!(
                "'{location}' leads out of the model's folder"
            )));
        }
        let number = |key: &str| {
            tensor
                .external(key)
                .map(str::parse::<u64>)
                .transpose()
                .map_err(|_| fail(format!("the {key} of its external data is not a number")))
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        read_range(&folder.join(location), offset, length)
    }
}

fn read_range(path: &Path, offset: u64, length: Option<u64>) -> Result<Bytes> {
    use std::io::{Read, Seek, SeekFrom};

    let io = |e| Error::io(path, "read the weights in", e);
    let mut file = std::fs::File::open(path).map_err(io)?;
    let rest = file.metadata().map_err(io)?.len().saturating_sub(offset);
    let length = length.unwrap_or(rest);
    if length > rest {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!(
                "{} ends before the weights do: is it truncated?",
                path.display()
            ),
        ));
    }
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut content = Vec::new();
    file.take(length).read_to_end(&mut content).map_err(io)?;
    Ok(content.into())
}

fn check_opset(proto: &ModelProto) -> Result<i64> {
    let opset = proto
        .opset_import
        .iter()
        .find(|o| matches!(o.domain.as_deref(), None | Some("" | "ai.onnx")))
        .and_then(|o| o.version)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidModel,
                "the model imports no version of ONNX's operator set",
            )
        })?;
    if opset < MIN_OPSET {
        return Err(Error::new(
            ErrorKind::UnsupportedModel,
            format!(
                "the model uses opset {opset}; {MIN_OPSET} is the oldest supported: convert it with \
                 onnx.version_converter or export it again"
            ),
        ));
    }
    Ok(opset)
}

fn given_shape(name: &str, shape: &[usize], declared: &[Option<usize>]) -> Result<Vec<usize>> {
    let fits = declared.is_empty()
        || (shape.len() == declared.len()
            && shape
                .iter()
                .zip(declared)
                .all(|(&s, d)| d.is_none_or(|d| d == s)));
    if shape.len() == 4 && shape.iter().all(|&d| d > 0) && fits {
        return Ok(shape.to_vec());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!(
            "the shape {shape:?} does not fit input '{name}', declared as {}",
            show_dims(declared)
        ),
    ))
}

fn declared_shape(name: &str, declared: &[Option<usize>]) -> Result<Vec<usize>> {
    if declared.len() != 4 {
        return Err(Error::new(
            ErrorKind::UnsupportedModel,
            format!(
                "input '{name}' is declared as {}; an image has four dimensions (batch, and three \
                 of channels, height, width)",
                show_dims(declared)
            ),
        ));
    }
    let mut shape = declared.to_vec();
    shape[0] = shape[0].or(Some(1));
    shape
        .iter()
        .copied()
        .collect::<Option<Vec<usize>>>()
        .ok_or_else(|| {
            Error::new(
                ErrorKind::UnsupportedModel,
                format!(
                    "input '{name}' has a dynamic shape, {}: give its size with --input-shape, for \
                 example --input-shape 1,3,224,224",
                    show_dims(declared)
                ),
            )
        })
}

fn show_dims(dims: &[Option<usize>]) -> String {
    let dims: Vec<String> = dims
        .iter()
        .map(|d| d.map_or_else(|| "?".to_owned(), |d| d.to_string()))
        .collect();
    format!("[{}]", dims.join(", "))
}
