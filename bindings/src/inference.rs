//! What an inference returns.

use dyno_core::client;

use crate::error::ErrorKind;
use crate::plan::{Plan, count};

/// The answer to one photo, and how it came about.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Inference {
    /// The most likely classes, most likely first; empty unless the model is a classifier.
    pub top: Vec<Label>,
    /// The model's outputs: for classifiers only if the configuration asks for them.
    pub outputs: Vec<OutputTensor>,
    /// Where the model ran.
    pub ran_on: RanOn,
    /// Why there, in a sentence.
    pub reason: String,
    /// The plan that was followed, as far as it went; where it was asked again, what was sent then.
    pub plan: Plan,
    /// Where the plan cut: 0 for a photo, the last cut for the device alone.
    pub cut: u32,
    /// Bytes of the body that was sent, whether or not it was answered; of both where it was asked again.
    pub bytes_up: u64,
    /// Whether the server's first answer was in doubt: a finer message was sent, or the device computed it.
    pub second_look: bool,
    /// Where the time went.
    pub times: StageTimes,
    /// Why it was not the plan that gave the answer; none if it was.
    pub fallback: Option<Fallback>,
    /// What the planner expected the inference to take, without preprocessing, in milliseconds.
    pub estimated_ms: f64,
}

/// One class of an answer.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct Label {
    /// Position in the model's output.
    pub index: u32,
    /// Name of the class; empty if the bundle has none for it.
    pub label: String,
    /// Probability, 0 to 1.
    pub score: f32,
}

/// One output of the model.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct OutputTensor {
    /// Name in the graph.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u32>,
    /// Type of the elements.
    pub element: ElementType,
    /// The elements, row-major, little-endian.
    pub data: Vec<u8>,
}

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum ElementType {
    /// 32-bit float.
    F32,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 8-bit unsigned integer.
    U8,
    /// 8-bit signed integer.
    I8,
    /// Boolean, one byte an element.
    Bool,
}

/// Where the model ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum RanOn {
    /// All of it on the device, even where the server was asked first.
    Device,
    /// The head on the device, the tail on the server.
    Split,
    /// All of it on the server.
    Server,
}

/// Why something else than the plan gave the answer.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Fallback {
    /// What failed.
    pub kind: ErrorKind,
    /// How, for people.
    pub reason: String,
    /// The cut from which the rest was computed: what lies before it was not computed again.
    pub from_cut: u32,
}

/// Where the time of one inference went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, uniffi::Record)]
pub struct StageTimes {
    /// Everything: staging the photo, and from the call to the answer.
    pub total_ms: f64,
    /// Photo to frame, frame to tensor.
    pub preprocess_ms: f64,
    /// On the device, the tail included where it was resumed there.
    pub device_ms: f64,
    /// Packing the activation or encoding the photo.
    pub pack_ms: f64,
    /// The request, less the server's work.
    pub network_ms: f64,
    /// Waiting for a worker of the server.
    pub queue_ms: f64,
    /// On the server.
    pub server_ms: f64,
    /// Softmax and labels.
    pub post_ms: f64,
}

impl Inference {
    /// `names` are the outputs', in the bundle's order; none are copied without them.
    pub(crate) fn new(inference: client::Inference, names: Option<&[String]>) -> Self {
        let reason = reason(&inference);
        let outputs = names.map_or_else(Vec::new, |names| {
            let outputs = names.iter().zip(&inference.outputs);
            outputs
                .map(|(name, tensor)| OutputTensor::new(name, tensor))
                .collect()
        });
        Self {
            top: inference.top.into_iter().map(Into::into).collect(),
            outputs,
            ran_on: inference.ran_on.into(),
            reason,
            plan: inference.plan.into(),
            cut: count(inference.cut),
            bytes_up: inference.bytes_up as u64,
            second_look: inference.second_look,
            times: inference.times.into(),
            fallback: inference.fallback.map(Into::into),
            estimated_ms: inference.estimated_ms,
        }
    }
}

fn reason(inference: &client::Inference) -> String {
    match &inference.fallback {
        Some(fallback) => fallback.message.clone(),
        None => format!(
            "as planned ({}, expected {:.1} ms)",
            inference.plan, inference.estimated_ms
        ),
    }
}

impl OutputTensor {
    fn new(name: &str, tensor: &dyno_core::Tensor) -> Self {
        Self {
            name: name.to_owned(),
            shape: tensor.shape().iter().map(|&side| count(side)).collect(),
            element: tensor.data().element().into(),
            data: tensor.data().to_le_bytes(),
        }
    }
}

impl From<client::Label> for Label {
    fn from(label: client::Label) -> Self {
        Self {
            index: count(label.index),
            label: label.label,
            score: label.score,
        }
    }
}

impl From<client::RanOn> for RanOn {
    fn from(ran_on: client::RanOn) -> Self {
        match ran_on {
            client::RanOn::Split => Self::Split,
            client::RanOn::Server => Self::Server,
            _ => Self::Device,
        }
    }
}

impl From<client::Fallback> for Fallback {
    fn from(fallback: client::Fallback) -> Self {
        Self {
            kind: fallback.kind.into(),
            reason: fallback.message,
            from_cut: count(fallback.from_cut),
        }
    }
}

impl From<client::StageTimes> for StageTimes {
    fn from(times: client::StageTimes) -> Self {
        Self {
            total_ms: times.total_ms,
            preprocess_ms: times.preprocess_ms,
            device_ms: times.device_ms,
            pack_ms: times.pack_ms,
            network_ms: times.network_ms,
            queue_ms: times.queue_ms,
            server_ms: times.server_ms,
            post_ms: times.post_ms,
        }
    }
}

impl From<dyno_core::ElementType> for ElementType {
    fn from(element: dyno_core::ElementType) -> Self {
        match element {
            dyno_core::ElementType::I64 => Self::I64,
            dyno_core::ElementType::I32 => Self::I32,
            dyno_core::ElementType::U8 => Self::U8,
            dyno_core::ElementType::I8 => Self::I8,
            dyno_core::ElementType::Bool => Self::Bool,
            _ => Self::F32,
        }
    }
}
