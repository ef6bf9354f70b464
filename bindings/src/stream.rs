//! Streams of frames across the boundary: frames are pushed in, answers are taken out.

use std::sync::{Arc, Mutex, PoisonError};

use dyno_core::client::{self, Staged};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::client::Inner;
use crate::error::{DynoError, ErrorKind, Result};
use crate::frame::Frame;
use crate::inference::Inference;
use crate::runtime;

/// What becomes of frames that arrive faster than they can be inferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum Keep {
    /// One waits, and a newer one takes its place: a camera's.
    Latest,
    /// All wait where they come from.
    All,
}

/// How a stream runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct StreamOptions {
    /// What becomes of frames that arrive too fast.
    pub keep: Keep,
    /// Most frames that have begun and whose answers have not been taken: 1 to 32.
    #[uniffi(default = 8)]
    pub max_in_flight: u32,
}

/// What became of one frame of a stream.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct StreamedInference {
    /// The frame's number, from 0; frames that were dropped have one as well.
    pub seq: u64,
    /// Frames dropped between this one and the last that was not.
    pub dropped_before: u64,
    /// From the frame's arrival until it was answered, and all before it were, in milliseconds.
    pub latency_ms: f64,
    /// The answer, or why there is none: the stream goes on in either case.
    pub answer: StreamAnswer,
}

/// The answer to one frame of a stream.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
#[allow(
    clippy::large_enum_variant,
    reason = "a box would not cross the boundary"
)]
pub enum StreamAnswer {
    /// It was answered.
    Answered {
        /// The answer.
        inference: Inference,
    },
    /// It was not.
    Failed {
        /// What went wrong.
        kind: ErrorKind,
        /// How, for people.
        reason: String,
        /// For how long the server asked to be left alone, in milliseconds.
        retry_after_ms: Option<u64>,
    },
}

/// A stream under way. Letting it go cancels everything in it.
#[derive(uniffi::Object)]
pub struct InferStream {
    inner: Arc<Inner>,
    /// None once the last frame has been pushed.
    frames: Mutex<Option<mpsc::Sender<Staged>>>,
    /// None once cancelled: nothing of it goes on then.
    answers: AsyncMutex<Option<client::InferStream>>,
    /// Set when the stream is cancelled or its client closed.
    ended: CancellationToken,
}

impl InferStream {
    pub(crate) fn open(inner: Arc<Inner>, options: StreamOptions) -> Result<Arc<Self>> {
        let options = client::StreamOptions {
            keep: match options.keep {
                Keep::Latest => client::Keep::Latest,
                Keep::All => client::Keep::All,
            },
            max_in_flight: options.max_in_flight as usize,
        };
        // One frame on its way: what is kept or dropped is core's to decide.
        let (sender, receiver) = mpsc::channel(1);
        let client = inner.client()?;
        let _entered = runtime::runtime()?.enter();
        let answers = client.infer_stream(stream_of(receiver), options)?;
        Ok(Arc::new(Self {
            // Closing the client ends its streams.
            ended: inner.closed().child_token(),
            inner,
            frames: Mutex::new(Some(sender)),
            answers: AsyncMutex::new(Some(answers)),
        }))
    }
}

#[uniffi::export]
impl InferStream {
    /// Hands a frame in. Returns when there is room for another: at once where the latest is kept.
    pub async fn push(&self, frame: Arc<Frame>) -> Result<()> {
        let sender = {
            let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
            frames.clone()
        };
        let Some(sender) = sender else {
            return Err(DynoError::invalid("the stream was finished: open another"));
        };
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Err(ended_error()),
            sent = sender.send(frame.staged.clone()) => {
                sent.map_err(|_| ended_error())
            }
        }
    }

    /// The next answer, in the order of the frames; none after the last.
    pub async fn next(self: Arc<Self>) -> Result<Option<StreamedInference>> {
        runtime::run(async move {
            let mut answers = self.answers.lock().await;
            let Some(stream) = answers.as_mut() else {
                return Err(ended_error());
            };
            tokio::select! {
                biased;
                () = self.ended.cancelled() => {
                    *answers = None;
                    Err(ended_error())
                }
                next = stream.next() => {
                    // Cancelled just now: whoever did it found the lock taken.
                    if self.ended.is_cancelled() {
                        *answers = None;
                    }
                    Ok(next.map(|next| self.report(next)))
                }
            }
        })
        .await
    }

    /// Ends the stream: what waits for it, and what asks later, fails with `cancelled`. For languages
    /// whose tasks do not cancel the call themselves (Swift).
    pub fn cancel(&self) -> Result<()> {
        self.ended.cancel();
        // Whoever waits for an answer holds the lock, and lets go of everything itself.
        if let Ok(mut answers) = self.answers.try_lock() {
            *answers = None;
        }
        Ok(())
    }

    /// There are no more frames: the answers end after the last one.
    pub fn finish(&self) -> Result<()> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        *frames = None;
        Ok(())
    }
}

impl InferStream {
    fn report(&self, next: client::StreamedInference) -> StreamedInference {
        let counting = self.inner.counter().begin();
        if let Ok(inference) = &next.answer {
            counting.answered(inference);
        }
        StreamedInference {
            seq: next.seq,
            dropped_before: next.dropped_before,
            latency_ms: next.latency_ms,
            answer: match next.answer {
                Ok(inference) => StreamAnswer::Answered {
                    inference: self.inner.report(inference),
                },
                Err(error) => {
                    let DynoError::Failed {
                        kind,
                        reason,
                        retry_after_ms,
                    } = error.into();
                    StreamAnswer::Failed {
                        kind,
                        reason,
                        retry_after_ms,
                    }
                }
            },
        }
    }
}

fn ended_error() -> DynoError {
    DynoError::new(
        ErrorKind::Cancelled,
        "the stream was cancelled, or its client closed",
    )
}

fn stream_of(mut receiver: mpsc::Receiver<Staged>) -> impl Stream<Item = Staged> + Send + 'static {
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
}
