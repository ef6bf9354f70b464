//! The threads that decode and run, and the way to them and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dyno_core::bundle::Manifest;
use dyno_core::runtime::{Activation, Stack, TailRun};
use dyno_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::job::{Client, Done, Job, Party, Stage, Times};
use super::line::Line;
use super::queue::{Batch, Queue};
use crate::admission::Place;
use crate::engine::BodyKind;
use crate::metrics::Metrics;

/// How long dropping the workers waits for what they are at, which nobody waits for any more: ONNX
/// Runtime crashes if the process ends while it runs.
const LAST_WORK: Duration = Duration::from_secs(3);

/// A fixed number of workers on one queue; they end when this is dropped.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    count: usize,
}

struct Shared {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    news: Condvar,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// What the jobs in the queue and on the workers are expected to cost, each when it came.
    backlog: Duration,
    is_closed: bool,
    /// Workers that have not ended.
    alive: usize,
}

/// What a request hands to the workers.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) line: Arc<Line>,
    pub(crate) place: Place,
    pub(crate) body: Vec<u8>,
    pub(crate) kind: BodyKind,
    pub(crate) deadline: tokio::time::Instant,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts `count` workers, each a thread of its own: those of the async runtime's would keep the paused
    /// clock of tests from moving.
    pub(crate) fn start(count: usize, metrics: Arc<Metrics>) -> Self {
        let shared = Arc::new(Shared {
            metrics,
            state: Mutex::default(),
            news: Condvar::new(),
            ended: Condvar::new(),
        });
        for _ in 0..count {
            let worker = Arc::clone(&shared);
            let name = "dyno-worker".to_owned();
            let thread = std::thread::Builder::new().name(name);
            shared.state().alive += 1;
            if let Err(error) = thread.spawn(move || worker.work()) {
                shared.state().alive -= 1;
                tracing::error!(%error, "cannot start a worker");
            }
        }
        Self { shared, count }
    }

    /// How long what is here already will keep the workers busy, as far as one can tell.
    pub(crate) fn wait(&self) -> Duration {
        let workers = u32::try_from(self.count.max(1)).unwrap_or(u32::MAX);
        self.shared.state().backlog / workers
    }

    /// Jobs that wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.shared.state().queue.len()
    }

    /// Decodes and runs a request; one that names no cut with a tail does not wait for its turn to hear it.
    ///
    /// Dropping the future, or reaching the deadline, makes the workers forget the request: it is
    /// not run if its turn has not come, and its run is terminated if nobody else is in it. Fails with
    /// [`ErrorKind::DeadlineExceeded`] then, and as the engine fails.
    pub(crate) async fn run(&self, request: Request) -> Result<Done> {
        let Request {
            line,
            place,
            body,
            kind,
            deadline,
        } = request;
        let cut = guarded(|| line.engine.entry(&body, kind))?;
        let (reply, answer) = oneshot::channel();
        let client = Client::default();
        let now = Instant::now();
        let cost = line.cost().unwrap_or_default();
        let job = Job {
            line,
            stage: Stage::Body(body, kind),
            cut,
            entered: now,
            deadline: deadline.into_std(),
            waiting: now,
            times: Times::default(),
            client: client.clone(),
            place,
            reply,
        };
        self.shared.push(job, cost);
        let mut guest = Guest {
            shared: &self.shared,
            client,
            cost,
            has_answer: false,
        };
        let answer = tokio::time::timeout_at(deadline, answer)
            .await
            .map_err(|_| late())?;
        guest.has_answer = true;
        answer.map_err(|_| Error::new(ErrorKind::Internal, "the workers are gone"))?
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_closed = true;
        self.shared.news.notify_all();
        let until = Instant::now() + LAST_WORK;
        while state.alive > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Whoever waits for a job: dropped without an answer, the job leaves the queue, or its run.
struct Guest<'s> {
    shared: &'s Shared,
    client: Client,
    /// Its share of the backlog.
    cost: Duration,
    has_answer: bool,
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if !self.has_answer {
            self.client.leave();
        }
        let mut state = self.shared.state();
        state.backlog = state.backlog.saturating_sub(self.cost);
        // Its place goes to the next request now, and not when a worker comes by.
        let lost = (!self.has_answer).then(|| state.queue.take_of(&self.client));
        drop(state);
        drop(lost);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job, cost: Duration) {
        let mut state = self.state();
        state.queue.push(job);
        state.backlog += cost;
        drop(state);
        self.news.notify_one();
    }

    /// A worker's life.
    fn work(&self) {
        let mut inputs = Stack::default();
        while let Some((lost, batch)) = self.next() {
            for job in lost {
                job.fail(late());
            }
            if let Some(Batch { jobs, to }) = batch {
                self.run(jobs, to, &mut inputs);
                inputs.clear();
            }
        }
        self.state().alive -= 1;
        self.ended.notify_all();
    }

    /// Waits for work; none once there will be no more. Dropped jobs answer as they go.
    fn next(&self) -> Option<(Vec<Job>, Option<Batch>)> {
        let mut state = self.state();
        loop {
            if state.is_closed {
                state.queue = Queue::default();
                return None;
            }
            if !state.queue.is_empty() {
                let now = Instant::now();
                let lost = state.queue.take_lost(now);
                let batch = state.queue.next(now);
                if !state.queue.is_empty() {
                    self.news.notify_one();
                }
                return Some((lost, batch));
            }
            state = self
                .news
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Only its own worker needs to hear of it: that one asks for work next.
    fn requeue(&self, job: Job) {
        self.state().queue.push(job);
    }

    /// Runs what a batch holds in the memory of `inputs`.
    fn run(&self, jobs: Vec<Job>, to: usize, inputs: &mut Stack) {
        let Some(line) = jobs.first().map(|job| Arc::clone(&job.line)) else {
            return;
        };
        let at = jobs.first().map_or(0, Job::at);
        if let Err(error) = begin(inputs, line.engine.manifest(), at) {
            return fail_all(jobs, &error);
        }
        let party = Arc::new(Party::until(jobs.iter().map(|job| job.deadline)));
        let mut running: Vec<Job> = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            // Decoding those before it took its time.
            if job.is_lost(Instant::now()) {
                job.fail(late());
                continue;
            }
            match job.enter(inputs) {
                Ok(()) if job.client.join(&party) => running.push(job),
                Ok(()) => {
                    inputs.pop();
                    job.fail(late());
                }
                Err(error) => job.fail(error),
            }
        }
        party.begin();
        let started = Instant::now();
        for job in &mut running {
            job.times.queue += started.saturating_duration_since(job.waiting);
        }
        if running.is_empty() {
            return;
        }
        let count = running.len();
        // Or outputs might go to others than those whose they are.
        if inputs.len() != count {
            for job in &running {
                job.client.part();
            }
            return fail_all(running, &defect());
        }
        let ran = guarded(|| line.engine.run(inputs, to, &party.cancel));
        let ended = Instant::now();
        for job in &running {
            job.client.part();
        }
        match ran {
            Ok(TailRun { outputs, elapsed }) if outputs.len() == count => {
                self.metrics.batch(&line.model, count);
                let waited = ended
                    .saturating_duration_since(started)
                    .saturating_sub(elapsed);
                let share = elapsed / u32::try_from(count).unwrap_or(u32::MAX);
                for (mut job, output) in running.into_iter().zip(outputs) {
                    job.times.queue += waited;
                    job.times.infer += elapsed;
                    job.times.share += share;
                    job.times.batch = count;
                    let first = job.times.moments.run.map_or(started, |(first, _)| first);
                    job.times.moments.run = Some((first, ended));
                    job.waiting = ended;
                    self.proceed(job, output);
                }
            }
            Ok(_) => fail_all(running, &defect()),
            Err(error) => fail_all(running, &error),
        }
    }

    /// After a run: on to the next one, or to the answer.
    fn proceed(&self, mut job: Job, output: Activation) {
        if output.cut < job.line.engine.manifest().last_cut() {
            job.stage = Stage::Ready(output);
            return self.requeue(job);
        }
        job.line.observe(job.times.unpack + job.times.share);
        match output.into_tensors() {
            Ok(outputs) => job.finish(outputs),
            Err(error) => job.fail(error),
        }
    }
}

/// A panic costs the requests that it was about.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a worker panicked")))
}

fn fail_all(jobs: Vec<Job>, error: &Error) {
    let text = error.to_string();
    for job in jobs {
        job.fail(Error::new(error.kind(), text.clone()));
    }
}

/// Empties `inputs` for activations of a cut.
fn begin(inputs: &mut Stack, manifest: &Manifest, cut: usize) -> Result<()> {
    let row = manifest.cuts.get(cut).ok_or_else(|| {
        Error::new(
            ErrorKind::Internal,
            format!("the engine named cut {cut}, which the model has not"),
        )
    })?;
    inputs.begin(row)
}

impl Job {
    /// Adds what it is run with to `inputs`, decoded now if it came as a body; it waits for the rest of its batch then.
    fn enter(&mut self, inputs: &mut Stack) -> Result<()> {
        let before = inputs.len();
        let entered = self.add_to(inputs).and_then(|()| {
            if inputs.len() == before + 1 {
                Ok(())
            } else {
                Err(defect())
            }
        });
        if entered.is_err() {
            // What an engine left there is nobody's.
            while inputs.len() > before {
                inputs.pop();
            }
        }
        entered
    }

    fn add_to(&mut self, inputs: &mut Stack) -> Result<()> {
        match self.take_stage() {
            Stage::Ready(activation) => inputs.push(&activation)?,
            Stage::Body(body, kind) => {
                let started = Instant::now();
                self.times.queue += started.saturating_duration_since(self.waiting);
                guarded(|| self.line.engine.decode(&body, kind, inputs))?;
                self.waiting = Instant::now();
                self.times.moments.unpack = Some(started);
                self.times.unpack = self.waiting.saturating_duration_since(started);
            }
            Stage::Taken => {}
        }
        Ok(())
    }
}

fn late() -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        "the deadline passed before there was an answer",
    )
}

fn defect() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the engine lost activations of a batch",
    )
}
