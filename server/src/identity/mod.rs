//! Who asks, and what they may do.

mod client;
mod keys;

use std::sync::Arc;

use dyno_core::Result;
use dyno_core::client::Token;

pub(crate) use client::{Caller, ClientId};

use crate::config::Config;
use crate::reload::{Live, Reload};
use keys::Keys;

/// The ways in that are configured.
#[derive(Debug)]
pub(crate) struct Identity {
    keys: Option<Arc<Live<Keys>>>,
}

impl Identity {
    /// Reads the configured files.
    ///
    /// Fails with [`dyno_core::ErrorKind::InvalidArgument`] if one cannot be read or makes no
    /// sense, and names it; nothing of its content is told.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let keys = config.keys.clone().map(|path| {
            let file = path.clone();
            Live::open("keys", vec![file], move || Keys::open(&path)).map(Arc::new)
        });
        Ok(Self {
            keys: keys.transpose()?,
        })
    }

    /// Whether everybody is let in who says nothing.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.is_none()
    }

    /// How many keys are known, if there is a file of them.
    pub(crate) fn keys(&self) -> Option<usize> {
        self.keys.as_ref().map(|keys| keys.current().len())
    }

    /// Whose token it is.
    pub(crate) fn find(&self, token: &Token) -> Option<Caller> {
        self.keys.as_ref()?.current().find(token)
    }

    /// What is read again while the server runs.
    pub(crate) fn reloads(&self) -> impl Iterator<Item = Arc<dyn Reload>> {
        self.keys
            .iter()
            .map(|keys| Arc::clone(keys) as Arc<dyn Reload>)
    }
}
