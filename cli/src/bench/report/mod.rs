//! `dyno bench report`: the whole evaluation as one HTML page.
//!
//! Every cell of a grid (a bundle, a device, a link, an objective) is simulated as by `dyno simulate`,
//! and kept in a file, so that a run that was interrupted goes on where it was. The page refers to
//! nothing outside itself and needs no script: it can be sent, archived and opened anywhere.

mod appendix;
mod cell;
mod chart;
mod grid;
mod heat;
mod html;
mod measured;
mod page;
mod policies;
mod targets;
#[cfg(test)]
mod tests;
mod work;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::cell::Cell;
use self::grid::Grid;
use self::measured::Measured;
use self::page::Page;
use self::targets::Target;
use super::machine::Machine;
use crate::output;

/// Slowest device.
const MAX_SLOWDOWN: f64 = 10_000.0;
/// Longest simulation of a cell.
const MAX_SECONDS: f64 = 86_400.0;
/// Longest round trip: further than any satellite's.
const MAX_RTT_MS: f64 = 10_000.0;

/// Arguments of `dyno bench report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the page (index.html), the cells (cells/) and, with --json, report.json.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A bundle's folder; several if repeated.
    #[arg(long, short, required = true, value_name = "BUNDLE")]
    bundle: Vec<PathBuf>,
    /// Folder of CSV files with rates over time (columns t_ms and kbit_s): all of them are links.
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    /// How many times as long as the profile's machine the device takes; the server is like that
    /// machine.
    #[arg(long, value_name = "X", value_delimiter = ',', default_values_t = [4.0, 16.0, 64.0])]
    slowdowns: Vec<f64>,
    /// Links of one rate, in Mbit/s.
    #[arg(
        long,
        value_name = "MBIT_S",
        value_delimiter = ',',
        default_values_t = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
    )]
    rates: Vec<f64>,
    /// Round trips, without any queue: every link has each of them.
    #[arg(long = "rtt-ms", value_name = "MS", value_delimiter = ',', default_values_t = [40.0])]
    rtts_ms: Vec<f64>,
    /// Simulate every cell for so long. Unless told: traces once through but at most 120 s; links of
    /// one rate for 60 s, streams on them for 30 s.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// What `dyno bench link --json` printed, to be set beside the simulation of the same bundle,
    /// device and link; several if repeated.
    #[arg(long, value_name = "FILE.json")]
    measured: Vec<PathBuf>,
    /// Also write report.json, with every cell, and print the targets as JSON.
    #[arg(long)]
    json: bool,
}

/// The content of `report.json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    targets: &'a [Target],
    cells: Vec<Cell>,
}

/// Simulates what is missing, and writes the page.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.check()?;
    let grid = Grid::new(args)?;
    let measured = Measured::read_all(&args.measured)?;
    let start = Instant::now();
    let (cells, simulated) = work::all_cells(&grid, &args.out.join("cells"))?;
    let page = Page {
        targets: targets::evaluate(&cells),
        machine: Machine::here(),
        measured: &measured,
        grid: &grid,
        cells: &cells,
    };
    let index = args.out.join("index.html");
    let html = page.html();
    std::fs::write(&index, html).with_context(|| format!("cannot write {}", index.display()))?;
    if args.json {
        let report = Report {
            machine: &page.machine,
            targets: &page.targets,
            cells: cells.iter().map(Cell::without_calls).collect(),
        };
        let path = args.out.join("report.json");
        let json = serde_json::to_vec_pretty(&report).context("cannot write JSON")?;
        std::fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
        return output::json(&page.targets);
    }
    output::line(targets::table(&page.targets))?;
    output::line(format_args!(
        "{}: {} cells, of which {simulated} were simulated now, in {:.0} s",
        index.display(),
        cells.len(),
        start.elapsed().as_secs_f64()
    ))
}

impl Args {
    fn check(&self) -> Result<()> {
        let within = |name: &str, values: &[f64], least: f64, most: f64| match values
            .iter()
            .find(|v| !(least..=most).contains(*v))
        {
            Some(value) => bail!("{name} must be {least} to {most}, got {value}"),
            None => Ok(()),
        };
        within("--slowdowns", &self.slowdowns, 0.01, MAX_SLOWDOWN)?;
        within("--rates", &self.rates, 0.001, 1e6)?;
        within("--rtt-ms", &self.rtts_ms, 0.1, MAX_RTT_MS)?;
        let seconds: Vec<f64> = self.seconds.into_iter().collect();
        within("--seconds", &seconds, 0.1, MAX_SECONDS)
    }
}
