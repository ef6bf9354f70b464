//! The task behind a stream: takes frames, begins calls, and hands on their answers in order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};

use super::super::access::{Access, Turn, Turns};
use super::super::inference::Call;
use super::super::shared::{Flow, Shared};
use super::super::{Inference, Staged, ms, now};
use super::{Answered, Keep, StreamOptions, StreamedInference};
use crate::Result;
use crate::schedule::{Next, Overlap, UnderWay};

/// A stream's frames, and what became of those that have begun.
pub(super) struct Pipeline<S> {
    client: Arc<Shared>,
    frames: Pin<Box<S>>,
    has_ended: bool,
    keep: Keep,
    /// Whoever computes on the device: heads, and tails that the device resumes.
    turns: Arc<Turns>,
    max_in_flight: usize,
    room: Arc<Semaphore>,
    /// Room for the next frame.
    next_room: Option<OwnedSemaphorePermit>,
    next_seq: u64,
    dropped: u64,
    /// The frame that begins next.
    waiting: Option<Waiting>,
    calls: JoinSet<(u64, Result<Inference>)>,
    /// What the last plan says of the next frames.
    overlap: Overlap,
    /// Frames that have begun, in order, until their answers are handed on.
    begun: VecDeque<Begun>,
    answers: mpsc::Sender<Answered>,
}

struct Waiting {
    seq: u64,
    staged: Staged,
    arrived: Instant,
}

struct Begun {
    seq: u64,
    dropped_before: u64,
    arrived: Instant,
    room: OwnedSemaphorePermit,
    /// What it adds to what is under way.
    remote: UnderWay,
    answer: Option<Result<Inference>>,
}

impl<S: Stream<Item = Staged> + Send + 'static> Pipeline<S> {
    pub(super) fn new(
        client: &Arc<Shared>,
        frames: S,
        options: StreamOptions,
        answers: mpsc::Sender<Answered>,
    ) -> Self {
        Self {
            client: client.clone(),
            frames: Box::pin(frames),
            has_ended: false,
            keep: options.keep,
            turns: Arc::default(),
            max_in_flight: options.max_in_flight,
            room: Arc::new(Semaphore::new(options.max_in_flight)),
            next_room: None,
            next_seq: 0,
            dropped: 0,
            waiting: None,
            calls: JoinSet::new(),
            overlap: Overlap::FIRST,
            begun: VecDeque::with_capacity(options.max_in_flight),
            answers,
        }
    }

    /// Runs to the end of the frames, or until nobody takes answers. Dropping it cancels every call.
    pub(super) async fn run(mut self) {
        while self.is_wanted() {
            let waits = self.overlap.next(&self.under_way()) == Next::Waits;
            let may_begin = self.next_room.is_some() && !waits;
            let wants_frame = match self.keep {
                Keep::Latest => true,
                Keep::All => self.waiting.is_none() && may_begin,
            };
            let next = self.waiting.as_ref().map(|waiting| waiting.seq);
            // What has ended first, and frames last: with Keep::Latest they may come without end.
            tokio::select! {
                biased;
                Some(ended) = self.calls.join_next() => self.end(ended),
                room = self.room.clone().acquire_owned(), if self.next_room.is_none() => {
                    self.next_room = room.ok();
                }
                turn = self.turns.turn(next.unwrap_or_default()), if may_begin && next.is_some() => {
                    self.begin(turn);
                }
                frame = self.frames.next(), if wants_frame && !self.has_ended => {
                    self.arrive(frame);
                    tokio::task::consume_budget().await;
                }
                () = self.answers.closed() => return,
            }
        }
    }

    fn is_wanted(&self) -> bool {
        !(self.has_ended && self.waiting.is_none() && self.begun.is_empty())
    }

    /// The calls that use the server and are without an answer.
    fn under_way(&self) -> UnderWay {
        let open = self.begun.iter().filter(|begun| begun.answer.is_none());
        open.map(|begun| begun.remote).sum()
    }

    fn arrive(&mut self, frame: Option<Staged>) {
        let Some(staged) = frame else {
            self.has_ended = true;
            return;
        };
        let arrived = Waiting {
            seq: self.next_seq,
            staged,
            arrived: now(),
        };
        self.next_seq += 1;
        if self.waiting.replace(arrived).is_some() {
            self.dropped += 1;
        }
    }

    fn begin(&mut self, turn: Turn) {
        let (Some(waiting), Some(room)) = (self.waiting.take(), self.next_room.take()) else {
            return;
        };
        let Waiting {
            seq,
            staged,
            arrived,
        } = waiting;
        let flow = Flow {
            under_way: self.under_way(),
            room: self.max_in_flight,
        };
        let (call, overlap) = Call::begin_in_stream(&self.client, staged, flow);
        self.overlap = overlap;
        let remote = UnderWay::of(&call.expected);
        self.begun.push_back(Begun {
            seq,
            dropped_before: std::mem::take(&mut self.dropped),
            arrived,
            room,
            remote,
            answer: None,
        });
        let access = Access::in_turn(self.turns.clone(), seq, turn);
        let call = call.with_access(access);
        self.calls.spawn(async move { (seq, call.answer().await) });
    }

    fn end(&mut self, ended: Result<(u64, Result<Inference>), JoinError>) {
        let (seq, answer) = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down, and this task with it.
            Err(_) => return,
        };
        if let Some(begun) = self.begun.iter_mut().find(|begun| begun.seq == seq) {
            begun.answer = Some(answer);
        }
        while let Some((begun, answer)) = self.next_answered() {
            let waited = now().saturating_duration_since(begun.arrived);
            let inference = StreamedInference {
                seq: begun.seq,
                dropped_before: begun.dropped_before,
                latency_ms: ms(waited),
                answer,
            };
            // Whether anybody takes it is looked at in every turn of the loop.
            let _ = self.answers.try_send(Answered {
                inference,
                _room: begun.room,
            });
        }
    }

    /// The oldest frame, if it is answered.
    fn next_answered(&mut self) -> Option<(Begun, Result<Inference>)> {
        let answer = self.begun.front_mut()?.answer.take()?;
        Some((self.begun.pop_front()?, answer))
    }
}
