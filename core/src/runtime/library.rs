//! ONNX Runtime as a library of its own, loaded at run time.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};

use ort::environment::EnvironmentBuilder;

use super::{MIN_ORT_VERSION, ORT_DYLIB_PATH};
use crate::{Error, ErrorKind, Result};

/// The builder of the environment of the library at `path`, or where it usually is.
pub(super) fn init(path: Option<&Path>) -> Result<EnvironmentBuilder> {
    let path = path.map_or_else(default_path, Path::to_owned);
    // `init_from`, because without it a failed load panics inside `ort`.
    ort::init_from(&path).map_err(|source| {
        Error::with_source(
            ErrorKind::Runtime,
            format!(
                "cannot load ONNX Runtime {MIN_ORT_VERSION} or newer from '{}' (set \
                 {ORT_DYLIB_PATH} to the library, or put it beside the program)",
                path.display()
            ),
            source,
        )
    })
}

fn default_path() -> PathBuf {
    let named = std::env::var_os(ORT_DYLIB_PATH).filter(|path| !path.is_empty());
    let file = format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}");
    let beside = std::env::current_exe()
        .ok()
        .map(|program| program.with_file_name(&file));
    named
        .map(PathBuf::from)
        .or_else(|| beside.filter(|library| library.is_file()))
        .unwrap_or_else(|| file.into())
}
