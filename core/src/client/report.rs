//! What an inference returns: the answer, and how it came about.

use super::labels::Label;
use crate::schedule::Plan;
use crate::{ErrorKind, Tensor};

/// The answer to one photo, and how it came about.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Inference {
    /// The most likely classes, most likely first; empty unless the model is a classifier.
    pub top: Vec<Label>,
    /// All outputs, in the bundle's order.
    pub outputs: Vec<Tensor>,
    /// Where the model ran.
    pub ran_on: RanOn,
    /// The plan that was followed, as far as it went; where it was asked again, what was sent then.
    pub plan: Plan,
    /// Where the plan cut: 0 for a photo, the last cut for the device alone.
    pub cut: usize,
    /// Quantisation levels of what was packed; none for fp32, a photo, or nothing.
    pub levels: Option<u32>,
    /// Name of the codec of what was packed; none if nothing was.
    pub codec: Option<&'static str>,
    /// Bytes of the body that was sent, whether or not it was answered; of both where it was asked again.
    pub bytes_up: usize,
    /// Whether the server's answer to a coarse message was in doubt, so that a finer one was sent or the device computed
    /// it ([`SecondLook`](crate::schedule::SecondLook)). Where neither could be done it is the answer all the same, and
    /// `fallback` says why.
    pub second_look: bool,
    /// For how long an answer was waited for before the device was to go on, in milliseconds; none
    /// if nothing was sent, or only the server may answer.
    pub resume_after_ms: Option<f64>,
    /// Where the time went.
    pub times: StageTimes,
    /// Why it was not the plan that gave the answer; none if it was.
    pub fallback: Option<Fallback>,
    /// What the planner expected [`StageTimes::total_ms`] to be, without preprocessing.
    pub estimated_ms: f64,
}

/// Where the model ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RanOn {
    /// All of it on the device, even where the server was asked first.
    Device,
    /// The head on the device, the tail on the server.
    Split,
    /// All of it on the server.
    Server,
}

impl RanOn {
    /// Name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Split => "split",
            Self::Server => "server",
        }
    }
}

/// Why something else than the plan gave the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fallback {
    /// What failed.
    pub kind: ErrorKind,
    /// How, for people.
    pub message: String,
    /// The cut from which the rest was computed: what lies before it was not computed again.
    pub from_cut: usize,
}

/// Where the time of one inference went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct StageTimes {
    /// Everything: staging the photo, and from the call to the answer.
    pub total_ms: f64,
    /// Photo to frame, frame to tensor.
    pub preprocess_ms: f64,
    /// Spans on the device, the tail included where it was resumed there.
    pub device_ms: f64,
    /// Packing the activation or encoding the photo.
    pub pack_ms: f64,
    /// The request, less the server's work; all of it where the server failed.
    pub network_ms: f64,
    /// Waiting for a worker of the server.
    pub queue_ms: f64,
    /// Unpacking and running the tail on the server.
    pub server_ms: f64,
    /// Softmax and labels.
    pub post_ms: f64,
}
