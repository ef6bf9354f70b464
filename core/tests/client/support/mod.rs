//! A device and a server that do arithmetic instead of convolutions, and remember what they did.
//!
//! The model has four nodes. The first three map every element x to x/2 + their number; the last
//! one adds up the elements of each of four classes. Whoever computes it gets the same numbers.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a module of several test programs, each of which uses its own part"
)]

pub mod chaos;
pub mod http;
pub mod timed;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dyno_core::bundle::{BUNDLE_FORMAT, BundleHash, Cut, Manifest, Profile, Provenance};
use dyno_core::client::{
    BodyKind, Client, ClientConfig, Inference, Probed, ServerLoad, ServerTiming, Staged,
    TailAnswer, TailRequest, Transport,
};
use dyno_core::pixels::{Colour, Fit, Frame, Layout, PixelFormat, Pixels, Preprocess};
use dyno_core::runtime::{Activation, Cancel, Executor, SpanRun};
use dyno_core::schedule::{Codec, LinkPrior, Metric, Objective, PhotoCodec, Plan, Precision};
use dyno_core::{ElementType, Error, ErrorKind, Result, Tensor, TensorData, TensorSpec, pack};
use futures_util::future::BoxFuture;

pub const LAST: usize = 4;
pub const SIDE: usize = 8;
pub const CLASSES: usize = 4;
/// Milliseconds that the device says it needs for one node.
pub const DEVICE_NODE_MS: u64 = 50;
/// Round trip of the server's link.
pub const RTT: Duration = Duration::from_millis(5);

/// A split that loses nothing, so that results can be compared exactly.
pub fn split(cut: usize) -> Plan {
    Plan::Split {
        cut,
        precision: Precision::Raw,
        codec: Codec::Raw,
    }
}

pub fn manifest() -> Arc<Manifest> {
    let spec = |name: String, shape: &[usize]| TensorSpec {
        name,
        element: ElementType::F32,
        shape: shape.to_vec(),
    };
    let cuts: Vec<Cut> = (0..=LAST)
        .map(|index| Cut {
            index,
            after: if index == 0 {
                String::new()
            } else {
                format!("node{index}")
            },
            tensors: vec![match index {
                LAST => spec("logits".into(), &[1, CLASSES]),
                _ => spec(format!("x{index}"), &[1, 3, SIDE, SIDE]),
            }],
            flops_before: index as u64 * 1_000_000,
            flops_after: (LAST - index) as u64 * 1_000_000,
        })
        .collect();
    Arc::new(Manifest {
        format: BUNDLE_FORMAT,
        model: "arithmetic".into(),
        hash: BundleHash::parse(&"ab".repeat(32)).unwrap(),
        input: cuts[0].tensors[0].clone(),
        outputs: cuts[LAST].tensors.clone(),
        preprocess: Preprocess {
            height: SIDE,
            width: SIDE,
            fit: Fit::Stretch,
            colour: Colour::Rgb,
            layout: Layout::Nchw,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        labels: ["nought", "one", "two", "three"].map(String::from).to_vec(),
        cuts,
        files: Vec::new(),
        provenance: Provenance::default(),
    })
}

pub fn profile() -> Profile {
    Profile {
        machine: "reference".into(),
        threads: 1,
        head_ms: (0..=LAST)
            .map(|cut| (cut as u64 * DEVICE_NODE_MS) as f64)
            .collect(),
        measured: (0..=LAST).collect(),
    }
}

/// Runs the nodes from one cut to another.
pub fn compute(input: Tensor, from: usize, to: usize) -> Tensor {
    let (shape, data) = input.into_parts();
    let TensorData::F32(mut x) = data else {
        panic!("the arithmetic model computes in f32");
    };
    for node in from..to.min(LAST - 1) {
        for x in &mut x {
            *x = *x / 2.0 + node as f32;
        }
    }
    if to < LAST || from == LAST {
        return Tensor::new(shape, TensorData::F32(x)).unwrap();
    }
    let mut logits = vec![0.0; CLASSES];
    for (i, x) in x.iter().enumerate() {
        logits[i % CLASSES] += x;
    }
    Tensor::new(vec![1, CLASSES], TensorData::F32(logits)).unwrap()
}

/// Pixels that are not all the same.
pub fn photo() -> Vec<u8> {
    (0..SIDE * SIDE * 3)
        .map(|i| u8::try_from(i * 37 % 251).unwrap())
        .collect()
}

pub fn stage(client: &Client) -> Staged {
    let data = photo();
    let pixels = Pixels::new(&data, SIDE, SIDE, SIDE * 3, PixelFormat::Rgb8).unwrap();
    client.stage(&pixels).unwrap()
}

/// What the whole model makes of [`photo`].
pub fn expected() -> Tensor {
    let data = photo();
    let pixels = Pixels::new(&data, SIDE, SIDE, SIDE * 3, PixelFormat::Rgb8).unwrap();
    let preprocess = &manifest().preprocess;
    let frame = Frame::stage(&pixels, preprocess).unwrap();
    compute(frame.to_tensor(preprocess).unwrap(), 0, LAST)
}

pub fn assert_right(inference: &Inference) {
    assert_eq!(inference.outputs, [expected()]);
    assert_eq!(inference.top.len(), CLASSES);
    assert!(inference.top.is_sorted_by(|a, b| a.score >= b.score));
}

/// An executor that computes at once and reports [`DEVICE_NODE_MS`] for each node.
#[derive(Default)]
pub struct Device {
    pub runs: Mutex<Vec<(usize, usize)>>,
    pub requested: Mutex<Vec<usize>>,
    pub prepared: Mutex<Vec<usize>>,
    pub fails: AtomicBool,
    /// Fails behind cut 0 alone.
    pub fails_tails: AtomicBool,
    /// Only the ends are at hand.
    pub cold: AtomicBool,
}

impl Device {
    /// How often each node ran.
    pub fn node_runs(&self) -> [usize; LAST] {
        let mut counts = [0; LAST];
        for &(from, to) in self.runs.lock().unwrap().iter() {
            for count in &mut counts[from..to] {
                *count += 1;
            }
        }
        counts
    }
}

impl Executor for Device {
    fn ready_cuts(&self) -> Vec<usize> {
        if self.cold.load(Ordering::SeqCst) {
            vec![0, LAST]
        } else {
            (0..=LAST).collect()
        }
    }

    fn request(&self, cut: usize) {
        self.requested.lock().unwrap().push(cut);
    }

    fn prepare(&self, cut: usize) -> Result<()> {
        self.prepared.lock().unwrap().push(cut);
        Ok(())
    }

    fn run(&self, input: Activation, to: usize, cancel: &Cancel) -> Result<SpanRun> {
        cancel.check()?;
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Runtime, "the device is broken"));
        }
        let from = input.cut;
        if from > 0 && self.fails_tails.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Runtime, "the device is broken"));
        }
        assert!(from < to, "a run from {from} to {to} computes nothing");
        self.runs.lock().unwrap().push((from, to));
        let input = input.into_tensors()?.remove(0);
        Ok(SpanRun {
            output: Activation::new(to, vec![compute(input, from, to)]),
            elapsed: Duration::from_millis(DEVICE_NODE_MS * (to - from) as u64),
        })
    }
}

/// How a [`Server`] behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Answers,
    AnswersAfter(Duration),
    Fails(ErrorKind),
    FailsAfter(Duration, ErrorKind),
    /// Has no room, and says for how long.
    Full(Duration),
    Hangs,
    /// Answers with outputs of another shape.
    Garbage,
}

/// A transport with its server: decodes what it is sent, and computes the tail.
pub struct Server {
    pub behaviour: Mutex<Behaviour>,
    pub calls: AtomicUsize,
    pub warm_ups: AtomicUsize,
    pub network_changes: AtomicUsize,
    pub probes: AtomicUsize,
    pub requests: Mutex<Vec<TailRequest>>,
    /// Futures dropped before their end.
    pub abandoned: AtomicUsize,
    /// Told when a request arrives.
    pub arrived: tokio::sync::Notify,
}

impl Server {
    pub fn new(behaviour: Behaviour) -> Arc<Self> {
        Arc::new(Self {
            behaviour: Mutex::new(behaviour),
            calls: AtomicUsize::new(0),
            warm_ups: AtomicUsize::new(0),
            network_changes: AtomicUsize::new(0),
            probes: AtomicUsize::new(0),
            requests: Mutex::default(),
            abandoned: AtomicUsize::new(0),
            arrived: tokio::sync::Notify::new(),
        })
    }

    pub fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn answer(&self, request: TailRequest) -> Result<TailAnswer> {
        tokio::time::sleep(RTT).await;
        let behaviour = *self.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Answers => compute_tail(&request),
            Behaviour::AnswersAfter(wait) => {
                tokio::time::sleep(wait.saturating_sub(RTT)).await;
                compute_tail(&request)
            }
            Behaviour::Fails(kind) => Err(says(kind)),
            Behaviour::FailsAfter(wait, kind) => {
                tokio::time::sleep(wait.saturating_sub(RTT)).await;
                Err(says(kind))
            }
            Behaviour::Full(wait) => Err(says(ErrorKind::Overloaded).with_retry_after(Some(wait))),
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::Garbage => {
                let mut answer = compute_tail(&request)?;
                answer.outputs = vec![Tensor::new(vec![1], TensorData::F32(vec![0.0]))?];
                Ok(answer)
            }
        }
    }
}

impl Transport for Server {
    fn infer(&self, request: TailRequest) -> BoxFuture<'_, Result<TailAnswer>> {
        struct Abandoned<'a>(Option<&'a Server>);
        impl Drop for Abandoned<'_> {
            fn drop(&mut self) {
                if let Some(server) = self.0 {
                    server.abandoned.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        Box::pin(async move {
            let mut abandoned = Abandoned(Some(self));
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.requests.lock().unwrap().push(request.clone());
            self.arrived.notify_one();
            let answer = self.answer(request).await;
            abandoned.0 = None;
            answer
        })
    }

    fn warm_up(&self) -> BoxFuture<'_, Result<Option<Duration>>> {
        Box::pin(async {
            self.warm_ups.fetch_add(1, Ordering::SeqCst);
            let behaviour = *self.behaviour.lock().unwrap();
            if let Behaviour::FailsAfter(wait, _) = behaviour {
                tokio::time::sleep(wait).await;
            }
            match behaviour {
                Behaviour::Fails(kind) | Behaviour::FailsAfter(_, kind) => {
                    Err(Error::new(kind, "no warm welcome"))
                }
                _ => Ok(Some(RTT)),
            }
        })
    }

    fn probe(&self, _bytes: usize) -> BoxFuture<'_, Result<Option<Probed>>> {
        Box::pin(async {
            self.probes.fetch_add(1, Ordering::SeqCst);
            let sent = tokio::time::Instant::now();
            tokio::time::sleep(RTT).await;
            let behaviour = *self.behaviour.lock().unwrap();
            match behaviour {
                Behaviour::Fails(kind) => return Err(says(kind)),
                Behaviour::Hangs => return std::future::pending().await,
                Behaviour::AnswersAfter(wait) => tokio::time::sleep(wait).await,
                _ => {}
            }
            Ok(Some(Probed {
                wall: sent.elapsed(),
                timing: ServerTiming {
                    receive_ms: 0.5,
                    ..ServerTiming::default()
                },
            }))
        })
    }

    fn network_changed(&self) {
        self.network_changes.fetch_add(1, Ordering::SeqCst);
    }
}

fn says(kind: ErrorKind) -> Error {
    Error::new(kind, format!("the server says {kind}"))
}

pub fn compute_tail(request: &TailRequest) -> Result<TailAnswer> {
    let manifest = manifest();
    assert_eq!(request.model, manifest.model);
    assert_eq!(request.bundle, manifest.hash);
    let (input, cut) = match request.kind {
        BodyKind::Packed => {
            let cut = pack::peek_cut(&request.body)?;
            let mut tensors = pack::unpack(&request.body, &manifest.cuts[cut])?;
            (tensors.remove(0), cut)
        }
        BodyKind::Photo(_) => {
            let frame = Frame::decode(&request.body, &manifest.preprocess)?;
            (frame.to_tensor(&manifest.preprocess)?, 0)
        }
        _ => panic!("unknown kind of body"),
    };
    Ok(TailAnswer {
        outputs: vec![compute(input, cut, LAST)],
        timing: ServerTiming {
            receive_ms: 0.5,
            unpack_ms: 0.25,
            queue_ms: 0.0,
            infer_ms: (LAST - cut) as f64,
        },
        load: ServerLoad::default(),
    })
}

/// What makes the server worth asking: a fast link, and a server fifty times as fast.
pub fn config() -> ClientConfig {
    ClientConfig {
        photo: PhotoCodec::Png,
        precision: Precision::Raw,
        codec: Codec::Raw,
        link: LinkPrior {
            rtt_ms: 5.0,
            rate_bps: 1e9,
        },
        server_speed: 50.0,
        objective: Objective::minimal(Metric::Latency),
        ..ClientConfig::default()
    }
}

pub fn client(
    device: &Arc<Device>,
    server: Option<&Arc<Server>>,
    config: ClientConfig,
) -> Result<Client> {
    Client::from_parts(
        manifest(),
        Some(&profile()),
        device.clone(),
        server.map(|server| server.clone() as Arc<dyn Transport>),
        config,
    )
}
