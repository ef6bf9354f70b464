//! The `dyno` command: prepares models, checks them, and runs photos through them.

#![allow(
    clippy::doc_markdown,
    reason = "doc comments of arguments are their help texts"
)]

mod bench;
mod credentials;
mod demo;
mod explain;
mod export_tails;
mod fetch;
mod infer;
mod inspect;
mod npy;
mod objective;
mod output;
mod prepare;
mod progress;
mod pull;
mod server_process;
mod simulate;
mod slow_device;
mod token;
mod trace;
mod verify;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Split CNN inference: prepare a model, inspect its cuts, run photos through device and server.
#[derive(Debug, Parser)]
#[command(name = "dyno", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a bundle from an ONNX model: cuts, preprocessing, weights, profile, hash.
    Prepare(prepare::Args),
    /// Show what a bundle holds: its cut table, preprocessing, profile and hash.
    Inspect(Box<inspect::Args>),
    /// Check that head and tail at every cut compute what the whole model computes.
    Verify(verify::Args),
    /// Run photos: one JSON line each with --json.
    Infer(Box<infer::Args>),
    /// Download a well-known ONNX model into a cache.
    Pull(pull::PullArgs),
    /// Download a bundle from a dyno-server.
    Fetch(fetch::Args),
    /// Make tokens and sets of keys for a dyno-server.
    Token(credentials::Args),
    /// Write the tails behind some cuts as ONNX models for another inference server.
    ExportTails(export_tails::Args),
    /// Measure what DynO itself costs.
    Bench(bench::Args),
    /// Compare the planner with its rivals on a link, in virtual time.
    Simulate(Box<simulate::Args>),
    /// Run sample photos over links of falling quality, then without a server.
    Demo(demo::Args),
}

fn main() -> ExitCode {
    disable_telemetry_of_onnx_runtime();
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let result = match cli.command {
        Command::Prepare(args) => prepare::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Infer(args) => infer::run(*args),
        Command::Pull(args) => pull::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Token(args) => credentials::run(&args),
        Command::ExportTails(args) => export_tails::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Demo(args) => demo::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// ONNX Runtime of the official wheels (1.32) collects telemetry for its maker from the moment it is
/// loaded; its own switch in the API comes too late.
fn disable_telemetry_of_onnx_runtime() {
    // SAFETY: the first thing that happens in this process: no other thread reads the environment.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("ORT_DISABLE_TELEMETRY", "1");
    }
}
