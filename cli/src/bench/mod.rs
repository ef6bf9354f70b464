//! `dyno bench`: measurements anyone can run again.

mod axis;
mod bare;
#[cfg(target_os = "linux")]
mod link;
mod machine;
mod memory;
mod overhead;
mod pack;
mod plot;
mod promise;
mod report;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod service;

use anyhow::Result;
use clap::Subcommand;

/// Arguments of `dyno bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What DynO adds to a bare ONNX Runtime session: time, and memory.
    Overhead(overhead::Args),
    /// Bytes, fidelity and speed of packing, at every cut, precision and codec.
    Pack(pack::Args),
    /// Whether what a calibration allows keeps its limits on other photos.
    Promise(promise::Args),
    /// The planner and its rivals over bundles, devices and links, as one HTML page.
    Report(Box<report::Args>),
    /// A server under load: open loop, mixed cuts, clients that misbehave.
    #[cfg(unix)]
    Server(Box<server::Args>),
    /// Client and server over an emulated link, with a slower device (Linux, root).
    #[cfg(target_os = "linux")]
    Link(link::Args),
    /// Plain uploads over an emulated link: whether it behaves as networks do (Linux, root).
    #[cfg(target_os = "linux")]
    Upload(link::upload::Args),
    /// The bare loop that a server is compared with; prints JSON.
    #[cfg(unix)]
    #[command(hide = true)]
    BareTails(server::bare::Args),
    /// One process of the memory measurement; prints JSON.
    #[command(hide = true)]
    MemoryOf(memory::Args),
}

/// Runs the benchmark.
pub(crate) fn run(args: Args) -> Result<()> {
    match args.bench {
        Bench::Overhead(args) => overhead::run(&args),
        Bench::Pack(args) => pack::run(&args),
        Bench::Promise(args) => promise::run(&args),
        Bench::Report(args) => report::run(&args),
        #[cfg(unix)]
        Bench::Server(args) => server::run(&args),
        #[cfg(target_os = "linux")]
        Bench::Link(args) => link::run(&args),
        #[cfg(target_os = "linux")]
        Bench::Upload(args) => link::upload::run(&args),
        #[cfg(unix)]
        Bench::BareTails(args) => server::bare::run(&args),
        Bench::MemoryOf(args) => memory::run(&args),
    }
}
