//! One version of a model as the workers see it: its engine, and what its requests cost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::TailEngine;

/// Weight of the newest request in what one is expected to cost.
const COST_WEIGHT: f64 = 0.1;

/// A model's requests go through one line, and are batched with none of another.
pub(crate) struct Line {
    /// Name that the model is served under.
    pub(crate) model: String,
    pub(crate) engine: Arc<dyn TailEngine>,
    cost_ms: Mutex<Option<f64>>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl Line {
    pub(crate) fn new(model: &str, engine: Arc<dyn TailEngine>) -> Self {
        Self {
            model: model.to_owned(),
            engine,
            cost_ms: Mutex::new(None),
        }
    }

    /// What a request is expected to cost a worker, decoding included; none before the first.
    pub(crate) fn cost(&self) -> Option<Duration> {
        let cost_ms = *self.cost_ms.lock().unwrap_or_else(PoisonError::into_inner);
        cost_ms.map(|ms| Duration::from_secs_f64(ms / 1e3))
    }

    /// Learns what one has cost.
    pub(crate) fn observe(&self, cost: Duration) {
        let ms = cost.as_secs_f64() * 1e3;
        let mut mean = self.cost_ms.lock().unwrap_or_else(PoisonError::into_inner);
        *mean = Some(mean.map_or(ms, |mean| mean + COST_WEIGHT * (ms - mean)));
    }
}
