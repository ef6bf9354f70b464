//! Streams of frames: device, network and server work on successive frames at once.
//!
//! While one frame's tail runs on the server the next one's activation is on its way and the head of
//! the one after that is computed, so that frames come as fast as the slowest stage, not as slowly as
//! all of them together. What is under way is bounded by [`StreamOptions::max_in_flight`].

mod pipeline;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;

use self::pipeline::Pipeline;
use super::shared::Shared;
use super::{Inference, Staged};
use crate::{Error, ErrorKind, Result};

/// Most frames that a stream may have under way.
pub const MAX_IN_FLIGHT: usize = 32;
/// Frames under way unless told otherwise: enough where the answer is eight times the slowest stage
/// away.
pub const DEFAULT_IN_FLIGHT: usize = 8;

/// What becomes of frames that arrive faster than they can be inferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Keep {
    /// One waits, and a newer one takes its place: a camera's, which is to be answered for what it
    /// sees now.
    #[default]
    Latest,
    /// All wait where they come from: the next one is asked for when there is room for it.
    All,
}

/// How a stream runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// What becomes of frames that arrive too fast.
    pub keep: Keep,
    /// Most frames that have begun and whose answers have not been taken: 1 to [`MAX_IN_FLIGHT`]. A
    /// bound of memory; fewer begin where more would only wait for each other.
    pub max_in_flight: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            keep: Keep::Latest,
            max_in_flight: DEFAULT_IN_FLIGHT,
        }
    }
}

impl StreamOptions {
    /// Fails with [`ErrorKind::InvalidArgument`] if no stream could run so.
    pub fn check(&self) -> Result<()> {
        if (1..=MAX_IN_FLIGHT).contains(&self.max_in_flight) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "max_in_flight must be 1 to {MAX_IN_FLIGHT}, got {}",
                self.max_in_flight
            ),
        ))
    }
}

/// What became of one frame of a stream.
#[derive(Debug)]
#[non_exhaustive]
pub struct StreamedInference {
    /// The frame's number, from 0; frames that were dropped have one as well.
    pub seq: u64,
    /// Frames dropped between this one and the last that was not.
    pub dropped_before: u64,
    /// From the frame's arrival until it was answered, and all before it were, in milliseconds.
    pub latency_ms: f64,
    /// The answer, or why there is none: the stream goes on in either case.
    pub answer: Result<Inference>,
}

/// The answers to a stream's frames, in the order of the frames.
///
/// It works whether or not it is polled, as far as its bound goes. Dropping it cancels everything
/// under way.
#[derive(Debug)]
pub struct InferStream {
    answers: mpsc::Receiver<Answered>,
    /// The one task that runs the pipeline.
    driver: JoinSet<()>,
}

/// An answer on its way to whoever takes it, and its room among those under way.
#[derive(Debug)]
struct Answered {
    inference: StreamedInference,
    _room: OwnedSemaphorePermit,
}

impl InferStream {
    /// Fails with [`ErrorKind::InvalidArgument`] if the options make no sense or there is no runtime.
    pub(super) fn start<S>(client: &Arc<Shared>, frames: S, options: StreamOptions) -> Result<Self>
    where
        S: Stream<Item = Staged> + Send + 'static,
    {
        options.check()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::with_source(
                ErrorKind::InvalidArgument,
                "a stream must be started within a tokio runtime",
                error,
            )
        })?;
        // Never full: each answer in it holds its room.
        let (sender, answers) = mpsc::channel(options.max_in_flight);
        let pipeline = Pipeline::new(client, frames, options, sender);
        let mut driver = JoinSet::new();
        driver.spawn_on(pipeline.run(), &runtime);
        Ok(Self { answers, driver })
    }
}

impl Stream for InferStream {
    type Item = StreamedInference;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(answered) = ready!(self.answers.poll_recv(cx)) {
            return Poll::Ready(Some(answered.inference));
        }
        match ready!(self.driver.poll_join_next(cx)) {
            // What panicked panics where it is waited for, as it does without a stream.
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Poll::Ready(None),
        }
    }
}
