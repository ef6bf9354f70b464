//! How a session's values relate to the tensors of the cuts on both sides of its span.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ort::session::{NoSelectedOutputs, RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, TensorRef};

use super::activation::{Activation, Held, SpanTensor};
use super::{Cancel, Stack, ort_error};
use crate::graph::span::{Source, SpanModel};
use crate::{Error, ErrorKind, Result, Tensor, TensorData, TensorSpec};

/// Names of a span's inputs and outputs, and where they go.
#[derive(Debug)]
pub(super) struct SpanIo {
    inputs: Vec<(usize, String)>,
    outputs: Vec<Source>,
    output_names: Vec<String>,
    to: usize,
}

impl SpanIo {
    pub(super) fn new(model: &SpanModel, to: usize) -> Self {
        let graph = model.proto.graph.as_ref();
        let names = |values: Option<&Vec<crate::graph::proto::ValueInfo>>| -> Vec<String> {
            values
                .into_iter()
                .flatten()
                .map(|v| v.label().to_owned())
                .collect()
        };
        let inputs = names(graph.map(|g| &g.input));
        Self {
            inputs: model.inputs.iter().copied().zip(inputs).collect(),
            outputs: model.outputs.clone(),
            output_names: names(graph.map(|g| &g.output)),
            to,
        }
    }

    /// Whether there is nothing to run: a span between equal cuts, or one that only passes
    /// tensors on.
    pub(super) fn is_empty(&self) -> bool {
        self.output_names.is_empty()
    }

    /// Runs one activation; without a session everything is passed on.
    pub(super) fn run(
        &self,
        session: Option<&mut Session>,
        input: Activation,
        cancel: &Cancel,
    ) -> Result<(Activation, Duration)> {
        let start = Instant::now();
        let computed = match session {
            None => Vec::new(),
            Some(session) => {
                let values = self.inputs.iter().map(|(index, name)| {
                    let tensor = input.tensors.get(*index).ok_or_else(|| missing(name))?;
                    Ok((Cow::Borrowed(name.as_str()), input_value(tensor, name)?))
                });
                let values: Result<Vec<_>> = values.collect();
                self.compute(session, values?, cancel, |values| {
                    let held = |value| SpanTensor(Held::Ort(value));
                    Ok(values.into_iter().map(held).collect())
                })?
            }
        };
        let elapsed = start.elapsed();
        let mut passed: Vec<Option<SpanTensor>> = input.tensors.into_iter().map(Some).collect();
        let passed = |index| passed.get_mut(index).and_then(Option::take);
        Ok((self.collect(computed, passed)?, elapsed))
    }

    /// Runs some activations of a stack in one call, of a session that is open for them if they are several; they come out
    /// in the order they went in. Without a session everything is passed on.
    pub(super) fn run_stacked(
        &self,
        session: Option<&mut Session>,
        inputs: &Stack,
        some: Range<usize>,
        cancel: &Cancel,
    ) -> Result<(Vec<Activation>, Duration)> {
        let start = Instant::now();
        // For each output, the parts of the activations in their order.
        let mut parts = match session {
            None => Vec::new(),
            Some(session) => {
                let values = self.inputs.iter().map(|(index, name)| {
                    let view = inputs.view(*index, some.clone());
                    let view = view.ok_or_else(|| missing(name))?;
                    let view = TensorRef::from_array_view(view).map_err(ort_error)?;
                    Ok((Cow::Borrowed(name.as_str()), SessionInputValue::from(view)))
                });
                let values: Result<Vec<_>> = values.collect();
                self.compute(session, values?, cancel, |values| {
                    let split = |value| super::activation::split(value, some.len());
                    let parts = values.into_iter().map(split);
                    parts
                        .map(|parts| parts.map(Vec::into_iter))
                        .collect::<Result<Vec<_>>>()
                })?
            }
        };
        let elapsed = start.elapsed();
        let outputs = some.map(|index| {
            let computed = parts.iter_mut().map(Iterator::next);
            let computed: Option<Vec<SpanTensor>> = computed.collect();
            self.collect(computed.ok_or_else(misfit)?, |tensor| {
                inputs.copy(tensor, index)
            })
        });
        let outputs: Result<Vec<Activation>> = outputs.collect();
        Ok((outputs?, elapsed))
    }

    fn compute<T>(
        &self,
        session: &mut Session,
        values: Vec<(Cow<'_, str>, SessionInputValue<'_>)>,
        cancel: &Cancel,
        take: impl FnOnce(Vec<DynValue>) -> Result<T>,
    ) -> Result<T> {
        let options = Arc::new(RunOptions::new().map_err(ort_error)?);
        cancel.during(&options, |options: &RunOptions<NoSelectedOutputs>| {
            let mut outputs: SessionOutputs<'_> = session
                .run_with_options(values, options)
                .map_err(ort_error)?;
            let taken = self.output_names.iter().map(|name| outputs.remove(name));
            let taken: Option<Vec<DynValue>> = taken.collect();
            take(taken.ok_or_else(misfit)?)
        })
    }

    /// The tensors of the last cut, from those that were computed and those of the first cut.
    fn collect(
        &self,
        computed: Vec<SpanTensor>,
        mut passed: impl FnMut(usize) -> Option<SpanTensor>,
    ) -> Result<Activation> {
        let mut computed: Vec<Option<SpanTensor>> = computed.into_iter().map(Some).collect();
        let tensors = self.outputs.iter().map(|source| match *source {
            Source::Computed(index) => computed.get_mut(index).and_then(Option::take),
            Source::Passed(index) => passed(index),
        });
        let tensors: Option<Vec<SpanTensor>> = tensors.collect();
        Ok(Activation {
            cut: self.to,
            tensors: tensors.ok_or_else(misfit)?,
        })
    }
}

/// An activation of zeros for a span's first cut: what a session is run with once.
pub(super) fn zeros(entry: &[TensorSpec]) -> Result<Activation> {
    let tensors = entry.iter().map(|spec| {
        let data = TensorData::F32(vec![0.0; spec.elements()]);
        Tensor::new(spec.shape.clone(), data)
    });
    let tensors: Result<Vec<Tensor>> = tensors.collect();
    Ok(Activation::new(0, tensors?))
}

fn missing(name: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("the activation lacks the tensor '{name}'"),
    )
}

fn misfit() -> Error {
    Error::new(
        ErrorKind::Internal,
        "a span's tensors do not fit its cuts: prepare the model again",
    )
}

fn input_value<'t>(tensor: &'t SpanTensor, name: &str) -> Result<SessionInputValue<'t>> {
    match &tensor.0 {
        Held::Ort(value) => Ok(SessionInputValue::from(value)),
        Held::Owned(tensor) => input_view(tensor, name),
    }
}

fn input_view<'t>(tensor: &'t Tensor, name: &str) -> Result<SessionInputValue<'t>> {
    match tensor.data() {
        TensorData::F32(data) => {
            let view = TensorRef::from_array_view((tensor.shape().to_vec(), data.as_slice()))
                .map_err(ort_error)?;
            Ok(SessionInputValue::from(view))
        }
        _ => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("the tensor '{name}' of an activation must be f32"),
        )),
    }
}
