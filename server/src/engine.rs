//! What runs tails: the seam between HTTP and inference.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dyno_core::bundle::{Bundle, Cut, Manifest};
use dyno_core::pack::{Unpacker, peek_cut};
use dyno_core::pixels::{Frame, Photo};
use dyno_core::runtime::{Activation, Cancel, SpanOptions, SpanRun, SpanStore};
use dyno_core::{Error, ErrorKind, Result, Tensor, TensorData};

/// Most unpackers that an engine keeps while nobody uses them; each holds the buffers of one tensor.
const MAX_IDLE_UNPACKERS: usize = 8;

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyKind {
    /// A packed activation; it names its own cut.
    Packed,
    /// A JPEG, PNG or WebP photo of any size.
    Photo,
    /// A JPEG, PNG or WebP photo that already has the model's size.
    StagedPhoto,
}

/// Runs the tails of one model.
///
/// A trait, so that the HTTP front is tested without models, and so that a tail may run somewhere
/// else than in this process. Every method is blocking and is called on a worker thread, from
/// several at once; a panic in one fails that request only.
pub trait TailEngine: Send + Sync + 'static {
    /// The model: its hash, cuts and outputs.
    fn manifest(&self) -> &Manifest;

    /// Turns a body into the activation that the tail starts from.
    ///
    /// Fails with [`ErrorKind::InvalidActivation`], [`ErrorKind::UnsupportedActivation`] or
    /// [`ErrorKind::InvalidImage`]: the body is foreign bytes.
    fn decode(&self, body: &[u8], kind: BodyKind) -> Result<Activation> {
        decode(self.manifest(), body, kind, &mut Unpacker::default())
    }

    /// Runs the tail, from the activation's cut to the model's outputs.
    ///
    /// Fails with [`ErrorKind::Cancelled`] once `cancel` is set.
    fn run(&self, input: Activation, cancel: &Cancel) -> Result<SpanRun>;

    /// Makes the first request as fast as the later ones: runs the whole model once, on zeros.
    fn warm_up(&self, cancel: &Cancel) -> Result<()> {
        let input = &self.manifest().input;
        let zeros = TensorData::F32(vec![0.0; input.elements()]);
        let input = Tensor::new(input.shape.clone(), zeros)?;
        self.run(Activation::new(0, vec![input]), cancel)?;
        Ok(())
    }
}

/// Runs tails of a bundle in this process, on ONNX Runtime.
#[derive(Debug)]
pub struct BundleEngine {
    bundle: Arc<Bundle>,
    spans: SpanStore,
    /// Those not in use, with their grown buffers.
    unpackers: Mutex<Vec<Unpacker>>,
}

impl BundleEngine {
    /// An engine without any span built yet. Blocking: loads ONNX Runtime if nobody has.
    pub fn new(bundle: Arc<Bundle>, options: SpanOptions) -> Result<Self> {
        let spans = SpanStore::new(Arc::clone(&bundle), options)?;
        Ok(Self {
            bundle,
            spans,
            unpackers: Mutex::default(),
        })
    }
}

impl TailEngine for BundleEngine {
    fn manifest(&self) -> &Manifest {
        self.bundle.manifest()
    }

    fn decode(&self, body: &[u8], kind: BodyKind) -> Result<Activation> {
        let idle = || {
            self.unpackers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let mut unpacker = idle().pop().unwrap_or_default();
        let activation = decode(self.manifest(), body, kind, &mut unpacker);
        let mut idle = idle();
        if idle.len() < MAX_IDLE_UNPACKERS {
            idle.push(unpacker);
        }
        activation
    }

    fn run(&self, input: Activation, cancel: &Cancel) -> Result<SpanRun> {
        self.spans.run(input, self.manifest().last_cut(), cancel)
    }
}

/// Times and outputs of one body's way through an engine.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) cut: usize,
    pub(crate) outputs: Vec<Tensor>,
    pub(crate) unpack: Duration,
    /// Waiting inside the engine: for the span to be free or built.
    pub(crate) waited: Duration,
    pub(crate) infer: Duration,
}

/// Decodes and runs; drops the work at the next stage once `cancel` is set.
pub(crate) fn work(
    engine: &dyn TailEngine,
    body: Vec<u8>,
    kind: BodyKind,
    cancel: &Cancel,
) -> Result<Work> {
    let started = Instant::now();
    let input = engine.decode(&body, kind)?;
    drop(body);
    let unpack = started.elapsed();
    cancel.check()?;

    let cut = input.cut;
    let started = Instant::now();
    let run = engine.run(input, cancel)?;
    let waited = started.elapsed().saturating_sub(run.elapsed);
    Ok(Work {
        cut,
        outputs: run.output.into_tensors()?,
        unpack,
        waited,
        infer: run.elapsed,
    })
}

fn decode(
    manifest: &Manifest,
    body: &[u8],
    kind: BodyKind,
    unpacker: &mut Unpacker,
) -> Result<Activation> {
    let preprocess = &manifest.preprocess;
    let frame = match kind {
        BodyKind::Packed => {
            let cut = tail_cut(manifest, peek_cut(body)?)?;
            return Ok(Activation::new(cut.index, unpacker.unpack(body, cut)?));
        }
        BodyKind::Photo => Frame::stage(&Photo::decode(body)?.pixels()?, preprocess)?,
        BodyKind::StagedPhoto => Frame::decode(body, preprocess)?,
    };
    Ok(Activation::new(0, vec![frame.to_tensor(preprocess)?]))
}

/// The row of a cut that leaves something to run.
fn tail_cut(manifest: &Manifest, index: usize) -> Result<&Cut> {
    manifest
        .cuts
        .get(index)
        .filter(|_| index < manifest.last_cut())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidActivation,
                format!(
                    "the activation names cut {index}, and there is a tail to run only behind \
                     cuts 0 to {}",
                    manifest.last_cut().saturating_sub(1)
                ),
            )
        })
}
