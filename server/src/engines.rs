//! Who runs the tails of the bundles that are opened: this process, or another server.

use std::sync::Arc;

use dyno_core::Result;
use dyno_core::bundle::{Bundle, TailPattern};
use dyno_core::runtime::TailOptions;

use crate::config::Config;
use crate::engine::{BundleEngine, TailEngine};
use crate::remote::{Remote, RemoteEngine};

/// Makes the engine of each model, as configured.
pub(crate) enum Engines {
    /// With the largest batch.
    Here(TailOptions, usize),
    There(Arc<Remote>, TailPattern),
}

impl Engines {
    /// Fails with [`ErrorKind::InvalidArgument`](dyno_core::ErrorKind::InvalidArgument) if the other
    /// server's address is none. Call it in a tokio runtime.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        Ok(match &config.tail_engine {
            None => {
                let options = TailOptions {
                    threads: config.threads(),
                    idle_sessions: config.spans.get().into(),
                };
                Self::Here(options, config.max_batch.get().into())
            }
            Some(address) => {
                let remote = Arc::new(Remote::new(address)?);
                Self::There(remote, config.tail_model.clone())
            }
        })
    }

    pub(crate) fn open(&self, model: &str, bundle: Bundle) -> Result<Arc<dyn TailEngine>> {
        Ok(match self {
            Self::Here(options, max_batch) => {
                let bundle = Arc::new(bundle);
                Arc::new(BundleEngine::new(bundle, options.clone(), *max_batch)?)
            }
            Self::There(remote, pattern) => Arc::new(RemoteEngine::new(
                model,
                bundle,
                Arc::clone(remote),
                pattern,
            )?),
        })
    }
}
