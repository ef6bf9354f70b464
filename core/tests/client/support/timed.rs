//! A device and a server that take their time, on the test's paused clock.
//!
//! While a thread computes, paused time stands still unless it is told: the device asks for its
//! time, and a task moves the clock on in small steps for as long as it computes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dyno_core::client::{ServerTiming, TailAnswer, TailRequest, Transport};
use dyno_core::runtime::{Activation, Cancel, Executor, SpanRun};
use dyno_core::{Error, Result};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Behaviour, Device, Server};

/// How exact the clock is.
const STEP: Duration = Duration::from_millis(1);
/// Turns that other tasks get in one step.
const YIELDS: usize = 30;

/// A device that computes one node in `node`.
pub struct TimedDevice {
    pub device: Device,
    node: Duration,
    clock: mpsc::UnboundedSender<(Duration, oneshot::Sender<()>)>,
    computing: AtomicUsize,
    /// Whether two spans ever ran at once.
    pub overlapped: AtomicBool,
    /// Spans that were cancelled before their end.
    pub cancelled: AtomicUsize,
}

impl TimedDevice {
    pub fn new(node: Duration) -> Arc<Self> {
        let (clock, mut asked) = mpsc::unbounded_channel::<(Duration, oneshot::Sender<()>)>();
        tokio::spawn(async move {
            while let Some((takes, done)) = asked.recv().await {
                let until = Instant::now() + takes;
                while Instant::now() < until && !done.is_closed() {
                    tokio::time::advance(STEP).await;
                    for _ in 0..YIELDS {
                        tokio::task::yield_now().await;
                    }
                }
                let _ = done.send(());
            }
        });
        Arc::new(Self {
            device: Device::default(),
            node,
            clock,
            computing: AtomicUsize::new(0),
            overlapped: AtomicBool::new(false),
            cancelled: AtomicUsize::new(0),
        })
    }

    pub fn runs(&self) -> Vec<(usize, usize)> {
        self.device.runs.lock().unwrap().clone()
    }

    fn compute(&self, takes: Duration, cancel: &Cancel) -> Result<()> {
        let (done, mut is_done) = oneshot::channel();
        self.clock.send((takes, done)).unwrap();
        while is_done.try_recv().is_err() && !cancel.is_cancelled() {
            std::thread::yield_now();
        }
        cancel.check().inspect_err(|_| {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        })
    }
}

impl Executor for TimedDevice {
    fn ready_cuts(&self) -> Vec<usize> {
        self.device.ready_cuts()
    }

    fn request(&self, cut: usize) {
        self.device.request(cut);
    }

    fn prepare(&self, cut: usize) -> Result<()> {
        self.device.prepare(cut)
    }

    fn run(&self, input: Activation, to: usize, cancel: &Cancel) -> Result<SpanRun> {
        let takes = self.node * u32::try_from(to - input.cut).unwrap();
        let mut run = self.device.run(input, to, cancel)?;
        if self.computing.fetch_add(1, Ordering::SeqCst) > 0 {
            self.overlapped.store(true, Ordering::SeqCst);
        }
        let computed = self.compute(takes, cancel);
        self.computing.fetch_sub(1, Ordering::SeqCst);
        computed?;
        run.elapsed = takes;
        Ok(run)
    }
}

/// A server behind an uplink; each takes its time, and one request at a time.
pub struct TimedServer {
    pub server: Arc<Server>,
    upload: Duration,
    infer: Duration,
    uplink: tokio::sync::Mutex<()>,
    worker: tokio::sync::Mutex<()>,
    /// What becomes of the next requests; of later ones what becomes of all of the server's.
    pub script: Mutex<VecDeque<Behaviour>>,
    under_way: AtomicUsize,
    /// Most requests under way at once.
    pub most_under_way: AtomicUsize,
}

impl TimedServer {
    pub fn new(upload: Duration, infer: Duration) -> Arc<Self> {
        Arc::new(Self {
            server: Server::new(Behaviour::Answers),
            upload,
            infer,
            uplink: tokio::sync::Mutex::default(),
            worker: tokio::sync::Mutex::default(),
            script: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        })
    }

    async fn answer(&self, request: TailRequest) -> Result<TailAnswer> {
        let behaviour = self.script.lock().unwrap().pop_front();
        let behaviour = behaviour.unwrap_or(*self.server.behaviour.lock().unwrap());
        let sending = self.uplink.lock().await;
        let received = Instant::now();
        tokio::time::sleep(self.upload).await;
        drop(sending);
        let receive_ms = ms(received.elapsed());
        match behaviour {
            Behaviour::Answers => {}
            Behaviour::Hangs => return std::future::pending().await,
            Behaviour::Fails(kind) => return Err(Error::new(kind, "the server says no")),
            other => panic!("{other:?} takes no time of its own"),
        }
        let queued = Instant::now();
        let _worker = self.worker.lock().await;
        let queue_ms = ms(queued.elapsed());
        tokio::time::sleep(self.infer).await;
        let mut answer = super::compute_tail(&request)?;
        answer.timing = ServerTiming {
            receive_ms,
            unpack_ms: 0.0,
            queue_ms,
            infer_ms: ms(self.infer),
        };
        Ok(answer)
    }
}

impl Transport for TimedServer {
    fn infer(&self, request: TailRequest) -> BoxFuture<'_, Result<TailAnswer>> {
        struct UnderWay<'a>(&'a TimedServer, bool);
        impl Drop for UnderWay<'_> {
            fn drop(&mut self) {
                self.0.under_way.fetch_sub(1, Ordering::SeqCst);
                if !self.1 {
                    self.0.server.abandoned.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        Box::pin(async move {
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(now, Ordering::SeqCst);
            let mut under_way = UnderWay(self, false);
            self.server.calls.fetch_add(1, Ordering::SeqCst);
            self.server.arrived.notify_one();
            let answer = self.answer(request).await;
            under_way.1 = true;
            answer
        })
    }

    fn network_changed(&self) {
        self.server.network_changed();
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
