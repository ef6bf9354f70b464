//! What DynO is measured against: a bare ONNX Runtime session of the whole model.

use anyhow::Result;
use dyno_core::bundle::{Bundle, GRAPH_FILE};
use dyno_core::runtime::environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

/// A session of the whole model with the same threads, as an app without DynO would have it.
pub(super) fn bare_session(bundle: &Bundle, threads: usize) -> Result<Session> {
    let environment = environment()?;
    let builder = || -> ort::Result<Session> {
        Session::builder(environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_intra_op_spinning(false)?
            .commit_from_file(bundle.folder().join(GRAPH_FILE))
    };
    Ok(builder()?)
}
