//! `dyno_model_info`: which models are served, and which bundle each is.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::models::Served;

/// Name and hash of each; replaced as a whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Models(Arc<Mutex<Vec<(String, String)>>>);

impl Models {
    pub(super) fn set(&self, models: &[Arc<Served>]) {
        let models = models
            .iter()
            .map(|served| {
                let hash = served.model.engine.manifest().hash.to_string();
                (served.model.name.clone(), hash)
            })
            .collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = models;
    }

    fn get(&self) -> Vec<(String, String)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Collector for Models {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Models that are served, and the hash of each one's bundle";
        let mut rows = encoder.encode_descriptor("model", help, None, MetricType::Info)?;
        for (model, hash) in self.get() {
            rows.encode_info(&[("model", model), ("hash", hash)])?;
        }
        Ok(())
    }
}
