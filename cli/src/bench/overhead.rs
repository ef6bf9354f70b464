//! `dyno bench overhead`: the client against a bare ONNX Runtime session, two spans against one,
//! and the memory of both.
//!
//! Everything that is compared runs in turns in one process, so that a noisy machine disturbs
//! both sides alike; the ratio of the medians is what counts. Where a session's memory happens to
//! lie makes it faster or slower by up to a tenth for as long as it lives, so both sides are set
//! up anew several times, and the set-up with the middle ratio is reported.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use comfy_table::{Table, presets};
use dyno_core::bundle::Bundle;
use dyno_core::client::{Client, ClientConfig, ExecutionMode, top_k};
use dyno_core::pixels::{Frame, PixelFormat, Pixels};
use dyno_core::runtime::{Activation, Cancel, DeviceExecutor, Executor, SpanOptions, SpanStore};
use dyno_core::{Tensor, TensorData};
use ort::value::TensorRef;
use serde::Serialize;

use super::bare::bare_session;
use super::memory::{self, Memory};
use crate::{output, progress};

/// Cuts at which two spans are compared with one, evenly over the table.
const COMPARED_CUTS: usize = 5;
/// Times that both sides are set up; odd, so that there is a middle.
const SETUPS: usize = 7;
/// Rounds before the measured ones.
const WARM_UP_ROUNDS: usize = 5;

/// Arguments of `dyno bench overhead`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder.
    #[arg(long, short)]
    bundle: PathBuf,
    /// Measured rounds, over all set-ups; each runs both sides once.
    #[arg(long, default_value_t = 210)]
    rounds: usize,
    /// Threads that run one inference.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    machine: String,
    model: String,
    threads: usize,
    rounds: usize,
    /// `infer` in ONLY_ON_DEVICE against a bare session with the same pre- and post-processing.
    device: Comparison,
    /// Head and tail against the whole model, without pre- and post-processing.
    spans: Vec<SpanComparison>,
    /// Resident memory of processes of their own; none where the system does not tell.
    memory: Option<Memory>,
}

/// Two sides measured in turns.
#[derive(Debug, Serialize)]
struct Comparison {
    bare_ms: f64,
    dyno_ms: f64,
    ratio: f64,
}

#[derive(Debug, Serialize)]
struct SpanComparison {
    cut: usize,
    #[serde(flatten)]
    times: Comparison,
}

/// Measures and prints.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bundle = Arc::new(Bundle::open(&args.bundle)?);
    let last = bundle.manifest().last_cut();
    let step = (last / (COMPARED_CUTS + 1)).max(1);
    let cuts: Vec<usize> = (1..last)
        .step_by(step)
        .skip(1)
        .take(COMPARED_CUTS)
        .collect();
    let bar = progress::bar(cuts.len() as u64 + 2, "measuring");
    let device = middle(|| device(&bundle, args))?;
    bar.inc(1);
    let mut spans = Vec::new();
    for &cut in &cuts {
        spans.push(SpanComparison {
            cut,
            times: middle(|| two_spans(&bundle, cut, args))?,
        });
        bar.inc(1);
    }
    let memory = memory::measure(&args.bundle, args.threads, &cuts)?;
    bar.finish_and_clear();
    let machine = bundle
        .profile()
        .map_or_else(String::new, |p| p.machine.clone());
    let report = Report {
        machine,
        model: bundle.manifest().model.clone(),
        threads: args.threads,
        rounds: args.rounds,
        device,
        spans,
        memory,
    };
    if args.json {
        output::json(&report)
    } else {
        print(&report)
    }
}

/// Sets up and compares several times; the comparison with the middle ratio.
fn middle(compared: impl Fn() -> Result<Comparison>) -> Result<Comparison> {
    let all: Result<Vec<Comparison>> = (0..SETUPS).map(|_| compared()).collect();
    let mut all = all?;
    all.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    Ok(all.swap_remove(SETUPS / 2))
}

/// The client in ONLY_ON_DEVICE against a bare session of the whole model.
fn device(bundle: &Arc<Bundle>, args: &Args) -> Result<Comparison> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let manifest = bundle.manifest();
    let (width, height) = (
        manifest.preprocess.width * 2,
        manifest.preprocess.height * 2,
    );
    let rgb: Vec<u8> = (0..width * height * 3)
        .map(|i| (i * 7).to_le_bytes()[0])
        .collect();
    let pixels = Pixels::new(&rgb, width, height, width * 3, PixelFormat::Rgb8)?;

    let executor = Arc::new(DeviceExecutor::new(bundle.clone(), args.threads)?);
    let config = ClientConfig {
        mode: ExecutionMode::OnlyOnDevice,
        ..ClientConfig::default()
    };
    let top = config.top_k;
    let client = Client::new(bundle, executor, None, config)?;
    let mut session = bare_session(bundle, args.threads)?;

    let bare = || -> Result<()> {
        let preprocess = &manifest.preprocess;
        let tensor = Frame::stage(&pixels, preprocess)?.to_tensor(preprocess)?;
        let input = tensor
            .as_f32()
            .ok_or_else(|| anyhow!("the input is not f32"))?;
        let value = TensorRef::from_array_view((tensor.shape().to_vec(), input))?;
        let outputs = session.run(ort::inputs![value])?;
        if manifest.is_classifier() {
            let (_, logits) = outputs[0].try_extract_tensor::<f32>()?;
            std::hint::black_box(top_k(logits, &manifest.labels, top));
        }
        Ok(())
    };
    let dyno = || -> Result<()> {
        std::hint::black_box(runtime.block_on(client.infer_pixels(&pixels))?);
        Ok(())
    };
    compare(args.rounds / SETUPS, bare, dyno)
}

/// Head and tail in a chain against the whole model in one span.
fn two_spans(bundle: &Arc<Bundle>, cut: usize, args: &Args) -> Result<Comparison> {
    let last = bundle.manifest().last_cut();
    let options = SpanOptions {
        threads: args.threads,
        capacity: 1,
    };
    let whole = SpanStore::new(bundle.clone(), options)?;
    let split = DeviceExecutor::new(bundle.clone(), args.threads)?;
    split.prepare(cut)?;
    let input = &bundle.manifest().input;
    let tensor = Tensor::new(
        input.shape.clone(),
        TensorData::F32(vec![0.25; input.elements()]),
    )?;
    let bare = || -> Result<()> {
        let input = Activation::new(0, vec![tensor.clone()]);
        std::hint::black_box(whole.run(input, last, &Cancel::new())?);
        Ok(())
    };
    let dyno = || -> Result<()> {
        let input = Activation::new(0, vec![tensor.clone()]);
        std::hint::black_box(split.run(input, last, &Cancel::new())?);
        Ok(())
    };
    compare(args.rounds / SETUPS, bare, dyno)
}

/// Runs both in turns, changing who goes first, and compares the medians.
fn compare(
    rounds: usize,
    mut bare: impl FnMut() -> Result<()>,
    mut dyno: impl FnMut() -> Result<()>,
) -> Result<Comparison> {
    let (mut bare_ms, mut dyno_ms) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP_ROUNDS + rounds.max(1) {
        let (a, b) = if round % 2 == 0 {
            let a = timed(&mut bare)?;
            (a, timed(&mut dyno)?)
        } else {
            let b = timed(&mut dyno)?;
            (timed(&mut bare)?, b)
        };
        if round >= WARM_UP_ROUNDS {
            bare_ms.push(a);
            dyno_ms.push(b);
        }
    }
    let (bare_ms, dyno_ms) = (median(&mut bare_ms), median(&mut dyno_ms));
    Ok(Comparison {
        bare_ms,
        dyno_ms,
        ratio: dyno_ms / bare_ms,
    })
}

fn timed(work: &mut impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(report: &Report) -> Result<()> {
    output::line(format_args!(
        "{} on {}, {} thread(s), {} rounds in turns over {SETUPS} set-ups: the middle one\n",
        report.model, report.machine, report.threads, report.rounds
    ))?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["what", "bare", "dyno", "ratio"]);
    let row = |what: String, c: &Comparison| {
        let (bare, dyno) = (
            format!("{:.3} ms", c.bare_ms),
            format!("{:.3} ms", c.dyno_ms),
        );
        [what, bare, dyno, format!("{:.3}", c.ratio)]
    };
    table.add_row(row("infer, ONLY_ON_DEVICE".to_owned(), &report.device));
    for span in &report.spans {
        table.add_row(row(format!("two spans, cut {}", span.cut), &span.times));
    }
    if let Some(memory) = &report.memory {
        let bare = format!("{:.1} MiB", memory.bare_mib);
        let mut add = |what: String, mib: f64| {
            let ratio = format!("{:.3}", mib / memory.bare_mib);
            table.add_row([what, bare.clone(), format!("{mib:.1} MiB"), ratio]);
        };
        for steady in &memory.steady {
            add(format!("memory, cut {}", steady.cut), steady.mib);
        }
        add(
            format!("memory while moving to cut {}", memory.building.cut),
            memory.building.peak_mib,
        );
        add("memory after that".to_owned(), memory.building.after_mib);
    }
    output::line(table)
}
