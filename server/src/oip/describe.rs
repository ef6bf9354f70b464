//! What the server and its models say of themselves.

use dyno_core::TensorSpec;
use dyno_core::bundle::Manifest;
use serde::Serialize;

use super::name_of;

/// The protocol's word for models in ONNX.
const PLATFORM: &str = "onnx_onnxv1";
/// What there is beyond the protocol's core.
const EXTENSIONS: [&str; 1] = ["binary_tensor_data"];

/// Answer of `GET /v2`.
#[derive(Debug, Serialize)]
pub(crate) struct ServerDescription {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 1],
}

impl ServerDescription {
    pub(crate) const fn new() -> Self {
        Self {
            name: "dyno-server",
            version: env!("CARGO_PKG_VERSION"),
            extensions: EXTENSIONS,
        }
    }
}

/// Answer of `GET /v2/models/{model}`.
#[derive(Debug, Serialize)]
pub(crate) struct ModelDescription<'a> {
    name: &'a str,
    /// The bundle's hash: what a model answers never changes under one version.
    versions: [&'a str; 1],
    platform: &'static str,
    inputs: [Tensor<'a>; 1],
    outputs: Vec<Tensor<'a>>,
}

#[derive(Debug, Serialize)]
struct Tensor<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
}

impl<'a> ModelDescription<'a> {
    pub(crate) fn new(name: &'a str, manifest: &'a Manifest) -> Self {
        Self {
            name,
            versions: [manifest.hash.as_str()],
            platform: PLATFORM,
            inputs: [Tensor::new(&manifest.input)],
            outputs: manifest.outputs.iter().map(Tensor::new).collect(),
        }
    }
}

impl<'a> Tensor<'a> {
    fn new(spec: &'a TensorSpec) -> Self {
        Self {
            name: &spec.name,
            datatype: name_of(spec.element),
            shape: &spec.shape,
        }
    }
}
