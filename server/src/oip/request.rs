//! An inference request: from foreign bytes to the input tensor and what is wanted of the outputs.
//!
//! The body is JSON, JSON with a tensor's bytes behind it, or the bytes alone. A model's shapes are
//! fixed, so everything is compared with them and nothing is sized by what a request claims.

use std::time::Duration;

use dyno_core::{Error, ErrorKind, Result, TensorData, TensorSpec};

use super::json::{Elements, Head, Input, List, Parameters, Scalar};
use super::name_of;

/// Longest id that is echoed, in bytes.
const MAX_ID: usize = 256;
/// Bytes of JSON around the elements: names, shapes, parameters.
const MAX_ENVELOPE: usize = 64 << 10;
/// Bytes of one element's digits in JSON, with what separates them.
const MAX_DIGITS: usize = 32;

/// Most bytes of a request for a model with this input.
pub(crate) fn max_request_bytes(input: &TensorSpec) -> usize {
    input
        .elements()
        .saturating_mul(MAX_DIGITS)
        .saturating_add(MAX_ENVELOPE)
}

/// A request that fits its model.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// The client's name for the request, echoed in the answer.
    pub id: Option<String>,
    /// The input's elements: f32, little-endian, row-major; as many as its shape has.
    pub input: Vec<u8>,
    /// The outputs wanted, in the order of the answer.
    pub outputs: Vec<Output>,
    /// How long the client waits, at least a microsecond.
    pub timeout: Option<Duration>,
}

/// An output that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Which of the model's.
    pub index: usize,
    /// As bytes behind the JSON, instead of numbers in it.
    pub binary: bool,
}

impl InferRequest {
    /// Reads a body whose first `json_bytes` are JSON: all of it without a number, none with 0.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] unless it is one well-formed request for a model
    /// with this input and these outputs. What is allocated is bounded by the body's length.
    pub fn parse(
        mut body: Vec<u8>,
        json_bytes: Option<usize>,
        input: &TensorSpec,
        outputs: &[TensorSpec],
    ) -> Result<Self> {
        if json_bytes == Some(0) {
            return Self::raw(body, input, outputs);
        }
        let split = json_bytes.unwrap_or(body.len());
        if split > body.len() {
            return Err(invalid(format!(
                "inference-header-content-length is {split}, and the body has {} bytes",
                body.len()
            )));
        }
        let tail = body.split_off(split);
        let head: Head = serde_json::from_slice(&body)
            .map_err(|error| invalid(format!("the JSON is not an inference request: {error}")))?;
        drop(body);

        let parameters = RequestParameters::read(&head.parameters)?;
        if head.id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
            return Err(invalid(format!("the id is longer than {MAX_ID} bytes")));
        }
        let listed = head.outputs.map(|list| list.0).unwrap_or_default();
        Ok(Self {
            outputs: wanted(listed, parameters.binary_outputs, outputs)?,
            input: elements(head.inputs, tail, json_bytes.is_some(), input)?,
            id: head.id,
            timeout: parameters.timeout,
        })
    }

    /// A body that is the tensor and nothing else; the outputs come back as bytes, too.
    fn raw(body: Vec<u8>, input: &TensorSpec, outputs: &[TensorSpec]) -> Result<Self> {
        if body.len() != input.bytes() {
            return Err(wrong_bytes(body.len(), input));
        }
        Ok(Self {
            id: None,
            input: body,
            outputs: wanted(Vec::new(), true, outputs)?,
            timeout: None,
        })
    }
}

/// What a request says besides its tensors.
#[derive(Debug, Default)]
struct RequestParameters {
    /// Outputs come as bytes unless they say otherwise.
    binary_outputs: bool,
    timeout: Option<Duration>,
}

impl RequestParameters {
    /// A parameter that would change the answer elsewhere and cannot here is an error, and so is
    /// one that nobody knows; its harmless values are let through.
    fn read(parameters: &Parameters) -> Result<Self> {
        let mut known = Self::default();
        for (name, value) in &parameters.0 {
            match (name.as_str(), value) {
                ("binary_data_output", Scalar::Bool(binary)) => known.binary_outputs = *binary,
                // Microseconds; 0 is none, as at Triton.
                ("timeout", Scalar::Unsigned(us)) => {
                    known.timeout = (*us > 0).then(|| Duration::from_micros(*us));
                }
                ("priority" | "sequence_id", Scalar::Unsigned(0))
                | ("sequence_start" | "sequence_end", Scalar::Bool(false)) => {}
                ("content_type", Scalar::Text(text)) if text == "np" => {}
                ("priority", Scalar::Unsigned(_)) => {
                    return Err(invalid(
                        "requests have no priorities here: leave the parameter 'priority' out",
                    ));
                }
                ("sequence_id" | "sequence_start" | "sequence_end", _) => {
                    return Err(invalid(
                        "models have no state between requests here: leave the 'sequence_' \
                         parameters out",
                    ));
                }
                _ => return Err(unknown("request", name)),
            }
        }
        Ok(known)
    }
}

/// The outputs asked for; all of them if a request lists none.
fn wanted(
    listed: Vec<super::json::Output>,
    binary_by_default: bool,
    outputs: &[TensorSpec],
) -> Result<Vec<Output>> {
    if listed.is_empty() {
        return Ok((0..outputs.len())
            .map(|index| Output {
                index,
                binary: binary_by_default,
            })
            .collect());
    }
    let mut wanted: Vec<Output> = Vec::with_capacity(listed.len().min(outputs.len()));
    for output in listed {
        let index = outputs
            .iter()
            .position(|spec| spec.name == output.name)
            .ok_or_else(|| {
                let name = shown(&output.name);
                invalid(format!("the model has no output '{name}'"))
            })?;
        if wanted.iter().any(|other| other.index == index) {
            let name = shown(&output.name);
            return Err(invalid(format!("the output '{name}' is asked for twice")));
        }
        let mut binary = binary_by_default;
        for (name, value) in &output.parameters.0 {
            match (name.as_str(), value) {
                ("binary_data", Scalar::Bool(value)) => binary = *value,
                ("classification", Scalar::Unsigned(0)) => {}
                ("content_type", Scalar::Text(text)) if text == "np" => {}
                _ => return Err(unknown("output", name)),
            }
        }
        wanted.push(Output { index, binary });
    }
    Ok(wanted)
}

/// The one input's bytes, from JSON or from behind it.
fn elements<const MOST: usize>(
    inputs: List<Input, MOST>,
    tail: Vec<u8>,
    has_tail: bool,
    spec: &TensorSpec,
) -> Result<Vec<u8>> {
    let mut given: Option<Input> = None;
    for input in inputs.0 {
        if input.name != spec.name {
            return Err(invalid(format!(
                "the model has no input '{}': its only one is '{}'",
                shown(&input.name),
                spec.name
            )));
        }
        if given.replace(input).is_some() {
            return Err(invalid(format!("the input '{}' is there twice", spec.name)));
        }
    }
    let input = given.ok_or_else(|| invalid(format!("the input '{}' is missing", spec.name)))?;
    let datatype = name_of(spec.element);
    if input.datatype != datatype {
        return Err(invalid(format!(
            "the input '{}' is {datatype}, not {}",
            spec.name,
            shown(&input.datatype)
        )));
    }
    let same = |(&theirs, &ours): (&u64, &usize)| usize::try_from(theirs) == Ok(ours);
    let shape = &input.shape.0;
    if shape.len() != spec.shape.len() || !shape.iter().zip(&spec.shape).all(same) {
        return Err(invalid(format!(
            "the input '{}' has the shape {:?}, not {shape:?}",
            spec.name, spec.shape
        )));
    }
    match (binary_bytes(&input.parameters)?, input.data) {
        (None, Some(data)) if tail.is_empty() => nested(data, spec),
        (None, Some(_)) => Err(invalid(format!(
            "{} bytes follow the JSON, and no input claims them",
            tail.len()
        ))),
        (Some(_), None) if !has_tail => Err(invalid(
            "an input has binary_data_size, and the request no inference-header-content-length \
             header that says where the bytes begin",
        )),
        (Some(bytes), None) => {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            if bytes != spec.bytes() {
                return Err(wrong_bytes(bytes, spec));
            }
            if tail.len() != bytes {
                return Err(invalid(format!(
                    "{} bytes follow the JSON, and the input claims {bytes}",
                    tail.len()
                )));
            }
            Ok(tail)
        }
        (Some(_), Some(_)) => Err(invalid("an input has both data and binary_data_size")),
        (None, None) => Err(invalid("an input has neither data nor binary_data_size")),
    }
}

fn binary_bytes(parameters: &Parameters) -> Result<Option<u64>> {
    let mut bytes = None;
    for (name, value) in &parameters.0 {
        match (name.as_str(), value) {
            ("binary_data_size", Scalar::Unsigned(size)) => bytes = Some(*size),
            ("content_type", Scalar::Text(text)) if text == "np" => {}
            _ => return Err(unknown("input", name)),
        }
    }
    Ok(bytes)
}

fn nested(data: Elements, spec: &TensorSpec) -> Result<Vec<u8>> {
    if data.values.len() != spec.elements() {
        return Err(invalid(format!(
            "the input '{}' has {} elements, not {}",
            spec.name,
            spec.elements(),
            data.values.len()
        )));
    }
    if data.nesting.len() > 1 && data.nesting != spec.shape {
        return Err(invalid(format!(
            "the elements are nested as {:?}: give them flat, or nested as {:?}",
            data.nesting, spec.shape
        )));
    }
    Ok(TensorData::F32(data.values).to_le_bytes())
}

fn wrong_bytes(bytes: usize, spec: &TensorSpec) -> Error {
    invalid(format!(
        "the input '{}' of shape {:?} has {} bytes, not {bytes}",
        spec.name,
        spec.shape,
        spec.bytes()
    ))
}

fn unknown(of: &str, name: &str) -> Error {
    invalid(format!(
        "the {of}'s parameter '{}' is not supported, or not with this value (docs/oip.md)",
        shown(name)
    ))
}

/// What a client wrote, as an error may quote it: no longer than a line, nothing that acts.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

#[cfg(test)]
mod tests;
