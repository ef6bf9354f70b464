//! Generators: threads that send requests when they are due, or one after the other.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::bodies::{Bodies, Prepared};
use super::connection::{Connections, Outcome, exchange};
use super::cores::Cores;
use super::mix::{Job, Manner, Mix, Shares};
use super::pacer::paced;
use super::schedule::{Arrivals, Schedule};
use super::tally::Tally;

/// Requests that one generator has under way at most; one that is due beyond them is counted as
/// not sent.
const MAX_OPEN: u32 = 10_000;
/// Rest of a closed loop after a request that was refused or has no answer: a server that has no room, or has
/// gone, is not asked as fast as it says so.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// What tells the seeds of generators and steps apart.
const SEED_STEP: u64 = 0x9e37_79b9;

/// Who sends, and how.
#[derive(Debug, Clone)]
pub(super) struct Generators {
    pub(super) to: SocketAddr,
    pub(super) threads: usize,
    pub(super) cores: Option<Cores>,
    /// Of all threads together.
    pub(super) connections: usize,
    pub(super) arrivals: Arrivals,
    pub(super) seed: u64,
    pub(super) warm_up: Duration,
    /// Clients that give up do so within this time.
    pub(super) cancel_within: Duration,
    /// Requests answered later than this do not count as good.
    pub(super) deadline: Option<Duration>,
}

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Load {
    /// Open loop: so many arrivals a second, whatever becomes of them.
    Rate(f64),
    /// Closed loop: so many requests under way, each followed by the next.
    InFlight(usize),
}

impl Generators {
    /// Sends for the warm-up and then for `time`; what was due within `time` is counted.
    pub(super) fn run(
        &self,
        bodies: &Arc<Bodies>,
        load: Load,
        shares: Shares,
        time: Duration,
        step: u64,
    ) -> Result<Tally> {
        // No thread without a request to have under way.
        let threads = match load {
            Load::Rate(_) => self.threads,
            Load::InFlight(count) => self.threads.min(count),
        }
        .max(1);
        let tallies = std::thread::scope(|scope| {
            let generators: Vec<_> = (0..threads)
                .map(|thread| {
                    let part = match load {
                        Load::Rate(rate) => Load::Rate(rate / threads as f64),
                        // The first ones take what is left over.
                        Load::InFlight(count) => {
                            Load::InFlight((count + threads - 1 - thread) / threads)
                        }
                    };
                    let seed = self.seed.wrapping_add(
                        SEED_STEP.wrapping_mul(step.wrapping_mul(1 << 16) + thread as u64),
                    );
                    let generator = Generator {
                        plan: self.clone(),
                        shares,
                        bodies: Arc::clone(bodies),
                        load: part,
                        connections: self.connections.div_ceil(threads),
                        seed,
                        time,
                    };
                    scope.spawn(move || {
                        if let Some(cores) = &generator.plan.cores {
                            cores.pin_this_thread()?;
                        }
                        generator.run()
                    })
                })
                .collect();
            generators
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("a generator failed"))?)
                .collect::<Result<Vec<Tally>>>()
        })?;
        let mut all = Tally::new()?;
        for tally in &tallies {
            all.merge(tally);
        }
        Ok(all)
    }
}

/// One thread's part.
struct Generator {
    plan: Generators,
    shares: Shares,
    bodies: Arc<Bodies>,
    load: Load,
    connections: usize,
    seed: u64,
    time: Duration,
}

/// What the requests of one generator share.
struct Shared {
    bodies: Arc<Bodies>,
    tally: Mutex<Tally>,
    deadline: Option<Duration>,
    cancel_within: Duration,
    /// What is due from here on counts, ...
    from: Instant,
    /// ... up to here.
    to: Instant,
}

impl Generator {
    fn run(self) -> Result<Tally> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a generator")?;
        runtime.block_on(self.generate())
    }

    async fn generate(self) -> Result<Tally> {
        let connections = Connections::open(self.plan.to, self.connections).await?;
        let mix = Mix::new(
            self.shares,
            self.bodies.good.len(),
            self.bodies.bad.len(),
            self.seed,
        );
        let from = Instant::now() + self.plan.warm_up;
        let shared = Arc::new(Shared {
            bodies: Arc::clone(&self.bodies),
            tally: Mutex::new(Tally::new()?),
            deadline: self.plan.deadline,
            cancel_within: self.plan.cancel_within,
            from,
            to: from + self.time,
        });
        match self.load {
            Load::Rate(rate) => {
                let schedule = Schedule::new(self.plan.arrivals, rate, self.seed);
                open_loop(&shared, &connections, mix, schedule).await?;
            }
            Load::InFlight(count) => {
                let mix = Arc::new(Mutex::new(mix));
                closed_loop(&shared, connections, &mix, count).await;
            }
        }
        let tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tally.clone())
    }
}

async fn open_loop(
    shared: &Arc<Shared>,
    connections: &Connections,
    mut mix: Mix,
    schedule: Schedule,
) -> Result<()> {
    let mut times = paced(schedule, Instant::now(), shared.to)?;
    let room = Arc::new(Semaphore::new(MAX_OPEN as usize));
    while let Some(due) = times.recv().await {
        let job = mix.next();
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            if shared.counts(due) {
                shared.tally().left_out(job.manner);
            }
            continue;
        };
        let sender = connections.next(job.manner);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let lag = due.elapsed();
            let outcome = shared.exchange(sender, job).await;
            shared.add(job.manner, &outcome, due, lag);
            drop(place);
        });
    }
    // All of them: every request has ended, for each has a limit to its patience.
    let _all = room.acquire_many(MAX_OPEN).await?;
    Ok(())
}

async fn closed_loop(
    shared: &Arc<Shared>,
    connections: Connections,
    mix: &Arc<Mutex<Mix>>,
    count: usize,
) {
    let connections = Arc::new(connections);
    let mut loops = JoinSet::new();
    for _ in 0..count {
        let (shared, mix) = (Arc::clone(shared), Arc::clone(mix));
        let connections = Arc::clone(&connections);
        loops.spawn(async move {
            while Instant::now() < shared.to {
                let job = mix.lock().unwrap_or_else(PoisonError::into_inner).next();
                let due = Instant::now();
                let sender = connections.next(job.manner);
                let outcome = shared.exchange(sender, job).await;
                shared.add(job.manner, &outcome, due, Duration::ZERO);
                if outcome.is_refusal() || matches!(outcome, Outcome::Failed(_)) {
                    tokio::time::sleep(AFTER_REFUSAL).await;
                }
            }
        });
    }
    while loops.join_next().await.is_some() {}
}

impl Shared {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self, due: Instant) -> bool {
        (self.from..self.to).contains(&due)
    }

    async fn exchange(&self, sender: SendRequest<Bytes>, job: Job) -> Outcome {
        exchange(sender, self.request(job), job, self.cancel_within).await
    }

    fn request(&self, job: Job) -> &Prepared {
        match job.manner {
            Manner::Bad => &self.bodies.bad[job.body],
            _ => &self.bodies.good[job.body],
        }
    }

    fn add(&self, manner: Manner, outcome: &Outcome, due: Instant, lag: Duration) {
        if self.counts(due) {
            let took = due.elapsed();
            self.tally().add(manner, outcome, lag, took, self.deadline);
        }
    }
}
