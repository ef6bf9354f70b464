//! A server without connections, whose two models decode what they are sent and run nothing.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use dyno_core::bundle::{BUNDLE_FORMAT, BundleHash, Cut, Manifest, Provenance};
use dyno_core::pixels::{Anchor, Colour, Fit, Layout, Preprocess};
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::{ElementType, Result, Tensor, TensorData, TensorSpec};
use dyno_server::{Config, Model, Server, TailEngine, internals};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::runtime::Runtime;

pub const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Bytes of the pieces that a body comes in.
const PIECE: usize = 64;

static SERVING: LazyLock<(Runtime, Server)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let server = runtime.block_on(async {
        let mut config = Config::new("unused");
        config.listen = "127.0.0.1:0".parse().expect("an address");
        let model = |name| Model::new(name, Arc::new(Hollow(manifest())), None).expect("a model");
        Server::with_models(config, vec![model("fake"), model("other")])
            .await
            .expect("a server")
    });
    (runtime, server)
});

/// The server's answer.
pub fn answer(request: Request<&[u8]>) -> Response<Bytes> {
    let (runtime, server) = &*SERVING;
    let request = request.map(|body| body.chunks(PIECE).map(Bytes::copy_from_slice).collect());
    runtime.block_on(internals::answer(server, request))
}

/// Headers from lines of `name: value`, those that are none left out, up to an empty line; and what follows.
pub fn headers(mut text: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
        let line = &text[..end];
        text = &text[end + 1..];
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            // Fails beyond 32,768 headers.
            let _ = headers.try_append(name, value);
        }
    }
    (headers, text)
}

/// Decodes as every engine does, and answers zeros.
struct Hollow(Manifest);

impl TailEngine for Hollow {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn run(&self, inputs: &Stack, to: usize, _cancel: &Cancel) -> Result<TailRun> {
        let zeros = |_| {
            let logits = Tensor::new(vec![1, 3], TensorData::F32(vec![0.0; 3]))?;
            Ok(Activation::new(to, vec![logits]))
        };
        Ok(TailRun {
            outputs: (0..inputs.len()).map(zeros).collect::<Result<_>>()?,
            elapsed: Duration::ZERO,
        })
    }
}

fn manifest() -> Manifest {
    let spec = |name: &str, shape: &[usize]| TensorSpec {
        name: name.into(),
        element: ElementType::F32,
        shape: shape.to_vec(),
    };
    let cut = |index: usize, tensor: TensorSpec| Cut {
        index,
        after: if index == 0 { String::new() } else { format!("node {index}") },
        tensors: vec![tensor],
        flops_before: 0,
        flops_after: 0,
    };
    let input = spec("input", &[1, 3, 4, 4]);
    let logits = spec("logits", &[1, 3]);
    Manifest {
        format: BUNDLE_FORMAT,
        model: "fake".into(),
        hash: BundleHash::parse(HASH).expect("a hash"),
        input: input.clone(),
        outputs: vec![logits.clone()],
        preprocess: Preprocess {
            height: 4,
            width: 4,
            fit: Fit::Letterbox { pad: 0, anchor: Anchor::Centre },
            colour: Colour::Rgb,
            layout: Layout::Nchw,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        labels: ["cat", "dog", "eel"].map(Into::into).to_vec(),
        cuts: vec![cut(0, input), cut(1, spec("features", &[1, 8])), cut(2, logits)],
        files: Vec::new(),
        provenance: Provenance::default(),
    }
}
