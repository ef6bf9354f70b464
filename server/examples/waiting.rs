//! dyno-server with tails that only take their time: a worker sleeps for as long as the bundle's profile says that a tail
//! takes. So queues of many workers can be measured on a machine of few cores (`benches/workers.sh`): bodies, checks,
//! admission, queue and answers are the server's own.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use dyno_core::bundle::{Bundle, Manifest, Profile};
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::{Result, Tensor, TensorData, TensorSpec};
use dyno_server::{Config, Model, Server, TailEngine};

/// The tails of a bundle, without what they compute: they answer zeros.
struct Waiting {
    bundle: Bundle,
    profile: Profile,
}

impl TailEngine for Waiting {
    fn manifest(&self) -> &Manifest {
        self.bundle.manifest()
    }

    fn run(&self, inputs: &Stack, to: usize, cancel: &Cancel) -> Result<TailRun> {
        let mut elapsed = Duration::ZERO;
        let mut outputs = Vec::with_capacity(inputs.len());
        for _ in 0..inputs.len() {
            cancel.check()?;
            let tail_ms = self.profile.span_ms(inputs.cut(), to);
            let tail = Duration::from_secs_f64(tail_ms / 1e3);
            std::thread::sleep(tail);
            elapsed += tail;
            let zeros: Result<Vec<_>> = self.manifest().outputs.iter().map(zeros).collect();
            outputs.push(Activation::new(to, zeros?));
        }
        Ok(TailRun { outputs, elapsed })
    }

    fn warm_up(&self, _cancel: &Cancel) -> Result<()> {
        Ok(())
    }
}

fn zeros(spec: &TensorSpec) -> Result<Tensor> {
    let bytes = vec![0; spec.bytes()];
    let data = TensorData::from_le_bytes(spec.element, &bytes);
    Tensor::new(spec.shape.clone(), data)
}

/// The flags of dyno-server, with a folder of one bundle.
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
    let folder = std::fs::read_dir(&args.config.bundles)?
        .next()
        .ok_or("there is no bundle in the folder")??;
    let bundle = Bundle::open(&folder.path())?;
    let profile = bundle
        .profile()
        .cloned()
        .ok_or("the bundle has no profile")?;
    let name = folder.file_name().to_string_lossy().into_owned();
    let model = Model::new(name, Arc::new(Waiting { bundle, profile }), None)?;
    let server = Server::with_models(args.config, vec![model]).await?;
    println!("listening on {}", server.local_addr());
    server.run(std::future::pending()).await?;
    Ok(())
}
