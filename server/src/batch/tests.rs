//! The order of the work, and the workers, on an engine that does what it is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dyno_core::bundle::{BundleHash, Cut, Manifest, Provenance};
use dyno_core::pixels::{Colour, Fit, Layout, Preprocess};
use dyno_core::runtime::{Activation, Cancel, Stack, TailRun};
use dyno_core::{ElementType, Error, ErrorKind, Result, Tensor, TensorData, TensorSpec};
use tokio::sync::oneshot;

use super::job::{Client, Job, Stage, Times};
use super::line::Line;
use super::queue::{Batch, Queue};
use super::workers::Request;
use crate::admission::Admission;
use crate::engine::{BodyKind, TailEngine};
use crate::metrics::Metrics;

const JUNCTION: usize = 3;
const LAST: usize = 5;
const LIMIT: usize = 4;
/// First byte of a body that panics in the engine, and of one that waits to be told.
const PANIC: u8 = 200;
const WAIT: u8 = 201;
/// What bodies that start with "bad" leave in a batch before they fail.
const BROKEN: u8 = 202;

/// A body is its cut and a number; the output is the number.
struct Scripted {
    manifest: Manifest,
    junction: Option<usize>,
    /// (cut, to, activations) of every run.
    runs: Mutex<Vec<(usize, usize, usize)>>,
    entered: Mutex<Option<oneshot::Sender<()>>>,
    cancelled: AtomicUsize,
    released: Mutex<bool>,
}

impl Scripted {
    fn new(junction: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            manifest: manifest(),
            junction,
            runs: Mutex::default(),
            entered: Mutex::default(),
            cancelled: AtomicUsize::new(0),
            released: Mutex::new(false),
        })
    }

    fn runs(&self) -> Vec<(usize, usize, usize)> {
        self.runs.lock().unwrap().clone()
    }
}

impl TailEngine for Scripted {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn entry(&self, body: &[u8], _kind: BodyKind) -> Result<usize> {
        match body {
            _ if body.starts_with(b"bad") => Ok(1),
            _ => Ok(body[0].into()),
        }
    }

    fn decode(&self, body: &[u8], _kind: BodyKind, inputs: &mut Stack) -> Result<()> {
        let truncated = || Err(Error::new(ErrorKind::InvalidActivation, "truncated"));
        let broken = activation(1, BROKEN);
        match body {
            b"bad" => return truncated(),
            b"bad at the end" => {
                inputs.push(&broken)?;
                return truncated();
            }
            b"bad for the engine" => {
                inputs.push(&broken)?;
                panic!("as told");
            }
            b"bad twice" => {
                inputs.push(&broken)?;
                return inputs.push(&broken);
            }
            b"bad and nothing" => return Ok(()),
            _ => {}
        }
        inputs.push(&activation(body[0].into(), body[1]))
    }

    fn run(&self, inputs: &Stack, to: usize, cancel: &Cancel) -> Result<TailRun> {
        let all = 0..inputs.len();
        let numbers: Vec<f32> = all.clone().map(|i| inputs.get(i).unwrap()[0][0]).collect();
        self.runs
            .lock()
            .unwrap()
            .push((inputs.cut(), to, inputs.len()));
        assert!(!numbers.contains(&f32::from(PANIC)), "as told");
        if numbers.contains(&f32::from(WAIT)) {
            if let Some(entered) = self.entered.lock().unwrap().take() {
                entered.send(()).unwrap();
            }
            while !*self.released.lock().unwrap() {
                std::thread::sleep(Duration::from_millis(1));
                if cancel.is_cancelled() {
                    self.cancelled.fetch_add(1, Ordering::SeqCst);
                    cancel.check()?;
                }
            }
        }
        let outputs = all.map(|index| Activation {
            cut: to,
            ..inputs.activation(index).unwrap()
        });
        Ok(TailRun {
            outputs: outputs.collect(),
            elapsed: Duration::from_millis(2),
        })
    }

    fn batch_limit(&self, _cut: usize) -> usize {
        LIMIT
    }

    fn junction(&self) -> Option<usize> {
        self.junction
    }
}

fn manifest() -> Manifest {
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        element: ElementType::F32,
        shape: vec![1, 1],
    };
    let cuts = (0..=LAST).map(|index| Cut {
        index,
        after: String::new(),
        tensors: vec![spec("x")],
        flops_before: 0,
        flops_after: 0,
    });
    Manifest {
        format: dyno_core::bundle::BUNDLE_FORMAT,
        model: "scripted".into(),
        hash: BundleHash::parse(&"0".repeat(64)).unwrap(),
        input: spec("x"),
        outputs: vec![spec("y")],
        preprocess: Preprocess {
            height: 1,
            width: 1,
            fit: Fit::Crop { crop_fraction: 1.0 },
            colour: Colour::Rgb,
            layout: Layout::Nchw,
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        labels: vec![],
        cuts: cuts.collect(),
        files: vec![],
        provenance: Provenance::default(),
    }
}

fn admission(capacity: usize, workers: usize) -> Admission {
    let metrics = Arc::new(Metrics::new(Vec::new()));
    Admission::new(capacity, workers, None, metrics)
}

fn activation(cut: usize, number: u8) -> Activation {
    let data = TensorData::F32(vec![number.into()]);
    Activation::new(cut, vec![Tensor::new(vec![1, 1], data).unwrap()])
}

/// A queue of jobs at these cuts, in this order, of one line each for `lines`.
struct Waiting {
    queue: Queue,
    now: Instant,
    lines: Vec<Arc<Line>>,
    admission: Admission,
    answers: Vec<oneshot::Receiver<Result<super::Done>>>,
}

impl Waiting {
    fn new(junction: Option<usize>) -> Self {
        let line = || Arc::new(Line::new("scripted", Scripted::new(junction)));
        Self {
            queue: Queue::default(),
            now: Instant::now(),
            lines: vec![line(), line()],
            admission: admission(64, 0),
            answers: Vec::new(),
        }
    }

    fn push(&mut self, line: usize, at: usize, deadline: Duration) {
        let (reply, answer) = oneshot::channel();
        let entered = self.now + Duration::from_micros(self.answers.len() as u64);
        self.answers.push(answer);
        self.queue.push(Job {
            line: Arc::clone(&self.lines[line]),
            stage: Stage::Body(vec![at.try_into().unwrap(), 0], BodyKind::Packed),
            cut: at,
            entered,
            deadline: self.now + deadline,
            waiting: entered,
            times: Times::default(),
            client: Client::default(),
            place: self.admission.admit().unwrap(),
            reply,
        });
    }

    fn wait_at(&mut self, line: usize, cuts: &[usize]) {
        for &cut in cuts {
            self.push(line, cut, Duration::from_secs(8));
        }
    }

    /// What is next after a time: (cut, activations, to).
    fn next(&mut self, after: Duration) -> Option<(usize, usize, usize)> {
        let Batch { jobs, to } = self.queue.next(self.now + after)?;
        Some((jobs[0].at(), jobs.len(), to))
    }
}

const SOON: Duration = Duration::from_millis(1);

#[tokio::test]
async fn those_at_one_cut_run_together_as_many_as_are_worth_it() {
    let mut waiting = Waiting::new(None);
    waiting.wait_at(0, &[1, 1, 2, 1, 1, 1]);
    assert_eq!(waiting.next(SOON), Some((1, LIMIT, LAST)));
    assert_eq!(waiting.next(SOON), Some((2, 1, LAST)));
    assert_eq!(waiting.next(SOON), Some((1, 1, LAST)));
    assert_eq!(waiting.next(SOON), None);
}

#[tokio::test]
async fn models_share_no_batch_and_take_turns() {
    let mut waiting = Waiting::new(None);
    waiting.wait_at(0, &[1]);
    waiting.wait_at(1, &[1]);
    waiting.wait_at(0, &[1]);
    assert_eq!(waiting.next(SOON), Some((1, 2, LAST)));
    assert_eq!(waiting.next(SOON), Some((1, 1, LAST)));
}

#[tokio::test]
async fn one_alone_goes_to_the_end_at_once() {
    let mut waiting = Waiting::new(Some(JUNCTION));
    waiting.wait_at(0, &[1]);
    assert_eq!(waiting.next(SOON), Some((1, 1, LAST)));
}

#[tokio::test]
async fn early_ones_stop_to_join_those_at_the_junction() {
    let mut waiting = Waiting::new(Some(JUNCTION));
    waiting.wait_at(0, &[JUNCTION, 0, 1]);
    assert_eq!(waiting.next(SOON), Some((0, 1, JUNCTION)));
    assert_eq!(waiting.next(SOON), Some((1, 1, JUNCTION)));
    waiting.wait_at(0, &[JUNCTION, JUNCTION]);
    assert_eq!(waiting.next(SOON), Some((JUNCTION, 3, LAST)));
}

#[tokio::test]
async fn nobody_waits_longer_for_company_than_a_share_of_the_deadline() {
    let mut waiting = Waiting::new(Some(JUNCTION));
    waiting.wait_at(0, &[JUNCTION, 0]);
    let due = Duration::from_millis(21);
    assert_eq!(waiting.next(due), Some((JUNCTION, 1, LAST)));

    let mut hurried = Waiting::new(Some(JUNCTION));
    hurried.push(0, JUNCTION, Duration::from_millis(8));
    hurried.wait_at(0, &[0]);
    assert_eq!(hurried.next(SOON), Some((JUNCTION, 1, LAST)));
}

#[tokio::test]
async fn a_full_batch_waits_for_nobody() {
    let mut waiting = Waiting::new(Some(JUNCTION));
    waiting.wait_at(0, &[JUNCTION; LIMIT]);
    waiting.wait_at(0, &[0]);
    assert_eq!(waiting.next(SOON), Some((JUNCTION, LIMIT, LAST)));
}

#[tokio::test]
async fn behind_the_junction_every_cut_is_for_itself() {
    let mut waiting = Waiting::new(Some(JUNCTION));
    waiting.wait_at(0, &[4, 0, 4]);
    assert_eq!(waiting.next(SOON), Some((4, 2, LAST)));
}

#[tokio::test]
async fn those_that_nobody_waits_for_are_taken_out() {
    let mut waiting = Waiting::new(None);
    waiting.wait_at(0, &[1, 1]);
    waiting.push(0, 1, Duration::from_millis(1));
    drop(waiting.answers.remove(0));
    let lost = waiting
        .queue
        .take_lost(waiting.now + Duration::from_millis(2));
    assert_eq!(lost.len(), 2);
    assert_eq!(waiting.next(SOON), Some((1, 1, LAST)));
}

/// Workers on a scripted engine.
struct Working {
    engine: Arc<Scripted>,
    line: Arc<Line>,
    admission: Arc<Admission>,
}

impl Working {
    fn check_wait(&self, left: Duration) -> Result<()> {
        self.admission.check_wait(&self.line, left)
    }

    fn new(workers: usize, junction: Option<usize>) -> Self {
        let engine = Scripted::new(junction);
        Self {
            line: Arc::new(Line::new("scripted", engine.clone())),
            engine,
            admission: Arc::new(admission(64, workers)),
        }
    }

    fn send(&self, body: &[u8]) -> tokio::task::JoinHandle<Result<super::Done>> {
        self.send_until(body, tokio::time::Instant::now() + Duration::from_mins(1))
    }

    fn send_until(
        &self,
        body: &[u8],
        deadline: tokio::time::Instant,
    ) -> tokio::task::JoinHandle<Result<super::Done>> {
        let request = Request {
            line: Arc::clone(&self.line),
            place: self.admission.admit().unwrap(),
            body: body.to_vec(),
            kind: BodyKind::Packed,
            deadline,
        };
        let admission = Arc::clone(&self.admission);
        tokio::spawn(async move { admission.run(request).await })
    }

    /// Keeps the one worker busy until it is released.
    async fn occupy(&self) -> tokio::task::JoinHandle<Result<super::Done>> {
        let (entered, has_entered) = oneshot::channel();
        *self.engine.entered.lock().unwrap() = Some(entered);
        let busy = self.send(&[4, WAIT]);
        has_entered.await.unwrap();
        busy
    }

    fn release(&self) {
        *self.engine.released.lock().unwrap() = true;
    }

    async fn queued(&self, count: usize) {
        while self.admission.queued() < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_came_while_all_were_busy_runs_together() {
    let working = Working::new(1, None);
    let busy = working.occupy().await;
    let jobs: Vec<_> = (1..=3).map(|number| working.send(&[1, number])).collect();
    working.queued(3).await;
    working.release();
    assert_eq!(busy.await.unwrap().unwrap().times.batch, 1);
    for (number, job) in (1..).zip(jobs) {
        let done = job.await.unwrap().unwrap();
        assert_eq!(done.outputs[0].as_f32().unwrap(), [number as f32]);
        assert_eq!((done.cut, done.times.batch), (1, 3));
        assert_eq!(done.times.infer, Duration::from_millis(2));
        assert!(done.times.share < done.times.infer);
    }
    assert_eq!(working.engine.runs(), [(4, LAST, 1), (1, LAST, 3)]);
    assert_eq!(working.admission.load().in_flight, 0);
}

#[tokio::test]
async fn requests_of_different_cuts_end_in_one_run() {
    let working = Working::new(1, Some(JUNCTION));
    let busy = working.occupy().await;
    let late = working.send(&[u8::try_from(JUNCTION).unwrap(), 1]);
    let early = working.send(&[0, 2]);
    working.queued(2).await;
    working.release();
    busy.await.unwrap().unwrap();
    assert_eq!(late.await.unwrap().unwrap().times.batch, 2);
    let early = early.await.unwrap().unwrap();
    assert_eq!((early.cut, early.times.batch), (0, 2));
    assert_eq!(early.outputs[0].as_f32().unwrap(), [2.0]);
    assert_eq!(
        working.engine.runs()[1..],
        [(0, JUNCTION, 1), (JUNCTION, LAST, 2)]
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_leaves_its_batch_to_the_others() {
    let bad = [
        ("bad", ErrorKind::InvalidActivation),
        ("bad at the end", ErrorKind::InvalidActivation),
        ("bad for the engine", ErrorKind::Internal),
        ("bad twice", ErrorKind::Internal),
        ("bad and nothing", ErrorKind::Internal),
    ];
    for (body, kind) in bad {
        let working = Working::new(1, None);
        let busy = working.occupy().await;
        let before = working.send(&[1, 1]);
        working.queued(1).await;
        let bad = working.send(body.as_bytes());
        working.queued(2).await;
        let after = working.send(&[1, 2]);
        working.queued(3).await;
        assert!(!bad.is_finished(), "it is decoded when it is run");
        working.release();
        busy.await.unwrap().unwrap();
        assert_eq!(bad.await.unwrap().unwrap_err().kind(), kind, "{body}");
        for (job, number) in [(before, 1.0), (after, 2.0)] {
            let done = job.await.unwrap().unwrap();
            assert_eq!(done.outputs[0].as_f32().unwrap(), [number], "{body}");
            assert_eq!(done.times.batch, 2);
        }
        assert_eq!(working.engine.runs(), [(4, LAST, 1), (1, LAST, 2)]);
    }
}

#[tokio::test]
async fn a_panic_costs_its_run_and_no_worker() {
    let working = Working::new(1, None);
    for _ in 0..2 {
        let failed = working.send(&[1, PANIC]).await.unwrap();
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Internal);
    }
    let bad = working.send(b"bad").await.unwrap();
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::InvalidActivation);
    // No first byte: the engine panics where it is asked for the cut.
    let unnamed = working.send(b"").await.unwrap();
    assert_eq!(unnamed.unwrap_err().kind(), ErrorKind::Internal);
    assert!(working.send(&[1, 1]).await.unwrap().is_ok());
    assert_eq!(working.admission.load().in_flight, 0);
}

#[tokio::test]
async fn a_job_whose_client_has_gone_is_not_run() {
    let working = Working::new(1, None);
    let busy = working.occupy().await;
    let gone = working.send(&[1, 1]);
    working.queued(1).await;
    gone.abort();
    assert!(gone.await.is_err());
    working.release();
    busy.await.unwrap().unwrap();
    working.send(&[2, 2]).await.unwrap().unwrap();
    assert_eq!(working.engine.runs(), [(4, LAST, 1), (2, LAST, 1)]);
    assert_eq!(working.admission.load().in_flight, 0);
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_the_run() {
    let working = Working::new(1, None);
    let (entered, has_entered) = oneshot::channel();
    *working.engine.entered.lock().unwrap() = Some(entered);
    let soon = tokio::time::Instant::now() + Duration::from_millis(50);
    let running = working.send_until(&[1, WAIT], soon);
    has_entered.await.unwrap();
    let late = running.await.unwrap().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::DeadlineExceeded);
    // The worker is free for the next one: the run was terminated.
    working.send(&[2, 2]).await.unwrap().unwrap();
    assert_eq!(working.engine.cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_full_house_refuses_at_once_and_a_place_left_is_free_again() {
    let admission = admission(1, 0);
    let place = admission.admit().unwrap();
    assert_eq!(admission.load().in_flight, 1);
    let refused = admission.admit().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    assert!(refused.retry_after().is_some());
    place.leave();
    assert!(admission.admit().is_ok());
}

#[tokio::test]
async fn who_would_wait_too_long_is_told_how_long() {
    let working = Working::new(1, None);
    let plenty = Duration::from_mins(1);
    assert!(working.check_wait(plenty).is_ok());
    working.line.observe(Duration::from_millis(400));
    let busy = working.occupy().await;
    let mut jobs = Vec::new();
    while let Ok(()) = working.check_wait(plenty) {
        jobs.push(working.send(&[1, 1]));
        working.queued(jobs.len()).await;
    }
    assert_eq!(jobs.len(), 6, "as many times its own cost");
    let refused = working.check_wait(plenty);
    let wait = refused.unwrap_err().retry_after().unwrap();
    assert_eq!(wait, Duration::from_millis(7 * 400));
    let hurried = Duration::from_millis(500);
    assert!(working.check_wait(hurried).is_err());
    working.release();
    busy.await.unwrap().unwrap();
    for job in jobs {
        job.await.unwrap().unwrap();
    }
    assert!(working.check_wait(plenty).is_ok());
}

#[tokio::test]
async fn an_idle_server_refuses_nobody_for_what_the_model_costs() {
    let working = Working::new(1, None);
    let hurried = Duration::from_millis(100);
    // One run that something held up. Were everybody refused for it, no other run would set it right.
    working.line.observe(Duration::from_secs(3));
    assert!(working.check_wait(hurried).is_ok());
    let busy = working.occupy().await;
    assert!(working.check_wait(hurried).is_err());
    working.release();
    busy.await.unwrap().unwrap();
}
