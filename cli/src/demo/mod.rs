//! `dyno demo`: sample photos over links of falling quality, then without a server.
//!
//! Everything is real but two things, and the table says so: the links are rates and delays in
//! this process, and the device is this machine made slower.

mod link;
mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use dyno_core::bundle::Bundle;
use dyno_core::client::{
    Client, ClientConfig, ExecutionMode, HttpOptions, HttpTransport, Inference, Transport,
};
use dyno_core::pixels::Photo;
use dyno_core::runtime::DeviceExecutor;

use self::link::{Link, LinkKind};
use self::table::{Row, Summary};
use crate::server_process::ServerProcess;
use crate::slow_device::SlowDevice;
use crate::verify::{image_files, read_photo};
use crate::{output, progress};

/// The links, from good to bad.
const LINKS: [LinkKind; 5] = [
    LinkKind {
        name: "Wi-Fi",
        rate_bps: 50e6,
        rtt_ms: 10.0,
    },
    LinkKind {
        name: "good LTE",
        rate_bps: 10e6,
        rtt_ms: 30.0,
    },
    LinkKind {
        name: "busy cell",
        rate_bps: 2e6,
        rtt_ms: 30.0,
    },
    LinkKind {
        name: "edge of cell",
        rate_bps: 0.3e6,
        rtt_ms: 40.0,
    },
    LinkKind {
        name: "almost none",
        rate_bps: 0.15e6,
        rtt_ms: 100.0,
    },
];
/// Where the server listens: on a free port.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Photos from the folder, at most.
const MAX_PHOTOS: usize = 20;
/// Times that DynO sees each photo on a link: the first round lets its estimates settle. The
/// others have nothing to learn and see them once.
const ROUNDS: usize = 2;

/// Arguments of `dyno demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    #[arg(long, short)]
    bundle: PathBuf,
    /// Folder with photos.
    #[arg(long, value_name = "DIR")]
    photos: PathBuf,
    /// How many times slower than this machine the device is.
    #[arg(long, default_value_t = 100.0)]
    device_slowdown: f64,
    /// The dyno-server to start; the one beside this program unless told.
    #[arg(long, value_name = "FILE")]
    server_program: Option<PathBuf>,
}

/// A photo and what the whole model says of it.
struct Sample {
    photo: Photo,
    expected: usize,
}

/// Runs the demo; fails if an answer is wrong or missing.
pub(crate) fn run(args: Args) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    runtime.block_on(demo(args))
}

async fn demo(args: Args) -> Result<()> {
    let bundle = Arc::new(Bundle::open(&args.bundle)?);
    if !bundle.manifest().is_classifier() {
        bail!("the demo compares labels: use a bundle of a classifier");
    }
    let photos: Result<Vec<Photo>> = image_files(&args.photos, MAX_PHOTOS)?
        .iter()
        .map(|path| read_photo(path))
        .collect();
    let samples = expect(&bundle, photos?).await?;
    let folder = args
        .bundle
        .canonicalize()
        .context("cannot find the bundle's folder")?;
    let folder = folder.parent().unwrap_or(Path::new("/")).to_owned();
    let mut server = ServerProcess::start(args.server_program.as_deref(), &folder, LOOPBACK)?;

    let stages = LINKS.len() * (1 + ROUNDS) + 2;
    let bar = progress::bar((stages * samples.len()) as u64, "running photos");
    let setup = Setup {
        bundle,
        slowdown: args.device_slowdown,
        samples,
        bar,
    };
    let mut rows = vec![setup.device_only().await?];
    for kind in LINKS {
        let link = Link::open(kind, server.address()).await?;
        rows.push(
            setup
                .over(&link, kind, ExecutionMode::OnlyCloud, "server-only")
                .await?,
        );
        rows.push(setup.over(&link, kind, ExecutionMode::Auto, "DynO").await?);
    }
    rows.push(setup.with_a_dying_server(&mut server).await?);
    setup.bar.finish_and_clear();

    output::line(table::render(
        &rows,
        setup.bundle.manifest(),
        args.device_slowdown,
    )?)?;
    let (wrong, missing): (usize, usize) = rows
        .iter()
        .fold((0, 0), |(w, m), row| (w + row.wrong, m + row.missing));
    if wrong + missing > 0 {
        bail!("{wrong} answers differ from the whole model's, {missing} are missing");
    }
    Ok(())
}

/// What the whole model says of each photo, on this machine.
async fn expect(bundle: &Arc<Bundle>, photos: Vec<Photo>) -> Result<Vec<Sample>> {
    let config = ClientConfig {
        mode: ExecutionMode::OnlyOnDevice,
        ..ClientConfig::default()
    };
    let executor = Arc::new(DeviceExecutor::new(bundle.clone(), 1)?);
    let client = Client::new(bundle, executor, None, config)?;
    let mut samples = Vec::with_capacity(photos.len());
    for photo in photos {
        let answer = client.infer_pixels(&photo.pixels()?).await?;
        let expected = top(&answer).context("a classifier gave no label")?;
        samples.push(Sample { photo, expected });
    }
    Ok(samples)
}

fn top(answer: &Inference) -> Option<usize> {
    answer.top.first().map(|label| label.index)
}

struct Setup {
    bundle: Arc<Bundle>,
    slowdown: f64,
    samples: Vec<Sample>,
    bar: indicatif::ProgressBar,
}

impl Setup {
    async fn device_only(&self) -> Result<Row> {
        let client = self.client(None, ExecutionMode::OnlyOnDevice)?;
        let mut summary = Summary::default();
        self.show_photos(&client, &mut summary, |_| Ok(())).await?;
        Ok(summary.row("any", "device-only"))
    }

    async fn over(
        &self,
        link: &Link,
        kind: LinkKind,
        mode: ExecutionMode,
        who: &'static str,
    ) -> Result<Row> {
        let client = self.client(Some(link), mode)?;
        client.warm_up().await?;
        let mut summary = Summary::default();
        let rounds = if mode == ExecutionMode::Auto {
            ROUNDS
        } else {
            1
        };
        for round in 1..=rounds {
            // Wrong and missing answers count in every round, times in the last.
            summary.settle(round < rounds);
            self.show_photos(&client, &mut summary, |_| Ok(())).await?;
        }
        Ok(summary.row(kind.name, who).with_link(kind))
    }

    /// A good link whose server is killed half-way.
    async fn with_a_dying_server(&self, server: &mut ServerProcess) -> Result<Row> {
        let link = Link::open(LINKS[0], server.address()).await?;
        let client = self.client(Some(&link), ExecutionMode::Auto)?;
        client.warm_up().await?;
        let mut summary = Summary::default();
        let half = self.samples.len() / 2;
        self.show_photos(&client, &mut summary, |index| {
            if index == half { server.kill() } else { Ok(()) }
        })
        .await?;
        Ok(summary
            .row("Wi-Fi, server killed", "DynO")
            .with_link(LINKS[0]))
    }

    fn client(&self, link: Option<&Link>, mode: ExecutionMode) -> Result<Client> {
        let config = ClientConfig {
            mode,
            ..ClientConfig::default()
        };
        let device = Arc::new(DeviceExecutor::new(self.bundle.clone(), 1)?);
        let executor = Arc::new(SlowDevice::new(device, self.slowdown));
        let transport = match link {
            Some(link) => {
                let outputs = self.bundle.manifest().outputs.clone();
                let http = HttpTransport::new(&link.url(), outputs, HttpOptions::default())?;
                Some(Arc::new(http) as Arc<dyn Transport>)
            }
            None => None,
        };
        Ok(Client::new(&self.bundle, executor, transport, config)?)
    }

    async fn show_photos(
        &self,
        client: &Client,
        summary: &mut Summary,
        mut before: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        for (index, sample) in self.samples.iter().enumerate() {
            before(index)?;
            match client.infer_pixels(&sample.photo.pixels()?).await {
                Ok(answer) => summary.add(&answer, top(&answer) == Some(sample.expected)),
                Err(error) => summary.miss(&error),
            }
            self.bar.inc(1);
        }
        Ok(())
    }
}
