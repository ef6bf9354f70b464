//! The tails of one bundle for a server: any number of cuts in use, one copy of the weights, several
//! activations in one run.

mod optimised;
mod recipe;
mod scratch;
#[cfg(test)]
mod tests;
mod together;
mod weights;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ort::session::Session;
use ort::session::builder::PrepackedWeights;

use self::recipe::{Kitchen, Recipe};
use self::scratch::Scratch;
use self::weights::Weights;
use super::span_io::zeros;
use super::trim::give_back_free_memory;
use super::{Activation, Cancel, Stack};
use crate::bundle::{Bundle, WEIGHTS_FILE, describe_file};
use crate::graph::batch;
use crate::graph::span::SpanModel;
use crate::{Error, ErrorKind, Result};

/// What helps where temporary files cannot be written.
const ROOM: &str = "a model's tails need room for temporary files, twice the size of its weights: set TMPDIR to a folder that has \
                    it and can be written";

/// How a store makes and keeps sessions.
#[derive(Debug, Clone)]
pub struct TailOptions {
    /// Threads that run one batch together; at least 1.
    pub threads: usize,
    /// Most sessions kept while nobody uses them; the least recently used one goes first.
    pub idle_sessions: usize,
}

/// Tails (and shorter spans) of one bundle. Shared by threads; every call may block, and calls for
/// one span run at the same time, each on a session of its own.
///
/// The bundle's files are read while the store is made, and never again.
pub struct TailStore {
    bundle: Arc<Bundle>,
    options: TailOptions,
    folder: Scratch,
    /// Whether the folder's copy of the bundle's weights has gone.
    is_sealed: AtomicBool,
    shared: Weights,
    prepacked: PrepackedWeights,
    recipes: Mutex<BTreeMap<Ends, Arc<OnceLock<Recipe>>>>,
    making: Mutex<()>,
    idle: Mutex<Vec<(Ends, Session)>>,
}

/// The cuts at both ends of a span.
type Ends = (usize, usize);

/// What a run of several activations left.
#[derive(Debug)]
pub struct TailRun {
    /// The tensors at the cut it ran to, in the order of the inputs.
    pub outputs: Vec<Activation>,
    /// Time spent computing, for all of them together.
    pub elapsed: Duration,
}

impl std::fmt::Debug for TailStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TailStore")
            .field("options", &self.options)
            .field("weights_bytes", &self.shared.bytes())
            .finish_non_exhaustive()
    }
}

impl TailStore {
    /// A store without sessions yet. Reads the bundle's weights; loads ONNX Runtime if this process
    /// has not.
    ///
    /// Fails with [`ErrorKind::InvalidBundle`] if the weights are not those that the bundle was
    /// opened with, and with [`ErrorKind::Io`] if there is no folder for temporary files.
    pub fn new(bundle: Arc<Bundle>, options: TailOptions) -> Result<Self> {
        super::load(None)?;
        let parent = std::env::temp_dir();
        let folder = Scratch::new_in(&parent)
            .map_err(|e| Error::io(&parent, "make a folder in", e).context(ROOM))?;
        copy_weights(&bundle, folder.path())?;
        Ok(Self {
            bundle,
            options,
            folder,
            is_sealed: AtomicBool::new(false),
            shared: Weights::default(),
            prepacked: PrepackedWeights::new(),
            recipes: Mutex::default(),
            making: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    /// The bundle whose tails these are.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// Makes the span between two cuts ready to run, with one session that has run once: a first run takes
    /// longer than the others.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if there are no such cuts in this order.
    pub fn prepare(&self, from: usize, to: usize) -> Result<()> {
        self.recipe((from, to), |_| Ok(()))
    }

    /// Whether the span gives several activations together what it gives each alone. Tried on made-up ones
    /// when it is first asked, which takes about five times as long as a run; until then, and if they do not agree,
    /// [`TailStore::run`] runs them one after the other.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if there are no such cuts in this order.
    pub fn takes_batches(&self, from: usize, to: usize) -> Result<bool> {
        let key = (from, to);
        self.recipe(key, |recipe| {
            if let Some(&known) = recipe.takes_batches.get() {
                return Ok(known);
            }
            let Some(mut session) = self.session(key, recipe)? else {
                return Ok(false);
            };
            let cut = &self.bundle.manifest().cuts[from];
            let checked = together::check(&recipe.io, &mut session, cut);
            self.give_back(key, session);
            if let Err(why) = &checked {
                log::info!("cuts {from} to {to} take one activation at a time: {why}");
            }
            give_back_free_memory();
            Ok(*recipe.takes_batches.get_or_init(|| checked.is_ok()))
        })
    }

    /// Lets go of the weights as the bundle has them: from here on only spans that were prepared can
    /// be run.
    pub fn seal(&self) {
        self.is_sealed.store(true, Ordering::Relaxed);
        // There is none where all weights are in the graph; one that cannot be removed goes with its folder.
        let _ = std::fs::remove_file(self.folder.path().join(WEIGHTS_FILE));
        give_back_free_memory();
    }

    /// Bytes of the weights that all sessions share.
    pub fn weights_bytes(&self) -> usize {
        self.shared.bytes()
    }

    /// Runs the span from the activations' cut to cut `to`; in one run if the span is known to take them
    /// together ([`TailStore::takes_batches`]), otherwise one after the other.
    ///
    /// Fails with [`ErrorKind::Cancelled`] once `cancel` is set, and with
    /// [`ErrorKind::InvalidArgument`] if there is no activation.
    pub fn run(&self, inputs: &Stack, to: usize, cancel: &Cancel) -> Result<TailRun> {
        cancel.check()?;
        if inputs.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "a batch is one or more activations",
            ));
        }
        let key = (inputs.cut(), to);
        self.recipe(key, |recipe| {
            let mut session = self.session(key, recipe)?;
            let run = run(recipe, session.as_mut(), inputs, cancel);
            if let Some(session) = session {
                self.give_back(key, session);
            }
            run
        })
    }

    fn recipe<T>(&self, key: Ends, with: impl FnOnce(&Recipe) -> Result<T>) -> Result<T> {
        let place = lock(&self.recipes).entry(key).or_default().clone();
        if place.get().is_none() {
            let making = lock(&self.making);
            if place.get().is_none() {
                match self.make(key) {
                    Ok(recipe) => {
                        let _ = place.set(recipe);
                    }
                    Err(error) => {
                        lock(&self.recipes).remove(&key);
                        let (from, to) = key;
                        return Err(error.context(format!("span from cut {from} to cut {to}")));
                    }
                }
            }
            drop(making);
        }
        let recipe = place
            .get()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "no span"))?;
        with(recipe)
    }

    /// The span for any number of activations if ONNX Runtime can run that, else for one.
    fn make(&self, key: Ends) -> Result<Recipe> {
        if self.is_sealed.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "this span was not made ready when the server started",
            ));
        }
        let kitchen = Kitchen {
            folder: self.folder.path(),
            shared: &self.shared,
        };
        let (from, to) = key;
        let closed = self.bundle.span_model(from, to)?;
        // With one activation the open span is the closed one by construction: all that was opened is 1 then.
        let open = match batch::open(&closed) {
            Some(open) => self.ran_once(Recipe::make(&open, to, true, &kitchen), &closed),
            None => Err(Error::new(
                ErrorKind::UnsupportedModel,
                "a tensor has no first dimension of 1",
            )),
        };
        let (recipe, session) = open.or_else(|why| {
            log::info!("cuts {from} to {to} take one activation at a time: {why}");
            self.ran_once(Recipe::make(&closed, to, false, &kitchen), &closed)
        })?;
        if let Some(session) = session {
            self.give_back(key, session);
        }
        give_back_free_memory();
        Ok(recipe)
    }

    /// A recipe and a session of it that has run, unless there is nothing to run.
    fn ran_once(
        &self,
        recipe: Result<Recipe>,
        closed: &SpanModel,
    ) -> Result<(Recipe, Option<Session>)> {
        let recipe = recipe?;
        let mut session = self.new_session(&recipe)?;
        if session.is_some() {
            recipe
                .io
                .run(session.as_mut(), zeros(&closed.entry)?, &Cancel::new())?;
        }
        Ok((recipe, session))
    }

    fn session(&self, key: Ends, recipe: &Recipe) -> Result<Option<Session>> {
        let mut idle = lock(&self.idle);
        if let Some(index) = idle.iter().rposition(|(of, _)| *of == key) {
            return Ok(Some(idle.remove(index).1));
        }
        drop(idle);
        self.new_session(recipe)
    }

    fn new_session(&self, recipe: &Recipe) -> Result<Option<Session>> {
        recipe.session(self.folder.path(), self.options.threads, &self.prepacked)
    }

    fn give_back(&self, key: Ends, session: Session) {
        let mut idle = lock(&self.idle);
        idle.push((key, session));
        let too_many = idle.len().saturating_sub(self.options.idle_sessions.max(1));
        let dropped: Vec<_> = idle.drain(..too_many).collect();
        drop(idle);
        drop(dropped);
    }
}

fn run(
    recipe: &Recipe,
    mut session: Option<&mut Session>,
    inputs: &Stack,
    cancel: &Cancel,
) -> Result<TailRun> {
    let takes_batches = recipe.takes_batches.get() == Some(&true);
    let together = if takes_batches { inputs.len() } else { 1 };
    let mut run = TailRun {
        outputs: Vec::with_capacity(inputs.len()),
        elapsed: Duration::ZERO,
    };
    for first in (0..inputs.len()).step_by(together.max(1)) {
        let some = first..first + together;
        let (outputs, took) =
            recipe
                .io
                .run_stacked(session.as_deref_mut(), inputs, some, cancel)?;
        run.outputs.extend(outputs);
        run.elapsed += took;
    }
    Ok(run)
}

/// Copies the bundle's weights to where nobody changes them, unless all of them are in its graph.
fn copy_weights(bundle: &Bundle, folder: &Path) -> Result<()> {
    let mut files = bundle.manifest().files.iter();
    let Some(file) = files.find(|file| file.name == WEIGHTS_FILE) else {
        return Ok(());
    };
    let (from, to) = (
        bundle.folder().join(WEIGHTS_FILE),
        folder.join(WEIGHTS_FILE),
    );
    let mut source = File::open(&from).map_err(|e| Error::io(&from, "read", e))?;
    File::create(&to)
        .and_then(|mut copy| std::io::copy(&mut source, &mut copy))
        .map_err(|e| Error::io(&to, "write", e).context(ROOM))?;
    if describe_file(folder, WEIGHTS_FILE)? != *file {
        return Err(Error::new(
            ErrorKind::InvalidBundle,
            format!("{} changed after the bundle was opened", from.display()),
        ));
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
