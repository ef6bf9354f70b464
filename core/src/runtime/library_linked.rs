//! ONNX Runtime as part of the program: on iOS, where apps link it and load no libraries.
#![allow(
    unsafe_code,
    reason = "the one C function by which ONNX Runtime is entered"
)]

use std::path::Path;

use ort::environment::EnvironmentBuilder;
use ort::sys;

use super::MIN_ORT_VERSION;
use crate::{Error, ErrorKind, Result};

/// The builder of the environment of the ONNX Runtime that the app was linked with, wherever
/// others may lie.
///
/// Fails with [`ErrorKind::Runtime`] if that is older than [`MIN_ORT_VERSION`].
pub(super) fn init(_path: Option<&Path>) -> Result<EnvironmentBuilder> {
    // SAFETY: the library's entry point, which the linker has resolved; what it returns is static.
    let base = unsafe { sys::OrtGetApiBase().as_ref() };
    // SAFETY: as the C header has it: any version may be asked for, unknown ones give null, and a
    // table that is given is static and has at least that version's functions.
    let api = base.and_then(|base| unsafe { (base.GetApi)(sys::ORT_API_VERSION).as_ref() });
    let api = api.ok_or_else(|| {
        Error::new(
            ErrorKind::Runtime,
            format!(
                "the ONNX Runtime that this app was linked with is too old: link \
                 {MIN_ORT_VERSION} or newer"
            ),
        )
    })?;
    // False if it was set before: to the same table, there is one library.
    ort::set_api(api.clone());
    Ok(ort::init())
}
