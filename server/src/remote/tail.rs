//! One tail on another server: what it takes and gives, and the messages to and from it.

use dyno_core::bundle::{Cut, Manifest};
use dyno_core::{ElementType, Error, ErrorKind, Result, Tensor, TensorData, TensorSpec};

use super::proto::{
    Contents, InferTensor, ModelInferRequest, ModelInferResponse, ModelMetadataResponse,
    RequestedOutput, TensorMetadata,
};
use crate::oip::name_of;

/// Where an output of the model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The tail gives it.
    Computed,
    /// It is a tensor of the cut, by index.
    Passed(usize),
}

/// A tail that the other server has, fitted to its cut.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    name: String,
    /// Tensors of the cut that it takes, in its order.
    inputs: Vec<(usize, TensorSpec)>,
    /// One for each output of the model.
    outputs: Vec<(Source, TensorSpec)>,
}

impl Tail {
    /// Fails with [`ErrorKind::InvalidBundle`] unless the model that is described takes tensors of the
    /// cut and gives the rest of the model's outputs.
    pub(super) fn fit(
        name: &str,
        described: &ModelMetadataResponse,
        cut: &Cut,
        manifest: &Manifest,
    ) -> Result<Self> {
        let unfit = |what: &str, tensor: &str| {
            Error::new(
                ErrorKind::InvalidBundle,
                format!(
                    "the tail engine's model '{name}' {what} '{}': export the bundle's tails again",
                    tensor.escape_debug()
                ),
            )
        };
        let mut inputs = Vec::new();
        for input in &described.inputs {
            let index = cut
                .tensors
                .iter()
                .position(|spec| fits(spec, input))
                .ok_or_else(|| unfit("takes what the cut does not have:", &input.name))?;
            inputs.push((index, cut.tensors[index].clone()));
        }
        let mut outputs = Vec::new();
        for spec in &manifest.outputs {
            let source = if described.outputs.iter().any(|output| fits(spec, output)) {
                Source::Computed
            } else if let Some(index) = cut.tensors.iter().position(|tensor| tensor == spec) {
                Source::Passed(index)
            } else {
                return Err(unfit("does not give the output", &spec.name));
            };
            outputs.push((source, spec.clone()));
        }
        Ok(Self {
            name: name.to_owned(),
            inputs,
            outputs,
        })
    }

    /// The call that runs it on the elements of each tensor of the cut.
    pub(super) fn request(&self, tensors: &[&[f32]]) -> Result<ModelInferRequest> {
        let mut raw = Vec::with_capacity(self.inputs.len());
        for (index, spec) in &self.inputs {
            let elements = tensors.get(*index).ok_or_else(|| {
                Error::new(
                    ErrorKind::Internal,
                    format!("the activation lacks the tensor '{}'", spec.name),
                )
            })?;
            raw.push(elements.iter().flat_map(|x| x.to_le_bytes()).collect());
        }
        let computed = |(source, spec): &(Source, TensorSpec)| {
            (*source == Source::Computed).then(|| RequestedOutput {
                name: spec.name.clone(),
            })
        };
        Ok(ModelInferRequest {
            model_name: self.name.clone(),
            model_version: String::new(),
            inputs: self.inputs.iter().map(|(_, spec)| message(spec)).collect(),
            outputs: self.outputs.iter().filter_map(computed).collect(),
            raw_input_contents: raw,
        })
    }

    /// Bytes of the tensors of an answer.
    pub(super) fn answer_bytes(&self) -> usize {
        // Typed contents take up to ten bytes an element where raw ones take one.
        let bytes = |(_, spec): &(Source, TensorSpec)| spec.elements().saturating_mul(10);
        self.outputs
            .iter()
            .map(bytes)
            .fold(0, usize::saturating_add)
    }

    /// The model's outputs: the answer's and those that were tensors of the cut already, of which `passed` has the elements.
    ///
    /// Fails with [`ErrorKind::Runtime`] if the answer is not what was asked for.
    pub(super) fn outputs(
        &self,
        answer: &ModelInferResponse,
        passed: &[&[f32]],
    ) -> Result<Vec<Tensor>> {
        let wrong = |spec: &TensorSpec, what: &str| {
            Error::new(
                ErrorKind::Runtime,
                format!(
                    "the tail engine's answer of model '{}' has {what} output '{}'",
                    self.name, spec.name
                ),
            )
        };
        let has_raw = !answer.raw_output_contents.is_empty();
        if has_raw && answer.raw_output_contents.len() != answer.outputs.len() {
            return Err(Error::new(
                ErrorKind::Runtime,
                format!("the tail engine's answer of model '{}' is torn", self.name),
            ));
        }
        let mut tensors = Vec::with_capacity(self.outputs.len());
        for (source, spec) in &self.outputs {
            let data = match source {
                Source::Passed(index) => {
                    let elements = passed.get(*index).ok_or_else(|| wrong(spec, "no"))?;
                    TensorData::F32(elements.to_vec())
                }
                Source::Computed => {
                    let index = answer
                        .outputs
                        .iter()
                        .position(|output| output.name == spec.name)
                        .ok_or_else(|| wrong(spec, "no"))?;
                    let output = &answer.outputs[index];
                    if output.datatype != name_of(spec.element) || !is_shape(&output.shape, spec) {
                        return Err(wrong(spec, "another type or shape for"));
                    }
                    match answer.raw_output_contents.get(index) {
                        Some(raw) if raw.len() == spec.bytes() => {
                            TensorData::from_le_bytes(spec.element, raw)
                        }
                        Some(_) => return Err(wrong(spec, "another length for")),
                        None => typed(output.contents.as_ref(), spec.element)
                            .filter(|data| data.len() == spec.elements())
                            .ok_or_else(|| wrong(spec, "another length for"))?,
                    }
                }
            };
            tensors.push(Tensor::new(spec.shape.clone(), data)?);
        }
        Ok(tensors)
    }
}

/// Whether a described tensor is this one; -1 stands for any length.
fn fits(spec: &TensorSpec, described: &TensorMetadata) -> bool {
    let same =
        |(&theirs, &ours): (&i64, &usize)| theirs == -1 || usize::try_from(theirs) == Ok(ours);
    spec.name == described.name
        && described.datatype == name_of(spec.element)
        && spec.shape.len() == described.shape.len()
        && described.shape.iter().zip(&spec.shape).all(same)
}

fn is_shape(theirs: &[i64], spec: &TensorSpec) -> bool {
    let same = |(&theirs, &ours): (&i64, &usize)| usize::try_from(theirs) == Ok(ours);
    theirs.len() == spec.shape.len() && theirs.iter().zip(&spec.shape).all(same)
}

fn message(spec: &TensorSpec) -> InferTensor {
    InferTensor {
        name: spec.name.clone(),
        datatype: name_of(spec.element).to_owned(),
        shape: spec
            .shape
            .iter()
            .map(|&d| i64::try_from(d).unwrap_or(i64::MAX))
            .collect(),
        contents: None,
    }
}

fn typed(contents: Option<&Contents>, element: ElementType) -> Option<TensorData> {
    let contents = contents?;
    Some(match element {
        ElementType::F32 => TensorData::F32(contents.fp32s.clone()),
        ElementType::I64 => TensorData::I64(contents.int64s.clone()),
        ElementType::I32 => TensorData::I32(contents.ints.clone()),
        ElementType::U8 => {
            let narrow = contents.uints.iter().map(|&x| u8::try_from(x).ok());
            TensorData::U8(narrow.collect::<Option<_>>()?)
        }
        ElementType::I8 => {
            let narrow = contents.ints.iter().map(|&x| i8::try_from(x).ok());
            TensorData::I8(narrow.collect::<Option<_>>()?)
        }
        ElementType::Bool => {
            TensorData::Bool(contents.bools.iter().map(|&b| u8::from(b)).collect())
        }
        _ => return None,
    })
}
