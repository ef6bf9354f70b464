//! What link is emulated: its flags, what they mean for each direction, and what reports say of it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use serde::Serialize;

use super::namespace::Congestion;
use super::shaper::Direction;
use super::tun::MTU_BYTES;
use crate::trace::Trace;

/// Longest round trip: further than any satellite's.
const MAX_RTT_MS: f64 = 10_000.0;
/// Highest rate: where one thread for each direction can still keep up.
const MAX_RATE_MBIT: f64 = 1_000.0;
/// Largest queue.
const MAX_QUEUE_KB: usize = 64_000;

/// Flags of the link.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Link")]
#[group(skip)]
pub(super) struct LinkArgs {
    /// Rate from phone to server over time: a CSV file with the columns t_ms,kbit_s. Starts with the
    /// calls, and again when it ends.
    #[arg(long, value_name = "FILE.csv", required_unless_present = "rate_mbit")]
    trace: Option<PathBuf>,
    /// Constant rate from phone to server.
    #[arg(long, value_name = "MBIT/S", conflicts_with = "trace")]
    rate_mbit: Option<f64>,
    /// Rate from server to phone over time, instead of the constant one.
    #[arg(long, value_name = "FILE.csv")]
    down_trace: Option<PathBuf>,
    /// Constant rate from server to phone.
    #[arg(
        long,
        value_name = "MBIT/S",
        default_value_t = 50.0,
        conflicts_with = "down_trace"
    )]
    down_mbit: f64,
    /// Round trip of the idle link; half of it in each direction.
    #[arg(long, value_name = "MS", default_value_t = 50.0)]
    rtt_ms: f64,
    /// Kilobytes (1000 bytes) that may wait in each direction; what comes on top is dropped.
    #[arg(long, value_name = "KB", default_value_t = 256)]
    queue_kb: usize,
    /// Share of packets, 0 to 1, lost at random in each direction.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    loss: f64,
    /// What the random losses follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A time after the start and a length in milliseconds in which the link drops everything, in
    /// both directions; several if repeated.
    #[arg(long, value_name = "START:LENGTH")]
    outage: Vec<Outage>,
    /// Congestion control of both ends.
    #[arg(long, value_enum, default_value_t = Congestion::Reno)]
    congestion: Congestion,
}

/// A stretch of time in which a link carries nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Outage {
    pub(super) start_ms: f64,
    pub(super) length_ms: f64,
}

impl Outage {
    pub(super) fn holds(&self, t_ms: f64) -> bool {
        (self.start_ms..self.start_ms + self.length_ms).contains(&t_ms)
    }
}

impl FromStr for Outage {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || anyhow!("'{text}' is not START:LENGTH in milliseconds, such as 5000:2000");
        let (start, length) = text.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str| match text.parse::<f64>() {
            Ok(ms) if ms.is_finite() && ms >= 0.0 => Ok(ms),
            _ => Err(wrong()),
        };
        Ok(Self {
            start_ms: number(start)?,
            length_ms: number(length)?,
        })
    }
}

/// A link that can be opened.
#[derive(Debug, Clone)]
pub(super) struct LinkSpec {
    pub(super) up: Direction,
    pub(super) down: Direction,
    pub(super) congestion: Congestion,
    /// For reports.
    pub(super) description: Description,
}

/// What reports say of a link.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Description {
    /// How it was made, as opposed to a simulation.
    kind: &'static str,
    up: Rate,
    down: Rate,
    rtt_ms: f64,
    mtu_bytes: u16,
    queue_bytes: usize,
    loss: f64,
    seed: u64,
    outages: Vec<Outage>,
    congestion: &'static str,
}

/// A rate, as it was asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Rate {
    Constant {
        rate_mbit: f64,
    },
    Trace {
        trace: String,
        duration_ms: f64,
        start_mbit: f64,
    },
}

impl LinkArgs {
    /// Reads traces and checks values.
    pub(super) fn spec(&self) -> Result<LinkSpec> {
        if !(0.0..=MAX_RTT_MS).contains(&self.rtt_ms) {
            bail!("--rtt-ms must be 0 to {MAX_RTT_MS}, got {}", self.rtt_ms);
        }
        if !(0.0..1.0).contains(&self.loss) {
            bail!("--loss must be 0 or more and below 1, got {}", self.loss);
        }
        if self.queue_kb > MAX_QUEUE_KB {
            bail!(
                "--queue-kb must be at most {MAX_QUEUE_KB}, got {}",
                self.queue_kb
            );
        }
        let (up, up_rate) = rate(self.trace.as_deref(), self.rate_mbit.unwrap_or(0.0))?;
        let (down, down_rate) = rate(self.down_trace.as_deref(), self.down_mbit)?;
        let queue_bytes = self.queue_kb * 1000;
        let direction = |trace, seed| Direction {
            trace,
            delay: Duration::from_secs_f64(self.rtt_ms / 2e3),
            queue_bytes,
            loss: self.loss,
            outages: self.outage.clone(),
            seed,
        };
        Ok(LinkSpec {
            up: direction(up, self.seed),
            // Another sequence, so that answers are not lost with the same turn as requests.
            down: direction(down, !self.seed),
            congestion: self.congestion,
            description: Description {
                kind: "emulated: network namespaces, TUN devices, the kernel's TCP",
                up: up_rate,
                down: down_rate,
                rtt_ms: self.rtt_ms,
                mtu_bytes: MTU_BYTES,
                queue_bytes,
                loss: self.loss,
                seed: self.seed,
                outages: self.outage.clone(),
                congestion: self.congestion.as_str(),
            },
        })
    }
}

impl Description {
    /// A line for people.
    pub(super) fn line(&self) -> String {
        let outages = match self.outages.len() {
            0 => String::new(),
            outages => format!(", {outages} outage(s)"),
        };
        format!(
            "{} up, {} down, round trip {} ms, queue {} kB, loss {}{outages}, {}",
            self.up.words(),
            self.down.words(),
            self.rtt_ms,
            self.queue_bytes / 1000,
            self.loss,
            self.congestion
        )
    }
}

impl Rate {
    fn words(&self) -> String {
        match self {
            Self::Constant { rate_mbit } => format!("{rate_mbit} Mbit/s"),
            Self::Trace { trace, .. } => trace.clone(),
        }
    }
}

fn rate(trace: Option<&Path>, rate_mbit: f64) -> Result<(Trace, Rate)> {
    let Some(path) = trace else {
        if !(rate_mbit > 0.0 && rate_mbit <= MAX_RATE_MBIT) {
            bail!("a rate must be above 0 and at most {MAX_RATE_MBIT} Mbit/s, got {rate_mbit}");
        }
        return Ok((
            Trace::constant(rate_mbit * 1e6),
            Rate::Constant { rate_mbit },
        ));
    };
    let trace = Trace::read(path)?;
    if !trace.finish_ms(0.0, 1.0).is_finite() {
        bail!("the trace {} carries nothing at all", path.display());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let rate = Rate::Trace {
        trace: name.into_owned(),
        duration_ms: trace.duration_ms(),
        start_mbit: trace.rate_bps_at(0.0) / 1e6,
    };
    Ok((trace, rate))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        link: LinkArgs,
    }

    fn spec(flags: &str) -> Result<LinkSpec> {
        let flags = std::iter::once("link").chain(flags.split_whitespace());
        Command::try_parse_from(flags)?.link.spec()
    }

    #[test]
    fn both_directions_share_what_is_not_their_rate() {
        let link = spec("--rate-mbit 20 --rtt-ms 100 --outage 5000:2000 --outage 9000:1").unwrap();
        for (direction, rate_bps) in [(&link.up, 20e6), (&link.down, 50e6)] {
            assert!((direction.trace.rate_bps_at(0.0) - rate_bps).abs() < 1.0);
            assert_eq!(direction.delay, Duration::from_millis(50));
            assert_eq!(direction.queue_bytes, 256_000);
            assert_eq!(direction.outages.len(), 2);
        }
        assert_ne!(link.up.seed, link.down.seed);
        assert!(link.up.outages[0].holds(5_000.0) && !link.up.outages[0].holds(7_000.0));
        assert_eq!(
            link.description.line(),
            "20 Mbit/s up, 50 Mbit/s down, round trip 100 ms, queue 256 kB, loss 0, 2 outage(s), \
             reno"
        );
    }

    #[test]
    fn values_that_make_no_link_are_refused() {
        for (flags, words) in [
            ("", "--trace"),
            ("--rate-mbit 1 --trace up.csv", "cannot be used with"),
            ("--rate-mbit 0", "above 0"),
            ("--rate-mbit nan", "above 0"),
            ("--rate-mbit 1e9", "at most 1000"),
            ("--trace /nowhere/at/all.csv", "/nowhere/at/all.csv"),
            ("--rate-mbit 1 --down-mbit 0", "above 0"),
            ("--rate-mbit 1 --rtt-ms=-1", "--rtt-ms must be"),
            ("--rate-mbit 1 --rtt-ms 1e9", "--rtt-ms must be"),
            ("--rate-mbit 1 --loss 1", "--loss must be"),
            ("--rate-mbit 1 --queue-kb 1000000000", "--queue-kb must be"),
            ("--rate-mbit 1 --outage 5", "START:LENGTH"),
            ("--rate-mbit 1 --outage 5:inf", "START:LENGTH"),
            ("--rate-mbit 1 --congestion vegas", "reno, bbr, cubic"),
        ] {
            let error = format!("{:#}", spec(flags).expect_err(flags));
            assert!(error.contains(words), "{flags}: {error}");
        }
    }
}
