//! One session: the nodes between two cuts, ready to run.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::TensorRef;
use prost::Message;

use super::activation::{Activation, Held, SpanTensor};
use super::environment::{SessionOptions, session};
use super::{Cancel, SpanRun, ort_error};
use crate::graph::span::{Source, SpanModel};
use crate::{Error, ErrorKind, Result, Tensor, TensorData, TensorSpec};

/// A session and how its values relate to the tensors of the cuts on both sides.
#[derive(Debug)]
pub(crate) struct Span {
    /// ONNX Runtime's `Run` is called by one thread at a time; the lock is never held across an
    /// await, because only blocking code takes it.
    session: Mutex<Option<Session>>,
    inputs: Vec<(usize, String)>,
    outputs: Vec<Source>,
    output_names: Vec<String>,
    to: usize,
}

impl Span {
    /// Builds the session and runs it once: a first run takes several times as long as the others,
    /// and nobody waits for this one. Takes about four times as long as running it.
    pub(crate) fn build(
        model: &SpanModel,
        to: usize,
        threads: usize,
        weights_folder: &Path,
    ) -> Result<Self> {
        let graph = model.proto.graph.as_ref();
        let names = |values: Option<&Vec<crate::graph::proto::ValueInfo>>| -> Vec<String> {
            values
                .into_iter()
                .flatten()
                .map(|v| v.label().to_owned())
                .collect()
        };
        let inputs = names(graph.map(|g| &g.input));
        let output_names = names(graph.map(|g| &g.output));
        // A span between equal cuts, or one that only passes tensors on, has nothing to run.
        let session = if output_names.is_empty() {
            None
        } else {
            let weights_folder = Some(weights_folder);
            let options = SessionOptions {
                threads,
                optimise: true,
                weights_folder,
            };
            Some(session(&model.proto.encode_to_vec(), options)?)
        };
        let span = Self {
            session: Mutex::new(session),
            inputs: model.inputs.iter().copied().zip(inputs).collect(),
            outputs: model.outputs.clone(),
            output_names,
            to,
        };
        span.warm_up(model)?;
        Ok(span)
    }

    fn warm_up(&self, model: &SpanModel) -> Result<()> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(session) = session.as_mut() else {
            return Ok(());
        };
        let zeros = |spec: &TensorSpec| {
            let data = TensorData::F32(vec![0.0; spec.elements()]);
            Tensor::new(spec.shape.clone(), data)
        };
        let tensors: Result<Vec<Tensor>> = model.entry.iter().map(zeros).collect();
        let input = Activation::new(0, tensors?);
        self.compute(session, &input, &Cancel::new()).map(|_| ())
    }

    /// Runs the span. Waits for another thread's run of the same span to end.
    pub(crate) fn run(&self, input: Activation, cancel: &Cancel) -> Result<SpanRun> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let mut computed = match session.as_mut() {
            Some(session) => self.compute(session, &input, cancel)?,
            None => Vec::new(),
        };
        let elapsed = start.elapsed();
        drop(session);
        let mut passed: Vec<Option<SpanTensor>> = input.tensors.into_iter().map(Some).collect();
        let tensors = self.outputs.iter().map(|source| match *source {
            Source::Computed(index) => computed.get_mut(index).and_then(Option::take),
            Source::Passed(index) => passed.get_mut(index).and_then(Option::take),
        });
        let tensors: Option<Vec<SpanTensor>> = tensors.collect();
        let tensors = tensors.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a span's outputs do not fit its cut")
        })?;
        Ok(SpanRun {
            output: Activation {
                cut: self.to,
                tensors,
            },
            elapsed,
        })
    }

    fn compute(
        &self,
        session: &mut Session,
        input: &Activation,
        cancel: &Cancel,
    ) -> Result<Vec<Option<SpanTensor>>> {
        let values: Result<Vec<(Cow<'_, str>, SessionInputValue<'_>)>> = self
            .inputs
            .iter()
            .map(|(index, name)| {
                let tensor = input.tensors.get(*index).ok_or_else(|| missing(name))?;
                Ok((Cow::Borrowed(name.as_str()), input_value(tensor, name)?))
            })
            .collect();
        let values = values?;
        let options = Arc::new(RunOptions::new().map_err(ort_error)?);
        cancel.during(&options, |options| {
            let mut outputs = session
                .run_with_options(values, options)
                .map_err(ort_error)?;
            let taken = self.output_names.iter().map(|name| {
                outputs
                    .remove(name)
                    .map(|value| SpanTensor(Held::Ort(value)))
            });
            Ok(taken.collect())
        })
    }
}

fn missing(name: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("the activation lacks the tensor '{name}'"),
    )
}

fn input_value<'t>(tensor: &'t SpanTensor, name: &str) -> Result<SessionInputValue<'t>> {
    match &tensor.0 {
        Held::Ort(value) => Ok(SessionInputValue::from(value)),
        Held::Owned(tensor) => match tensor.data() {
            TensorData::F32(data) => {
                let view = TensorRef::from_array_view((tensor.shape().to_vec(), data.as_slice()))
                    .map_err(ort_error)?;
                Ok(SessionInputValue::from(view))
            }
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("the tensor '{name}' of an activation must be f32"),
            )),
        },
    }
}
