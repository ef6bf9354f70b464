//! Sending photos through cuts and looking at what comes out.

mod trial;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::doubt::Doubt;
use super::fidelity::{Judgement, Measure, Outcome, Reference, flips, trials};
use super::interval::{mean_and_error, t_quantile};
use super::parallel::{cores, in_parallel};
use super::photos::PhotoSet;
use super::truth::Truth;
use crate::bundle::{Bundle, Cut, Sent};
use crate::pack::{Packer, Shaping, Unpacker};
use crate::pixels::Frame;
use crate::runtime::{Activation, Cancel, SpanOptions, SpanStore};
use crate::schedule::{Codec, PhotoCodec, Plan, can_be_packed};
use crate::{Error, ErrorKind, Result, Tensor, TensorSpec};

pub(super) use self::trial::{Trial, TrialResult};

/// Spans that a worker keeps: head and tail of the cut that is measured.
const SPANS: usize = 2;

/// What to compare and how.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// Instead of what suits the model.
    pub measure: Option<Measure>,
    /// Set from another thread to stop.
    pub cancel: Cancel,
}

/// A bundle, photos, and what the whole model says of each.
#[derive(Debug)]
pub struct Lab {
    bundle: Arc<Bundle>,
    photos: PhotoSet,
    truth: Vec<Option<usize>>,
    measure: Measure,
    references: Vec<Reference>,
    /// One a thread, each running one thread.
    workers: Vec<Worker>,
    cancel: Cancel,
}

/// What one thread works with.
#[derive(Debug)]
struct Worker {
    spans: SpanStore,
    /// Used by this thread alone; warm, so that times are those of the steady state.
    tools: Mutex<Tools>,
}

#[derive(Debug)]
struct Tools {
    packer: Packer,
    trial_packer: Packer,
    unpacker: Unpacker,
    message: Vec<u8>,
}

impl Tools {
    fn new(shaping: Arc<Shaping>) -> Self {
        Self {
            packer: Packer::default().with_shaping(shaping),
            trial_packer: trial::packer(),
            unpacker: Unpacker::default(),
            message: Vec::new(),
        }
    }
}

/// How much is measured of each way of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// What it does to the answer: one codec's message, since all carry the same.
    Fidelity,
    /// And the length of every codec's message.
    Bytes,
    /// And the time to read each.
    Times,
}

/// One photo sent in one way.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What it did to the answer.
    pub outcome: Outcome,
    /// One for each codec, in the order of [`Sent::plans`]; none where only fidelity was asked for.
    pub messages: Vec<Message>,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Message {
    /// Its length.
    pub bytes: usize,
    /// Milliseconds to make it on one core.
    pub pack_ms: f64,
    /// Milliseconds to read it; 0 where that was not asked for.
    pub unpack_ms: f64,
}

/// How far the answers are from the whole model's, in percentage points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Loss {
    pub(super) lower: f64,
    pub(super) estimate: f64,
    pub(super) upper: f64,
}

impl Lab {
    /// Runs the whole model on every photo.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if the labels do not match the photos, or if the
    /// measure does not suit the outputs.
    pub fn new(
        bundle: Arc<Bundle>,
        photos: PhotoSet,
        truth: Option<&Truth>,
        options: LabOptions,
    ) -> Result<Self> {
        let manifest = bundle.manifest();
        let measure = options.measure.unwrap_or_else(|| Measure::of(manifest));
        let classes = manifest.outputs.first().map_or(0, TensorSpec::elements);
        let truth = match truth {
            Some(_) if measure != Measure::Agreement => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "labels are for classifiers, and this model is measured by a distance: leave \
                     them away",
                ));
            }
            Some(truth) => truth.of(photos.files(), classes)?,
            None => vec![None; photos.files().len()],
        };
        let span_options = SpanOptions {
            threads: 1,
            capacity: SPANS,
        };
        let worker = |_| {
            Ok(Worker {
                spans: SpanStore::new(bundle.clone(), span_options.clone())?,
                tools: Mutex::new(Tools::new(bundle.shaping())),
            })
        };
        let workers: Result<Vec<Worker>> =
            (0..cores().min(photos.files().len())).map(worker).collect();
        let mut lab = Self {
            bundle,
            photos,
            truth,
            measure,
            references: Vec::new(),
            workers: workers?,
            cancel: options.cancel,
        };
        lab.references = in_parallel(lab.workers.len(), lab.images(), |worker, image| {
            let outputs = lab.run_tail(worker, lab.input(image)?)?;
            Reference::new(measure, outputs).map_err(|e| lab.at(image, e))
        })?;
        Ok(lab)
    }

    /// The bundle that is measured.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// What is compared.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// The photos.
    pub fn photos(&self) -> &PhotoSet {
        &self.photos
    }

    /// How many photos.
    pub fn images(&self) -> usize {
        self.photos.frames.len()
    }

    /// How many photos have a true class.
    pub fn with_truth(&self) -> usize {
        self.truth.iter().flatten().count()
    }

    pub(super) fn truth(&self) -> &[Option<usize>] {
        &self.truth
    }

    /// The cuts that can be measured: those with a tail, across which only f32 goes.
    pub fn cuts(&self) -> Vec<usize> {
        let manifest = self.bundle.manifest();
        let sent = |cut: &&Cut| cut.index < manifest.last_cut() && can_be_packed(cut);
        manifest
            .cuts
            .iter()
            .filter(sent)
            .map(|cut| cut.index)
            .collect()
    }

    /// Sends each of `images` across `cut` in each of the ways `sent`: one list a way, one
    /// observation an image.
    pub fn observe(
        &self,
        cut: usize,
        sent: &[Sent],
        images: Range<usize>,
        detail: Detail,
    ) -> Result<Vec<Vec<Observation>>> {
        let first = images.start;
        let rows = in_parallel(self.workers.len(), images.len(), |worker, i| {
            let image = first + i;
            self.observe_one(worker, cut, sent, image, detail)
                .map_err(|e| self.at(image, e))
        })?;
        Ok(by_way(rows, sent.len()))
    }

    /// What messages are shaped by from now on.
    pub(super) fn set_shaping(&mut self, shaping: &Shaping) {
        let shaping = Arc::new(shaping.clone());
        for worker in &mut self.workers {
            worker.tools = Mutex::new(Tools::new(shaping.clone()));
        }
    }

    /// Judges the outcomes of the first photos.
    pub fn judge(&self, observed: &[Observation]) -> Judgement {
        let outcomes: Vec<&Outcome> = observed.iter().map(|o| &o.outcome).collect();
        Judgement::of(self.measure, &self.references, &self.truth, &outcomes)
    }

    /// What happens to the answers that lead by enough; nothing of a model that is no classifier.
    pub(super) fn doubts(&self, observed: &[Observation]) -> Vec<Doubt> {
        let outcomes: Vec<&Outcome> = observed.iter().map(|o| &o.outcome).collect();
        Doubt::all(&trials(&self.references, &outcomes))
    }

    /// The loss that the outcomes of the first photos let expect.
    pub(super) fn loss(&self, observed: &[Observation]) -> Loss {
        let outcomes: Vec<&Outcome> = observed.iter().map(|o| &o.outcome).collect();
        if self.measure == Measure::Agreement {
            let rate = flips(&self.references, &outcomes);
            return Loss {
                lower: 100.0 * rate.lower,
                estimate: 100.0 * rate.estimate,
                upper: 100.0 * rate.upper,
            };
        }
        let distances: Vec<f64> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Distance(distance) => Some(*distance),
                Outcome::Class { .. } => None,
            })
            .collect();
        let (mean, error) = mean_and_error(&distances);
        let margin = t_quantile(0.95, distances.len().saturating_sub(1)) * error;
        Loss {
            lower: 100.0 * (mean - margin),
            estimate: 100.0 * mean,
            upper: 100.0 * (mean + margin),
        }
    }

    fn observe_one(
        &self,
        worker: usize,
        cut: usize,
        sent: &[Sent],
        image: usize,
        detail: Detail,
    ) -> Result<Vec<Observation>> {
        let row = self.bundle.cut(cut)?;
        let activation = self.run(worker, self.input(image)?, cut)?;
        let tools = &self.worker(worker)?.tools;
        let mut tools = tools.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = self.frame(image)?;
        let one = |way: &Sent| {
            self.cancel.check()?;
            let (input, messages) = match *way {
                Sent::Photo(codec) => self.through_photo(frame, codec)?,
                Sent::Packed(..) => through_packing(&mut tools, row, &activation, *way, detail)?,
            };
            let outputs = self.run_tail(worker, input)?;
            let reference = self.references.get(image).ok_or_else(no_photo)?;
            Ok(Observation {
                outcome: reference.compare(&outputs)?,
                messages,
            })
        };
        sent.iter().map(one).collect()
    }

    fn through_photo(
        &self,
        frame: &Frame,
        codec: PhotoCodec,
    ) -> Result<(Activation, Vec<Message>)> {
        let preprocess = &self.bundle.manifest().preprocess;
        let started = Instant::now();
        let encoded = frame.encode(codec)?;
        let pack_ms = ms_since(started);
        let started = Instant::now();
        let decoded = Frame::decode(&encoded, preprocess)?;
        let unpack_ms = ms_since(started);
        let message = Message {
            bytes: encoded.len(),
            pack_ms,
            unpack_ms,
        };
        let input = Activation::new(0, vec![decoded.to_tensor(preprocess)?]);
        Ok((input, vec![message]))
    }

    fn frame(&self, image: usize) -> Result<&Frame> {
        self.photos.frames.get(image).ok_or_else(no_photo)
    }

    fn input(&self, image: usize) -> Result<Activation> {
        let tensor = self
            .frame(image)?
            .to_tensor(&self.bundle.manifest().preprocess)?;
        Ok(Activation::new(0, vec![tensor]))
    }

    fn run_tail(&self, worker: usize, input: Activation) -> Result<Vec<Tensor>> {
        let last = self.bundle.manifest().last_cut();
        self.run(worker, input, last)?.into_tensors()
    }

    /// Runs from the activation's cut to cut `to`, on the worker's own spans.
    fn run(&self, worker: usize, input: Activation, to: usize) -> Result<Activation> {
        self.cancel.check()?;
        if input.cut == to {
            return Ok(input);
        }
        let spans = &self.worker(worker)?.spans;
        Ok(spans.run(input, to, &self.cancel)?.output)
    }

    fn worker(&self, worker: usize) -> Result<&Worker> {
        self.workers
            .get(worker)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "there is no such worker"))
    }

    fn at(&self, image: usize, error: Error) -> Error {
        match self.photos.files.get(image) {
            Some(file) if error.kind() != ErrorKind::Cancelled => error.context(file.display()),
            _ => error,
        }
    }
}

/// What comes out of the message of the first codec; the others carry the same.
fn through_packing(
    tools: &mut Tools,
    cut: &Cut,
    activation: &Activation,
    sent: Sent,
    detail: Detail,
) -> Result<(Activation, Vec<Message>)> {
    let tensors = activation.as_f32()?;
    let mut arrived = None;
    let mut messages = Vec::with_capacity(Codec::ALL.len());
    for (_, plan) in sent.plans(cut.index) {
        let Plan::Split {
            precision, codec, ..
        } = plan
        else {
            continue;
        };
        let started = Instant::now();
        tools
            .packer
            .pack_into(cut, &tensors, precision, codec, &mut tools.message)?;
        let pack_ms = ms_since(started);
        let mut unpack_ms = 0.0;
        if detail == Detail::Times || arrived.is_none() {
            let started = Instant::now();
            let tensors = tools.unpacker.unpack(&tools.message, cut)?;
            unpack_ms = ms_since(started);
            arrived.get_or_insert(tensors);
        }
        if detail == Detail::Fidelity {
            break;
        }
        messages.push(Message {
            bytes: tools.message.len(),
            pack_ms,
            unpack_ms,
        });
    }
    let arrived = arrived.ok_or_else(|| Error::new(ErrorKind::Internal, "no codec sends this"))?;
    Ok((Activation::new(cut.index, arrived), messages))
}

/// Rows with one entry a way, as one list a way.
fn by_way<T>(rows: Vec<Vec<T>>, ways: usize) -> Vec<Vec<T>> {
    let mut lists: Vec<Vec<T>> = (0..ways).map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        for (list, entry) in lists.iter_mut().zip(row) {
            list.push(entry);
        }
    }
    lists
}

fn ms_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

fn no_photo() -> Error {
    Error::new(ErrorKind::Internal, "there is no such photo")
}
