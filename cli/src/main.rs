//! The dyno command.

#[cfg(test)]
mod npy;
mod pull;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "dyno", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pull(pull::PullArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Pull(args) => pull::run(&args),
    }
}
