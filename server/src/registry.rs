//! Which versions of which models there are now.
//!
//! A request's model name is looked up in the map and never becomes part of a path. What it finds is
//! its own: an answer is of one version of its model, whatever happens to the map meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use dyno_core::{Error, ErrorKind, Result};

use crate::models::{Model, Served};

/// The models by name. Locked for a look or a change, never while something runs.
pub(crate) struct Registry(RwLock<BTreeMap<String, Versions>>);

/// The versions of one model: at most two.
struct Versions {
    newest: Arc<Served>,
    previous: Option<Previous>,
}

/// The version before the newest, for clients that still have its bundle.
struct Previous {
    served: Arc<Served>,
    until: Instant,
}

impl Registry {
    /// Fails with [`ErrorKind::InvalidArgument`] if there are no models or two of one name.
    pub(crate) fn new(models: Vec<Model>, max_photo_bytes: usize) -> Result<Self> {
        let mut map = BTreeMap::new();
        for model in models {
            let name = model.name.clone();
            let versions = Versions {
                newest: Arc::new(Served::new(model, max_photo_bytes)?),
                previous: None,
            };
            if map.insert(name.clone(), versions).is_some() {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("two models are named '{name}'"),
                ));
            }
        }
        if map.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "there is no model to serve",
            ));
        }
        Ok(Self(RwLock::new(map)))
    }

    /// The newest version of the model of a name. Holding it keeps its sessions: do so for one
    /// request.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Served>> {
        self.read().get(name).map(|model| model.newest.clone())
    }

    /// The version whose bundle has this hash if it is served, otherwise the newest.
    pub(crate) fn version(&self, name: &str, hash: &str) -> Option<Arc<Served>> {
        let models = self.read();
        let model = models.get(name)?;
        let previous = model.previous.as_ref().filter(|previous| {
            previous.served.hash() == hash
                && model.newest.hash() != hash
                && Instant::now() < previous.until
        });
        let served = previous.map_or(&model.newest, |previous| &previous.served);
        Some(Arc::clone(served))
    }

    /// The models as they are now, by name, each in its newest version.
    pub(crate) fn all(&self) -> Vec<Arc<Served>> {
        let models = self.read();
        models.values().map(|model| model.newest.clone()).collect()
    }

    /// Puts a version in the place of the newest one, which is found by its hash for `keep` longer,
    /// or a new model beside the others. Gives back what is served no more.
    pub(crate) fn put(&self, served: Arc<Served>, keep: Duration) -> Vec<Arc<Served>> {
        let mut gone = Vec::new();
        let mut models = self.write();
        let Some(model) = models.get_mut(&served.model.name) else {
            let versions = Versions {
                newest: Arc::clone(&served),
                previous: None,
            };
            models.insert(served.model.name.clone(), versions);
            return gone;
        };
        let old = std::mem::replace(&mut model.newest, served);
        if old.hash() == model.newest.hash() {
            gone.push(old);
            return gone;
        }
        let previous = Instant::now()
            .checked_add(keep)
            .filter(|_| !keep.is_zero())
            .map(|until| Previous {
                served: Arc::clone(&old),
                until,
            });
        if previous.is_none() {
            gone.push(old);
        }
        let before = std::mem::replace(&mut model.previous, previous);
        gone.extend(before.map(|previous| previous.served));
        gone
    }

    /// Takes a model away, in all its versions, and gives them back.
    pub(crate) fn remove(&self, name: &str) -> Vec<Arc<Served>> {
        let model = self.write().remove(name);
        let previous = |model: Versions| {
            let previous = model.previous.map(|previous| previous.served);
            std::iter::once(model.newest).chain(previous)
        };
        model.into_iter().flat_map(previous).collect()
    }

    /// Takes away the versions whose time has passed, and gives them back.
    pub(crate) fn expire(&self) -> Vec<Arc<Served>> {
        let now = Instant::now();
        let is_over = |model: &Versions| {
            let previous = model.previous.as_ref();
            previous.is_some_and(|previous| previous.until <= now)
        };
        if !self.read().values().any(is_over) {
            return Vec::new();
        }
        let mut models = self.write();
        let over = models.values_mut().filter(|model| is_over(model));
        over.filter_map(|model| model.previous.take())
            .map(|previous| previous.served)
            .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Versions>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Versions>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
