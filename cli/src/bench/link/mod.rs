//! `dyno bench link` and `dyno bench upload`: client and server over an emulated network.
//!
//! Two network namespaces are joined by two TUN devices, and two threads carry packets from one to
//! the other as a link would: at the rate of a recording, with a delay, a queue, losses and
//! outages. TCP is the kernel's own, so that slow start, its return after a pause, and
//! retransmissions are as on a network; a link that copies bytes between sockets has none of them.

mod calls;
mod carrier;
mod clock;
mod interrupt;
mod namespace;
mod network;
mod observed;
mod phone;
mod policy;
mod report;
mod shaper;
mod spec;
mod tun;
pub(super) mod upload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dyno_core::bundle::Bundle;

use self::calls::{Call, CallLog, Until, Workload, expect};
use self::clock::Clock;
use self::interrupt::Interrupt;
use self::network::{Carried, over};
use self::policy::Policy;
use self::report::{Device, Report, Summary};
use self::spec::{LinkArgs, LinkSpec};
use crate::bench::service::Service;
use crate::verify::{image_files, read_photo};
use crate::{output, progress};

/// Calls of each policy unless told otherwise.
const DEFAULT_CALLS: usize = 50;
/// Most calls of a policy: what is known of each is kept.
const MAX_CALLS: usize = 1_000_000;
/// Longest run of a policy.
const MAX_SECONDS: f64 = 86_400.0;
/// Slowest device.
const MAX_SLOWDOWN: f64 = 10_000.0;

/// Arguments of `dyno bench link`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle's folder; a classifier's.
    #[arg(long, short)]
    bundle: PathBuf,
    /// Folder with photos, which are sent in turns.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Photos to take from the folder.
    #[arg(long, value_name = "PHOTOS", default_value_t = 50)]
    limit: usize,
    /// Who decides where a photo is computed; several with commas. dyno; device_only; server_jpeg,
    /// server_jpeg:75, server_png, server_webp-lossless (the photo, so encoded); server_raw (its
    /// pixels as they are, a byte each); split:CUT:LEVELS:CODEC (always this plan).
    #[arg(long, value_delimiter = ',', default_value = "dyno")]
    policy: Vec<Policy>,
    /// Calls of each policy, one after the other (50 unless told).
    #[arg(long, conflicts_with = "seconds")]
    calls: Option<usize>,
    /// Make calls for so long instead.
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Time between an answer and the next call.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pause_ms: u64,
    /// How many times slower than this machine the device is.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    device_slowdown: f64,
    /// Count calls without an answer within this time.
    #[arg(long, value_name = "MS")]
    max_latency_ms: Option<f64>,
    /// Write what is known of each call to this file, a line of JSON each.
    #[arg(long, value_name = "FILE")]
    calls_out: Option<PathBuf>,
    /// The dyno-server to start; the one beside this program unless told.
    #[arg(long, value_name = "FILE")]
    server_program: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    link: LinkArgs,
}

/// Runs each policy over a new link, and prints what its calls add up to.
pub(crate) fn run(args: &Args) -> Result<()> {
    let until = args.until()?;
    let link = args.link.spec()?;
    let interrupt = Interrupt::listen()?;
    let bundle = Arc::new(Bundle::open(&args.bundle)?);
    if !bundle.manifest().is_classifier() {
        bail!("answers are compared by their labels: use a bundle of a classifier");
    }
    let photos: Result<Vec<_>> = image_files(&args.images, args.limit)?
        .iter()
        .map(|path| read_photo(path))
        .collect();
    let samples = phone::run(&interrupt, expect(&bundle, photos?))?;
    let total = match until {
        Until::Calls(calls) => calls * args.policy.len(),
        Until::Seconds(_) => 0,
    };
    let workload = Workload {
        bundle,
        samples,
        slowdown: args.device_slowdown,
        pause: Duration::from_millis(args.pause_ms),
        until,
        bar: progress::bar(total as u64, "making calls"),
        log: args.calls_out.as_deref().map(CallLog::create).transpose()?,
    };
    let mut policies = BTreeMap::new();
    let mut carried = BTreeMap::new();
    for policy in &args.policy {
        let (calls, packets) = args.calls_of(policy, &workload, &link, &interrupt)?;
        let summary = Summary::new(&calls, args.max_latency_ms);
        policies.insert(policy.name.clone(), summary);
        carried.extend(packets.map(|packets| (policy.name.clone(), packets)));
    }
    workload.bar.finish_and_clear();
    let bundle = &workload.bundle;
    let report = Report {
        model: bundle.manifest().model.clone(),
        machine: bundle
            .profile()
            .map_or_else(String::new, |p| p.machine.clone()),
        device: Device {
            slowdown: args.device_slowdown,
            padded: "its spans of the model are",
            not_padded: "preprocessing and packing",
        },
        link: link.description,
        policies,
        carried,
    };
    if args.json {
        output::json(&report)
    } else {
        output::line(report::table(&report))
    }
}

impl Args {
    /// Checks what is about calls.
    fn until(&self) -> Result<Until> {
        if !(1.0..=MAX_SLOWDOWN).contains(&self.device_slowdown) {
            bail!(
                "--device-slowdown must be 1 to {MAX_SLOWDOWN}, got {}",
                self.device_slowdown
            );
        }
        if let Some(seconds) = self.seconds {
            if !(seconds > 0.0 && seconds <= MAX_SECONDS) {
                bail!("--seconds must be above 0 and at most {MAX_SECONDS}, got {seconds}");
            }
            return Ok(Until::Seconds(seconds));
        }
        let calls = self.calls.unwrap_or(DEFAULT_CALLS);
        if !(1..=MAX_CALLS).contains(&calls) {
            bail!("--calls must be 1 to {MAX_CALLS}, got {calls}");
        }
        Ok(Until::Calls(calls))
    }

    fn calls_of(
        &self,
        policy: &Policy,
        workload: &Workload,
        link: &LinkSpec,
        interrupt: &Interrupt,
    ) -> Result<(Vec<Call>, Option<Carried>)> {
        if !policy.uses_server() {
            let clock = Clock::default();
            let calls = workload.call_all(policy, None, &clock);
            return Ok((phone::run(interrupt, calls)?, None));
        }
        let program = self.server_program.as_deref();
        let (calls, carried) = over(
            link,
            |listen| Service::start(program, &self.bundle, listen, &[]),
            |service, clock| {
                phone::run(interrupt, async {
                    service.ready().await?;
                    let url = service.url();
                    workload.call_all(policy, Some(&url), clock).await
                })
            },
        )
        .with_context(|| format!("policy {}", policy.name))?;
        Ok((calls, Some(carried)))
    }
}
