//! Running a model once to learn the type and shape of its tensors.

use std::path::Path;

use ort::session::{OutputSelector, RunOptions, Session};
use ort::value::{DynValue, TensorElementType, TensorRef};

use super::activation::copy_out;
use super::environment::{SessionOptions, session};
use crate::{Error, ErrorKind, Result, TensorData, TensorSpec};

/// Most elements of a tensor whose values are kept: enough for any computation on shapes.
const MAX_VALUES: usize = 4096;
/// What the input is filled with; any value does.
const FILLING: f32 = 0.5;

/// A session without optimisation, in which every tensor can be fetched.
#[derive(Debug)]
pub(crate) struct Probe(Session);

/// What is learnt of one tensor.
#[derive(Debug)]
pub(crate) struct ProbeOutput {
    pub(crate) name: String,
    /// ONNX's number of the element type.
    pub(crate) elem_type: i32,
    pub(crate) shape: Vec<usize>,
    /// The elements, if they are few and of a type that this crate handles.
    pub(crate) value: Option<TensorData>,
}

impl Probe {
    pub(crate) fn new(model: &[u8], weights_folder: Option<&Path>) -> Result<Self> {
        session(
            model,
            SessionOptions {
                threads: 1,
                optimise: false,
                weights_folder,
            },
        )
        .map(Self)
    }

    /// Runs the model and describes the tensors of these names.
    pub(crate) fn run(&mut self, input: &TensorSpec, names: &[&str]) -> Result<Vec<ProbeOutput>> {
        let filling = vec![FILLING; input.elements()];
        let value = TensorRef::from_array_view((input.shape.clone(), filling.as_slice()))
            .map_err(super::ort_error)?;
        let selected = names
            .iter()
            .fold(OutputSelector::no_default(), |selector, &name| {
                selector.with(name)
            });
        let options = RunOptions::new()
            .map_err(super::ort_error)?
            .with_outputs(selected);
        let outputs = self
            .0
            .run_with_options(ort::inputs![input.name.as_str() => value], &options)
            .map_err(super::ort_error)?;
        outputs
            .iter()
            .map(|(name, value)| describe(name, &value))
            .collect()
    }
}

fn describe(name: &str, value: &DynValue) -> Result<ProbeOutput> {
    let dtype = value.dtype();
    let (Some(element), Some(shape)) = (dtype.tensor_type(), dtype.tensor_shape()) else {
        return Err(Error::new(
            ErrorKind::UnsupportedModel,
            format!("'{name}' is a {dtype}, not a tensor: export the model without it"),
        ));
    };
    let shape: Vec<usize> = shape
        .iter()
        .map(|&d| usize::try_from(d).unwrap_or(0))
        .collect();
    let few = shape.iter().product::<usize>() <= MAX_VALUES;
    let value = if few {
        copy_out(value).ok().map(|t| t.into_parts().1)
    } else {
        None
    };
    Ok(ProbeOutput {
        name: name.to_owned(),
        elem_type: onnx_number(element),
        shape,
        value,
    })
}

/// ONNX's numbers (TensorProto.DataType) for the types that activations have.
fn onnx_number(element: TensorElementType) -> i32 {
    use crate::graph::proto::data_type;
    match element {
        TensorElementType::Float32 => data_type::FLOAT,
        TensorElementType::Uint8 => data_type::UINT8,
        TensorElementType::Int8 => data_type::INT8,
        TensorElementType::Int32 => data_type::INT32,
        TensorElementType::Int64 => data_type::INT64,
        TensorElementType::Bool => data_type::BOOL,
        _ => 0,
    }
}
