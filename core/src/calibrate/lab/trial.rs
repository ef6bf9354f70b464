//! What one tensor of a cut does to the answer: it alone goes through a message, and the others arrive
//! as they were.

use std::sync::{Arc, PoisonError};

use super::{Lab, Tools, by_way, no_photo};
use crate::bundle::Cut;
use crate::calibrate::parallel::in_parallel;
use crate::calibrate::shaping::DIFFUSIONS;
use crate::pack::{Packer, Shaping, TensorShaping, inspect};
use crate::runtime::Activation;
use crate::schedule::{Codec, Levels, Precision};
use crate::{Error, ErrorKind, Result, Tensor};

/// One tensor of a cut, sent in some way.
#[derive(Debug, Clone, Copy)]
pub(in crate::calibrate) struct Trial {
    pub(in crate::calibrate) tensor: usize,
    /// Place in [`DIFFUSIONS`].
    pub(in crate::calibrate) diffusion: usize,
    pub(in crate::calibrate) levels: Levels,
}

/// What came of a trial on one photo.
#[derive(Debug, Clone)]
pub(in crate::calibrate) struct TrialResult {
    /// The square of how far the answer went from the whole model's.
    pub(in crate::calibrate) loss: f64,
    /// Of the payload.
    pub(in crate::calibrate) bytes: usize,
    /// From the least to the greatest element.
    pub(in crate::calibrate) width: f64,
}

impl Lab {
    /// Sends single tensors of `cut` while the others arrive as they were: one list a trial, one
    /// result an image.
    pub(in crate::calibrate) fn try_tensors(
        &self,
        cut: usize,
        trials: &[Trial],
        images: &[usize],
    ) -> Result<Vec<Vec<TrialResult>>> {
        let rows = in_parallel(self.workers.len(), images.len(), |worker, i| {
            let image = images[i];
            self.try_on(worker, cut, trials, image)
                .map_err(|e| self.at(image, e))
        })?;
        Ok(by_way(rows, trials.len()))
    }

    fn try_on(
        &self,
        worker: usize,
        cut: usize,
        trials: &[Trial],
        image: usize,
    ) -> Result<Vec<TrialResult>> {
        let row = self.bundle.cut(cut)?;
        let tensors = self.run(worker, self.input(image)?, cut)?.into_tensors()?;
        let tools = &self.worker(worker)?.tools;
        let mut tools = tools.lock().unwrap_or_else(PoisonError::into_inner);
        let reference = self.references.get(image).ok_or_else(no_photo)?;
        let one = |trial: &Trial| {
            self.cancel.check()?;
            let (arrived, bytes, width) = through_one(&mut tools, row, tensors.clone(), trial)?;
            let outputs = self.run_tail(worker, arrived)?;
            Ok(TrialResult {
                loss: reference.loss(&reference.compare(&outputs)?),
                bytes,
                width,
            })
        };
        trials.iter().map(one).collect()
    }
}

/// Shapes as if there were a cut for each of [`DIFFUSIONS`].
pub(super) fn packer() -> Packer {
    let mut shaping = Shaping::default();
    for (cut, diffusion) in DIFFUSIONS.into_iter().enumerate() {
        let alone = TensorShaping {
            weight: 1.0,
            diffusion,
        };
        shaping.insert(cut, vec![alone]);
    }
    Packer::default().with_shaping(Arc::new(shaping))
}

/// The activation with one tensor as it comes out of its message, that message's payload bytes, and
/// how wide the tensor's range is.
fn through_one(
    tools: &mut Tools,
    cut: &Cut,
    mut tensors: Vec<Tensor>,
    trial: &Trial,
) -> Result<(Activation, usize, f64)> {
    let no_tensor = || Error::new(ErrorKind::Internal, "there is no such tensor");
    let spec = cut.tensors.get(trial.tensor).ok_or_else(no_tensor)?;
    let tensor = tensors.get_mut(trial.tensor).ok_or_else(no_tensor)?;
    let alone = Cut {
        index: trial.diffusion,
        tensors: vec![spec.clone()],
        ..cut.clone()
    };
    let values = tensor.as_f32().ok_or_else(no_tensor)?;
    let precision = Precision::Levels(trial.levels);
    tools.trial_packer.pack_into(
        &alone,
        &[values],
        precision,
        Codec::Shaped,
        &mut tools.message,
    )?;
    let info = inspect(&tools.message)?;
    let sent = info.tensors.first().ok_or_else(no_tensor)?;
    let (bytes, width) = (sent.bytes, f64::from(sent.hi) - f64::from(sent.lo));
    *tensor = tools
        .unpacker
        .unpack(&tools.message, &alone)?
        .pop()
        .ok_or_else(no_tensor)?;
    Ok((Activation::new(cut.index, tensors), bytes, width))
}
