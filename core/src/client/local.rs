//! The parts of an inference that compute on this device, at most one hop off the async threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::RuntimeFlavor;

use super::labels::{Label, top_k};
use super::ms;
use super::shared::Shared;
use crate::pack::{Packer, Shaping};
use crate::pixels::Frame;
use crate::runtime::{Activation, Cancel};
use crate::schedule::{Codec, Plan, Precision};
use crate::{Error, ErrorKind, Result, Tensor};

/// Most packers, with their buffers, kept while no call uses them.
const MAX_IDLE_PACKERS: usize = 4;

/// Runs blocking `work` where it does not hold up other futures.
///
/// Work that has begun runs on if the future is dropped: it must look at its [`Cancel`].
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Error::with_source(
                ErrorKind::Internal,
                "the inference's thread ended without a result",
                error,
            ))
        })
}

/// Work expected to be shorter than this stays on the thread that asks for it. A hop costs two
/// thread switches (0.19 ms where it was measured, a sixth of a small model's inference); a
/// cancellation is noticed this much later.
const MAX_INLINE_MS: f64 = 10.0;

/// Runs blocking `work` here if it is expected to be short and the runtime has other threads for
/// other futures, else like [`off_thread`].
pub(super) async fn short_or_off_thread<T: Send + 'static>(
    expected_ms: f64,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let flavour = tokio::runtime::Handle::current().runtime_flavor();
    if expected_ms <= MAX_INLINE_MS && flavour == RuntimeFlavor::MultiThread {
        return tokio::task::block_in_place(work);
    }
    off_thread(work).await
}

/// A head that ran: what crosses the cut, in memory and packed.
pub(super) struct Head {
    /// Kept until the server has answered, so that the device can go on from here.
    pub(super) activation: Activation,
    /// Packing may fail and leave the activation good.
    pub(super) packed: Result<Vec<u8>>,
    pub(super) tensor_ms: f64,
    pub(super) device_ms: f64,
    pub(super) pack_ms: f64,
}

/// Frame → tensor → head → packed activation.
pub(super) fn run_head(
    client: &Shared,
    frame: &Frame,
    cut: usize,
    (precision, codec): (Precision, Codec),
    cancel: &Cancel,
) -> Result<Head> {
    let (input, tensor_ms) = to_input(client, frame)?;
    let (activation, device_ms) = run_span(client, input, cut, cancel)?;
    cancel.check()?;
    let started = Instant::now();
    let packed = pack(client, &activation, precision, codec);
    Ok(Head {
        activation,
        packed,
        tensor_ms,
        device_ms,
        pack_ms: ms(started.elapsed()),
    })
}

/// What is left to compute when the device finishes.
pub(super) enum Rest {
    /// Everything.
    Frame(Arc<Frame>),
    /// The tail behind this activation's cut.
    Tail(Activation),
}

/// What is left to compute, with what `plan` sends of it.
pub(super) struct Repacked {
    pub(super) rest: Rest,
    pub(super) message: Result<Vec<u8>>,
    pub(super) pack_ms: f64,
}

/// The activation or the photo that is at hand, packed once more.
pub(super) fn repack(client: &Shared, rest: Rest, plan: Plan, cancel: &Cancel) -> Result<Repacked> {
    cancel.check()?;
    let started = Instant::now();
    let message = match (&rest, plan) {
        (
            Rest::Tail(activation),
            Plan::Split {
                precision, codec, ..
            },
        ) => pack(client, activation, precision, codec),
        (Rest::Frame(frame), Plan::Photo(codec)) => frame.encode(codec),
        _ => Err(Error::new(
            ErrorKind::Internal,
            format!("'{plan}' does not send what is at hand"),
        )),
    };
    Ok(Repacked {
        rest,
        message,
        pack_ms: ms(started.elapsed()),
    })
}

/// An inference that the device finished.
pub(super) struct Finished {
    pub(super) outputs: Vec<Tensor>,
    pub(super) top: Vec<Label>,
    pub(super) from_cut: usize,
    pub(super) tensor_ms: f64,
    pub(super) device_ms: f64,
    pub(super) post_ms: f64,
}

/// Whatever is left → outputs → labels.
pub(super) fn finish(client: &Shared, rest: Rest, cancel: &Cancel) -> Result<Finished> {
    let (input, tensor_ms) = match rest {
        Rest::Frame(frame) => to_input(client, &frame)?,
        Rest::Tail(activation) => (activation, 0.0),
    };
    let from_cut = input.cut;
    let (output, device_ms) = run_span(client, input, client.manifest.last_cut(), cancel)?;
    let started = Instant::now();
    let outputs = output.into_tensors()?;
    let top = labels(client, &outputs);
    Ok(Finished {
        outputs,
        top,
        from_cut,
        tensor_ms,
        device_ms,
        post_ms: ms(started.elapsed()),
    })
}

/// The best labels of a classifier's outputs; none of any other model's.
pub(super) fn labels(client: &Shared, outputs: &[Tensor]) -> Vec<Label> {
    let manifest = &client.manifest;
    match outputs.first().and_then(Tensor::as_f32) {
        Some(logits) if manifest.is_classifier() => {
            top_k(logits, &manifest.labels, client.config.top_k)
        }
        _ => Vec::new(),
    }
}

/// Cores that pack one large activation together: phones have that many fast ones.
fn pack_threads() -> usize {
    const MAX_PACK_THREADS: usize = 4;
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_PACK_THREADS))
}

/// Packers that are not in use.
#[derive(Debug)]
pub(super) struct Packers {
    shaping: Arc<Shaping>,
    idle: Mutex<Vec<Packer>>,
}

impl Packers {
    pub(super) fn new(shaping: Arc<Shaping>) -> Self {
        Self {
            shaping,
            idle: Mutex::default(),
        }
    }

    fn take(&self) -> Packer {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop().unwrap_or_else(|| {
            Packer::default()
                .with_threads(pack_threads())
                .with_shaping(self.shaping.clone())
        })
    }

    fn put_back(&self, packer: Packer) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE_PACKERS {
            idle.push(packer);
        }
    }
}

fn pack(
    client: &Shared,
    activation: &Activation,
    precision: Precision,
    codec: Codec,
) -> Result<Vec<u8>> {
    let cut = client.manifest.cuts.get(activation.cut).ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            format!(
                "the head ran to cut {}, which is not in the table",
                activation.cut
            ),
        )
    })?;
    let tensors = activation.as_f32()?;
    let mut packer = client.packers.take();
    let message = packer.pack(cut, &tensors, precision, codec);
    client.packers.put_back(packer);
    message
}

fn to_input(client: &Shared, frame: &Frame) -> Result<(Activation, f64)> {
    let started = Instant::now();
    let tensor = frame.to_tensor(&client.manifest.preprocess)?;
    Ok((Activation::new(0, vec![tensor]), ms(started.elapsed())))
}

/// Runs from the activation's cut to cut `to`; the time is 0 where nothing lies between.
fn run_span(
    client: &Shared,
    input: Activation,
    to: usize,
    cancel: &Cancel,
) -> Result<(Activation, f64)> {
    cancel.check()?;
    if input.cut == to {
        return Ok((input, 0.0));
    }
    let run = client.executor.run(input, to, cancel)?;
    Ok((run.output, ms(run.elapsed)))
}
