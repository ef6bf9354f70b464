//! dyno-server with a model whose tail does nothing: what remains is what a request costs in HTTP,
//! checks, admission and threads. `benches/http.sh` sets it beside `bare_hyper`.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use dyno_core::bundle::{BUNDLE_FORMAT, BundleHash, Cut, Manifest, Provenance};
use dyno_core::pixels::{Anchor, Colour, Fit, Layout, Preprocess};
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::{ElementType, Result, Tensor, TensorData, TensorSpec};
use dyno_server::{BodyKind, Config, Model, Server, TailEngine};

/// Hash that requests name (`dyno-bundle`).
const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Outputs of a model with a thousand classes: an answer of 4,000 bytes.
const CLASSES: usize = 1_000;
/// Elements at the cut: no message is longer than these as fp32, and a header.
const ELEMENTS: usize = 1 << 16;

/// Takes any body for an activation, and answers zeros.
struct Identity(Manifest);

impl TailEngine for Identity {
    fn manifest(&self) -> &Manifest {
        &self.0
    }

    fn entry(&self, _body: &[u8], _kind: BodyKind) -> Result<usize> {
        Ok(1)
    }

    fn decode(&self, _body: &[u8], _kind: BodyKind, inputs: &mut Stack) -> Result<()> {
        inputs.push_with(|_| Ok(()))
    }

    fn run(&self, _inputs: &Stack, to: usize, _cancel: &Cancel) -> Result<TailRun> {
        let zeros = Tensor::new(vec![1, CLASSES], TensorData::F32(vec![0.0; CLASSES]))?;
        Ok(TailRun {
            outputs: vec![Activation::new(to, vec![zeros])],
            elapsed: Duration::ZERO,
        })
    }

    fn warm_up(&self, _cancel: &Cancel) -> Result<()> {
        Ok(())
    }
}

/// The flags of dyno-server; `--bundles` is needed and not looked at.
#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    config: Config,
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let model = Model::new("identity", Arc::new(Identity(manifest()?)), None)?;
    let server = Server::with_models(args.config, vec![model]).await?;
    println!("listening on {}", server.local_addr());
    server.run(std::future::pending()).await?;
    Ok(())
}

fn manifest() -> Result<Manifest> {
    let spec = |name: &str, shape: &[usize]| TensorSpec {
        name: name.into(),
        element: ElementType::F32,
        shape: shape.to_vec(),
    };
    let cut = |index, after: &str, tensor: TensorSpec| Cut {
        index,
        after: after.into(),
        tensors: vec![tensor],
        flops_before: 0,
        flops_after: 0,
    };
    let input = spec("input", &[1, 3, 32, 32]);
    let outputs = vec![spec("logits", &[1, CLASSES])];
    Ok(Manifest {
        format: BUNDLE_FORMAT,
        model: "identity".into(),
        hash: BundleHash::parse(HASH)?,
        input: input.clone(),
        outputs: outputs.clone(),
        preprocess: Preprocess {
            height: 32,
            width: 32,
            fit: Fit::Letterbox {
                pad: 0,
                anchor: Anchor::Centre,
            },
            colour: Colour::Rgb,
            layout: Layout::Nchw,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        labels: Vec::new(),
        cuts: vec![
            cut(0, "", input),
            cut(1, "features", spec("features", &[1, ELEMENTS])),
            cut(2, "logits", outputs[0].clone()),
        ],
        files: Vec::new(),
        provenance: Provenance::default(),
    })
}
