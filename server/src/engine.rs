//! What runs tails: the seam between HTTP and inference.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dyno_core::bundle::{Bundle, Cut, Manifest};
use dyno_core::pack::{Unpacker, peek_cut};
use dyno_core::pixels::{Frame, Photo};
use dyno_core::runtime::{Activation, Cancel, Stack, TailOptions, TailRun, TailStore};
use dyno_core::{Error, ErrorKind, Result};

use crate::batch::Worth;

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
    /// The input tensor itself: its f32 elements, little-endian and row-major.
    Tensor,
}

/// Runs the tails of one model.
///
/// A trait, so that the HTTP front is tested without models, and so that a tail may run somewhere
/// else than in this process. Methods block and are called on worker threads, from several at once, but for
/// [`TailEngine::manifest`] and [`TailEngine::entry`], which must not block; a panic in one fails the requests that it was about, and no others.
pub trait TailEngine: Send + Sync + 'static {
    /// The model: its hash, cuts and outputs.
    fn manifest(&self) -> &Manifest;

    /// The cut at which a body enters, from 0 up to, and without, the last: looks at the body's first bytes, decodes
    /// nothing, and does not block, for it is called where connections are served.
    ///
    /// Fails as [`TailEngine::decode`] does.
    fn entry(&self, body: &[u8], kind: BodyKind) -> Result<usize> {
        entry(self.manifest(), body, kind)
    }

    /// Adds to `inputs`, which is of the cut that [`TailEngine::entry`] named, the activation that a body is.
    ///
    /// Fails with [`ErrorKind::InvalidActivation`], [`ErrorKind::UnsupportedActivation`] or
    /// [`ErrorKind::InvalidImage`], and adds nothing: the body is foreign bytes. With [`ErrorKind::InvalidArgument`] if `inputs` is of
    /// another cut.
    fn decode(&self, body: &[u8], kind: BodyKind, inputs: &mut Stack) -> Result<()> {
        decode(
            self.manifest(),
            body,
            kind,
            &mut Unpacker::default(),
            inputs,
        )
    }

    /// Runs activations from their cut to cut `to`: the last, or [`TailEngine::junction`]. There is at
    /// least one and never more than [`TailEngine::batch_limit`] allows at their cut; the outputs
    /// have their order.
    ///
    /// Fails with [`ErrorKind::Cancelled`] once `cancel` is set.
    fn run(&self, inputs: &Stack, to: usize, cancel: &Cancel) -> Result<TailRun>;

    /// Most activations of a cut that are worth running together; 1 where they are not.
    fn batch_limit(&self, cut: usize) -> usize {
        let _ = cut;
        1
    }

    /// The cut at which activations of earlier cuts may stop to go on together with others; none if
    /// that is worth nothing.
    fn junction(&self) -> Option<usize> {
        None
    }

    /// Whether it can run anything now. The server is ready when all its models are.
    fn is_ready(&self) -> bool {
        true
    }

    /// Makes the first request as fast as the later ones: runs the whole model once, on zeros.
    fn warm_up(&self, cancel: &Cancel) -> Result<()> {
        let manifest = self.manifest();
        let mut inputs = Stack::default();
        inputs.begin(tail_cut(manifest, 0)?)?;
        inputs.push_zeros()?;
        self.run(&inputs, manifest.last_cut(), cancel)?;
        Ok(())
    }
}

/// Runs tails of a bundle in this process, on ONNX Runtime.
#[derive(Debug)]
pub struct BundleEngine {
    tails: TailStore,
    max_batch: usize,
    worth: OnceLock<Worth>,
    /// Those not in use, with their grown buffers.
    unpackers: Mutex<Vec<Unpacker>>,
}

impl BundleEngine {
    /// An engine without any session yet, for batches of up to `max_batch` activations. Blocking:
    /// reads the bundle's weights, and loads ONNX Runtime if nobody has.
    pub fn new(bundle: Arc<Bundle>, options: TailOptions, max_batch: usize) -> Result<Self> {
        Ok(Self {
            tails: TailStore::new(bundle, options)?,
            max_batch: max_batch.max(1),
            worth: OnceLock::new(),
            unpackers: Mutex::default(),
        })
    }
}

impl TailEngine for BundleEngine {
    fn manifest(&self) -> &Manifest {
        self.tails.bundle().manifest()
    }

    fn decode(&self, body: &[u8], kind: BodyKind, inputs: &mut Stack) -> Result<()> {
        let idle = || {
            self.unpackers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let mut unpacker = idle().pop().unwrap_or_default();
        let decoded = decode(self.manifest(), body, kind, &mut unpacker, inputs);
        let mut idle = idle();
        if idle.len() < MAX_IDLE_UNPACKERS {
            idle.push(unpacker);
        }
        decoded
    }

    fn run(&self, inputs: &Stack, to: usize, cancel: &Cancel) -> Result<TailRun> {
        self.tails.run(inputs, to, cancel)
    }

    fn batch_limit(&self, cut: usize) -> usize {
        self.worth.get().map_or(1, |worth| worth.limit(cut))
    }

    fn junction(&self) -> Option<usize> {
        self.worth.get().and_then(Worth::junction)
    }

    /// Prepares every tail, measures batches at some cuts, and lets go of the bundle's files.
    fn warm_up(&self, cancel: &Cancel) -> Result<()> {
        let last = self.manifest().last_cut();
        for cut in 0..last {
            cancel.check()?;
            self.tails.prepare(cut, last)?;
        }
        let worth = Worth::measure(&self.tails, self.max_batch, cancel)?;
        if let Some(junction) = worth.junction() {
            for cut in 0..junction {
                cancel.check()?;
                self.tails.prepare(cut, junction)?;
                if worth.limit(cut) > 1 {
                    self.tails.takes_batches(cut, junction)?;
                }
            }
        }
        self.tails.seal();
        let _ = self.worth.set(worth);
        Ok(())
    }
}

fn entry(manifest: &Manifest, body: &[u8], kind: BodyKind) -> Result<usize> {
    match kind {
        BodyKind::Packed => Ok(tail_cut(manifest, peek_cut(body)?)?.index),
        BodyKind::Photo | BodyKind::StagedPhoto | BodyKind::Tensor => Ok(0),
    }
}

fn decode(
    manifest: &Manifest,
    body: &[u8],
    kind: BodyKind,
    unpacker: &mut Unpacker,
    inputs: &mut Stack,
) -> Result<()> {
    let preprocess = &manifest.preprocess;
    let cut = tail_cut(manifest, entry(manifest, body, kind)?)?;
    if cut.index != inputs.cut() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "a body for cut {} among activations of cut {}",
                cut.index,
                inputs.cut()
            ),
        ));
    }
    let frame = match kind {
        BodyKind::Packed => {
            return inputs.push_with(|tensors| unpacker.unpack_into(body, cut, tensors));
        }
        BodyKind::Photo => Frame::stage(&Photo::decode(body)?.pixels()?, preprocess)?,
        BodyKind::StagedPhoto => Frame::decode(body, preprocess)?,
        BodyKind::Tensor => {
            return inputs.push_with(|tensors| input_tensor(manifest, body, tensors));
        }
    };
    inputs.push(&Activation::new(0, vec![frame.to_tensor(preprocess)?]))
}

fn input_tensor(manifest: &Manifest, body: &[u8], tensors: &mut [&mut [f32]]) -> Result<()> {
    let input = &manifest.input;
    if body.len() != input.bytes() {
        return Err(Error::new(
            ErrorKind::InvalidActivation,
            format!(
                "the input '{}' has {} bytes, not {}",
                input.name,
                input.bytes(),
                body.len()
            ),
        ));
    }
    let (elements, _) = body.as_chunks::<4>();
    if tensors.iter().map(|tensor| tensor.len()).sum::<usize>() != elements.len() {
        return Err(Error::new(
            ErrorKind::InvalidBundle,
            format!("the first cut is not the input '{}'", input.name),
        ));
    }
    for (to, from) in tensors.iter_mut().flat_map(|t| t.iter_mut()).zip(elements) {
        *to = f32::from_le_bytes(*from);
    }
    Ok(())
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
