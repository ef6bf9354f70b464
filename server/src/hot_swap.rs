//! Bundles that come, change and go while the server runs.
//!
//! A new version is opened, hashed and warmed up here, away from the requests, while the old one
//! serves; then it takes its place in the registry at once. What cannot be served is refused, and
//! nothing changes. `docs/server.md` says how to put a bundle in place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dyno_core::Result;
use dyno_core::runtime::Cancel;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::engines::Engines;
use crate::models::{BUNDLE_FILES, Model, Served, sub_folders};
use crate::observe::AUDIT;
use crate::registry::Registry;
use crate::reload::{Counts, Reload, Stamp, stamp};
use crate::timing::millis;

/// How often versions are looked for whose time has passed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the registry as the folder of bundles is.
pub(crate) struct HotSwap {
    config: Config,
    engines: Arc<Engines>,
    models: Arc<Registry>,
    folders: Mutex<BTreeMap<String, Folder>>,
    /// Ends a warm-up under way when the server ends.
    cancel: Cancel,
    counts: Counts,
}

/// What is at hand at one time in a sub-folder; none where there is none.
pub(crate) type Looks = BTreeMap<String, Look>;

/// What changes when a bundle does: the folder, and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    path: PathBuf,
    folder: Option<u64>,
    files: [Option<Stamp>; BUNDLE_FILES.len()],
}

/// What is known of one sub-folder.
#[derive(Debug, Default)]
struct Folder {
    /// At the last look.
    last: Option<Look>,
    /// When it was opened, or found to be gone.
    taken: Option<Look>,
    refused: bool,
}

/// Looks at the folder of bundles without opening any.
pub(crate) fn look(root: &Path) -> Result<Looks> {
    let folders = sub_folders(root)?.into_iter();
    Ok(folders.map(|(name, path)| (name, Look::at(path))).collect())
}

impl Look {
    fn at(path: PathBuf) -> Self {
        Self {
            folder: identity(&path),
            files: BUNDLE_FILES.map(|name| stamp(&path.join(name))),
            path,
        }
    }

    fn has_manifest(&self) -> bool {
        self.files[0].is_some()
    }
}

impl HotSwap {
    /// `opened` is what was looked at before the models were opened.
    pub(crate) fn new(
        config: Config,
        engines: Arc<Engines>,
        models: Arc<Registry>,
        opened: Looks,
    ) -> Self {
        let known = |(name, look): (String, Look)| {
            let folder = Folder {
                refused: models.get(&name).is_none(),
                last: Some(look.clone()),
                taken: Some(look),
            };
            (name, folder)
        };
        Self {
            folders: Mutex::new(opened.into_iter().map(known).collect()),
            config,
            engines,
            models,
            cancel: Cancel::new(),
            counts: Counts::default(),
        }
    }

    /// Cancelled when the server ends.
    pub(crate) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    fn check(&self, asked: bool) {
        let mut found = match look(&self.config.bundles) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "bundles stay as they are");
                return;
            }
        };
        // A folder that is empty all at once is an accident: a volume that is not there.
        let is_empty = found.is_empty();
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<_> = folders.keys().chain(found.keys()).cloned().collect();
        for name in names {
            let now = found.remove(&name);
            let folder = folders.entry(name.clone()).or_default();
            let stands = asked || folder.last == now;
            let is_new = folder.taken != now || (asked && folder.refused);
            folder.last.clone_from(&now);
            if !is_new || !stands {
                continue;
            }
            match &now {
                Some(look) if look.has_manifest() || self.models.get(&name).is_some() => {
                    folder.refused = !self.take(&name, &look.path);
                }
                Some(_) => {}
                None if is_empty => {
                    if !folder.refused {
                        let root = self.config.bundles.display();
                        tracing::error!(model = name, %root, "no bundle is left: the model stays");
                        folder.refused = true;
                    }
                    continue;
                }
                None => self.remove(&name),
            }
            folder.taken = now;
        }
        folders.retain(|_, folder| folder.last.is_some() || folder.taken.is_some());
    }

    /// Opens what is in a folder and serves it; says whether that worked out.
    fn take(&self, name: &str, path: &Path) -> bool {
        let started = Instant::now();
        match self.open(name, path) {
            Ok(served) => {
                let bundle = served.hash().to_owned();
                let before = self.models.get(name);
                let before = before.as_deref().map(Served::hash);
                tracing::info!(
                    target: AUDIT,
                    model = name,
                    bundle,
                    before,
                    ms = millis(started.elapsed()),
                    "model taken"
                );
                self.counts.taken.fetch_add(1, Ordering::Relaxed);
                drop(self.models.put(served, self.config.keep_old_versions));
                true
            }
            Err(error) => {
                let refused = self.counts.failed.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::error!(
                    target: AUDIT,
                    folder = ?name, %error, refused,
                    "bundle refused: what was served before stays"
                );
                false
            }
        }
    }

    fn open(&self, name: &str, path: &Path) -> Result<Arc<Served>> {
        let model = Model::open(name, path, &self.engines)?;
        model
            .engine
            .warm_up(&self.cancel)
            .map_err(|error| error.context("it cannot run"))?;
        Served::new(model, self.config.max_photo_bytes()).map(Arc::new)
    }

    fn remove(&self, name: &str) {
        let gone = self.models.remove(name);
        if !gone.is_empty() {
            tracing::info!(target: AUDIT, model = name, "model gone: its folder is");
        }
    }
}

impl Reload for HotSwap {
    fn reload(&self) {
        self.check(true);
    }

    fn poll(&self) {
        self.check(false);
    }

    fn what(&self) -> &'static str {
        "bundles"
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// Lets go of versions whose time has passed; for ever.
pub(crate) async fn expire(models: Arc<Registry>) {
    let mut ticks = interval(EXPIRY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let gone = models.expire();
        for served in &gone {
            let model = &served.model.name;
            tracing::info!(model, bundle = served.hash(), "old version gone");
        }
        // Ending sessions and returning their memory takes a while.
        let _ = tokio::task::spawn_blocking(move || drop(gone)).await;
    }
}

/// Tells a folder from another one at its path.
#[cfg(unix)]
fn identity(folder: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Some(std::fs::metadata(folder).ok()?.ino())
}

#[cfg(not(unix))]
fn identity(_folder: &Path) -> Option<u64> {
    None
}
