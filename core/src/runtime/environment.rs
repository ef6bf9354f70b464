//! The one ONNX Runtime environment of a process, and how its sessions are set up.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::library;
use crate::Result;

/// Oldest ONNX Runtime that works: 1.22 (the `api-22` feature of `ort`). 1.32 is what is tested.
pub const MIN_ORT_VERSION: &str = "1.22";

/// Environment variable that names the library to load.
pub const ORT_DYLIB_PATH: &str = "ORT_DYLIB_PATH";

static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// Loads ONNX Runtime if this process has not yet: from `library`, else from `ORT_DYLIB_PATH`,
/// else from `libonnxruntime.so` (or its like) beside the program, else by the system's own
/// search for that name.
///
/// A process has one environment: the first library loaded is the one used, and later calls
/// change nothing. On iOS, where apps link ONNX Runtime, `library` is not looked at.
///
/// Fails with [`ErrorKind::Runtime`](crate::ErrorKind::Runtime) if it cannot be loaded or is older than [`MIN_ORT_VERSION`].
pub fn load(library: Option<&Path>) -> Result<()> {
    load_from(library).map(|_| ())
}

/// The environment of this process, loaded if it was not: what an app needs that runs models of
/// its own through `ort`, because a process can have only one.
pub fn environment() -> Result<&'static Environment> {
    load_from(None)
}

fn load_from(library: Option<&Path>) -> Result<&'static Environment> {
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let environment = library::init(library)?
        .with_name("dyno")
        .with_telemetry(false)
        .with_logger(std::sync::Arc::new(forward_to_log))
        .build()
        .map_err(super::ort_error)?;
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

/// ONNX Runtime's own messages, one level down: what matters comes back as an error anyway.
fn forward_to_log(level: LogLevel, category: &str, _id: &str, place: &str, message: &str) {
    let level = match level {
        LogLevel::Fatal | LogLevel::Error => log::Level::Info,
        _ => log::Level::Debug,
    };
    log::log!(target: "onnxruntime", level, "{category} {place}: {message}");
}

/// How a session executes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionOptions<'a> {
    /// Threads that run one inference together.
    pub(crate) threads: usize,
    /// Whether nodes may be fused and rearranged.
    pub(crate) optimise: bool,
    /// Where the initialisers' external data lies.
    pub(crate) weights_folder: Option<&'a Path>,
}

/// Creates a session from an encoded model.
pub(crate) fn session(model: &[u8], options: SessionOptions<'_>) -> Result<Session> {
    // First, and as our own error: without the library even making one of `ort`'s panics.
    let environment = environment()?;
    builder(environment, options)
        .map_err(super::ort_error)?
        .commit_from_memory(model)
        .map_err(super::ort_error)
}

/// What sessions of a [`TailStore`](super::TailStore) have in common.
pub(super) fn tail_builder(
    environment: &Environment,
    threads: usize,
) -> ort::Result<SessionBuilder> {
    let options = SessionOptions {
        threads,
        optimise: true,
        weights_folder: None,
    };
    // Without arenas: what one session has used is there for the next, while each would keep the
    // most that it ever needed to itself.
    let cpu = ort::ep::CPU::default().with_arena_allocator(false).build();
    Ok(builder(environment, options)?.with_execution_providers([cpu])?)
}

fn builder(environment: &Environment, options: SessionOptions<'_>) -> ort::Result<SessionBuilder> {
    let level = if options.optimise {
        GraphOptimizationLevel::All
    } else {
        GraphOptimizationLevel::Disable
    };
    let mut builder = Session::builder(environment)?
        .with_optimization_level(level)?
        .with_intra_threads(options.threads.max(1))?
        .with_inter_threads(1)?
        // Spinning threads burn a phone's battery, and a server's cores that another tail needs.
        .with_intra_op_spinning(false)?
        .with_log_level(LogLevel::Warning)?;
    if let Some(folder) = options.weights_folder {
        // ONNX Runtime maps the weights from there: sessions of one bundle share the pages.
        let folder = folder.to_string_lossy();
        builder = builder.with_config_entry(
            "session.model_external_initializers_file_folder_path",
            folder,
        )?;
    }
    Ok(builder)
}
