//! The command line of `dyno-server`, and the environment and file that say the same things.

mod file;
mod settings;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use dyno_server::Config;

pub(crate) use settings::Settings;

/// Runs the tails of split CNNs over HTTP/2.
#[derive(Debug, Clone, Parser)]
#[command(name = "dyno-server", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// File of settings (TOML), named like these flags; flags and environment come before it
    #[arg(
        long = "config",
        value_name = "FILE",
        env = "DYNO_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config_file: Option<PathBuf>,

    /// Read all that a start reads, say each setting and where it comes from, and exit
    #[arg(long)]
    pub(crate) check_config: bool,

    #[command(flatten)]
    pub(crate) config: Config,

    /// Form of the log, on standard error; `RUST_LOG` chooses what is in it
    #[arg(long, value_name = "FORM", env = "DYNO_LOG_FORMAT", hide_env_values = true,
          value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// Memory on pages of 2 MiB, where Linux and glibc have them: tails run faster, and take more
    /// memory
    #[arg(long, value_name = "ON|OFF", env = "DYNO_HUGE_PAGES", hide_env_values = true,
          value_enum, default_value_t = HugePages::On)]
    pub(crate) huge_pages: HugePages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HugePages {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Id of the flag that names the file.
const FILE: &str = "config_file";
/// Flags that say what to do now, and not how the server is: no file has them.
const NOT_IN_A_FILE: [&str; 2] = [FILE, "check_config"];
