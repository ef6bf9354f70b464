//! `dyno bench upload`: what plain uploads take over an emulated link, without DynO: on a fresh
//! connection, on a warm one, and on one that was idle. It shows whether the link behaves as
//! networks do, which a rate and a delay alone do not.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::interrupt::Interrupt;
use super::network::{Carried, over};
use super::phone;
use super::spec::{Description, LinkArgs, LinkSpec};
use crate::{output, progress};

/// Uploads between the fresh one and the one that is called warm: slow start takes more than one.
const WARMING: usize = 3;
/// Largest upload.
const MAX_UPLOAD_BYTES: usize = 64 << 20;
/// Most rounds.
const MAX_ROUNDS: usize = 1_000;
/// Longest wait for one upload's answer.
const MAX_WAIT: Duration = Duration::from_mins(2);

/// Arguments of `dyno bench upload`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of one upload.
    #[arg(long, default_value_t = 256 << 10)]
    bytes: usize,
    /// Pause before the upload on an idle connection.
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    idle_ms: u64,
    /// Times that all of it is done, each in new namespaces.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// The JSON of `dyno bench upload`.
#[derive(Debug, Serialize)]
struct Report {
    link: Description,
    bytes: usize,
    idle_ms: u64,
    rounds: Vec<Round>,
}

/// Times from the first byte (or the connection's first packet) to the answer.
#[derive(Debug, Serialize)]
struct Round {
    fresh_ms: f64,
    warm_ms: f64,
    idle_ms: f64,
    carried: Carried,
}

/// Uploads and prints.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !(1..=MAX_UPLOAD_BYTES).contains(&args.bytes) {
        bail!(
            "--bytes must be 1 to {MAX_UPLOAD_BYTES}, got {}",
            args.bytes
        );
    }
    if !(1..=MAX_ROUNDS).contains(&args.rounds) {
        bail!("--rounds must be 1 to {MAX_ROUNDS}, got {}", args.rounds);
    }
    let spec = args.link.spec()?;
    let interrupt = Interrupt::listen()?;
    let bar = progress::bar(args.rounds as u64, "uploading");
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        rounds.push(round(args, &spec, &interrupt)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = Report {
        link: spec.description,
        bytes: args.bytes,
        idle_ms: args.idle_ms,
        rounds,
    };
    if args.json {
        output::json(&report)
    } else {
        output::line(table(&report))
    }
}

fn round(args: &Args, spec: &LinkSpec, interrupt: &Interrupt) -> Result<Round> {
    let body: Vec<u8> = (0..args.bytes)
        .map(|i| (i * 31 + i / 251).to_le_bytes()[0])
        .collect();
    let ([fresh_ms, warm_ms, idle_ms], carried) = over(spec, Sink::open, |sink, clock| {
        clock.start();
        let work = async {
            let start = Instant::now();
            let mut stream = TcpStream::connect(sink.address)
                .await
                .context("the phone cannot connect to the server")?;
            stream.set_nodelay(true)?;
            upload(&mut stream, &body).await?;
            let fresh_ms = ms_since(start);
            for _ in 0..WARMING {
                upload(&mut stream, &body).await?;
            }
            let start = Instant::now();
            upload(&mut stream, &body).await?;
            let warm_ms = ms_since(start);
            tokio::time::sleep(Duration::from_millis(args.idle_ms)).await;
            let start = Instant::now();
            upload(&mut stream, &body).await?;
            Ok([fresh_ms, warm_ms, ms_since(start)])
        };
        phone::run(interrupt, work)
    })?;
    Ok(Round {
        fresh_ms,
        warm_ms,
        idle_ms,
        carried,
    })
}

fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Sends a body, and checks by the answer that it arrived as it was.
async fn upload(stream: &mut TcpStream, body: &[u8]) -> Result<()> {
    let exchange = async {
        stream.write_all(&(body.len() as u64).to_le_bytes()).await?;
        stream.write_all(body).await?;
        let mut hash = [0; 32];
        stream.read_exact(&mut hash).await?;
        std::io::Result::Ok(hash)
    };
    let hash = tokio::time::timeout(MAX_WAIT, exchange)
        .await
        .with_context(|| format!("no answer to an upload within {MAX_WAIT:?}"))?
        .context("the connection broke")?;
    if hash[..] != Sha256::digest(body)[..] {
        bail!("the upload arrived with other bytes than were sent");
    }
    Ok(())
}

/// Takes bodies in the server's namespace, and answers each with its hash.
struct Sink {
    address: SocketAddr,
    /// Ends with it.
    _runtime: Runtime,
}

impl Sink {
    fn open(listen: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the server's async runtime")?;
        let listener = runtime
            .block_on(TcpListener::bind(listen))
            .context("the server cannot listen")?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer_all(stream));
            }
        });
        Ok(Self {
            address,
            _runtime: runtime,
        })
    }
}

/// Until the connection ends.
async fn answer_all(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut left = stream.read_u64_le().await?;
        let mut hash = Sha256::new();
        while left > 0 {
            let read = (&mut stream).take(left).read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            hash.update(&buffer[..read]);
            left -= read as u64;
        }
        stream.write_all(&hash.finalize()).await?;
    }
}

fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "round",
        "fresh",
        "warm",
        "after idle",
        "late packets",
        "latest",
    ]);
    for (index, round) in report.rounds.iter().enumerate() {
        let (up, down) = (&round.carried.up, &round.carried.down);
        table.add_row([
            (index + 1).to_string(),
            format!("{:.0} ms", round.fresh_ms),
            format!("{:.0} ms", round.warm_ms),
            format!("{:.0} ms", round.idle_ms),
            format!("{} of {}", up.late + down.late, up.packets + down.packets),
            format!("{:.2} ms", up.latest_ms.max(down.latest_ms)),
        ]);
    }
    for column in 0..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "{} bytes, idle for {} ms; {}\n{table}",
        report.bytes,
        report.idle_ms,
        report.link.line()
    )
}
