//! The life of one inference, from pixels to labels.
//!
//! [`Client`] is the one object an app holds. A call stages the photo, chooses a plan, runs the
//! head, packs, sends, and reports; where the network fails, it finishes on the device from the
//! cut, so that nothing is computed twice. Which mode does what is data: [`ExecutionMode`] and
//! `docs/modes.md`.

mod access;
mod background;
mod breaker;
mod config;
mod exchange;
mod http;
mod inference;
pub mod labels;
mod learning;
mod local;
mod mode;
mod probe;
mod random;
mod remote;
mod report;
mod second_look;
mod shared;
mod stream;
mod transport;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use config::{ClientConfig, MAX_REMOTE_DEADLINE};
pub use http::{HttpOptions, HttpTransport, Token};
pub use labels::{Label, MAX_TOP_K, top_k};
pub use mode::{
    ExecutionMode, First, IfDeviceFails, IfServerFails, ModePolicy, Outcome, Situation, table,
};
pub use report::{Fallback, Inference, RanOn, StageTimes};
pub use stream::{
    DEFAULT_IN_FLIGHT, InferStream, Keep, MAX_IN_FLIGHT, StreamOptions, StreamedInference,
};
pub use transport::{
    BodyKind, Probed, ServerLoad, ServerTiming, TailAnswer, TailRequest, Transport,
};

use futures_util::Stream;

use crate::Result;
use crate::bundle::{Bundle, Calibration, Manifest, Profile};
use crate::pixels::{Frame, Pixels};
use crate::runtime::Executor;
use crate::schedule::{Explanation, Network, NetworkKind};
use shared::Shared;

/// Runs inferences of one model, here and on a server. Cheap to clone; calls may run at once.
///
/// Its async functions need a tokio runtime with time enabled; not inside a `LocalSet` of a runtime with several threads, where
/// tokio panics when blocking work stays on its thread. A future that is dropped cancels
/// its inference: the span under way is terminated and the request abandoned.
///
/// ```no_run
/// use std::path::Path;
/// use std::sync::Arc;
///
/// use dyno_core::bundle::Bundle;
/// use dyno_core::client::{Client, ClientConfig, HttpOptions, HttpTransport};
/// use dyno_core::pixels::Photo;
/// use dyno_core::runtime::Executor;
///
/// # async fn example(executor: Arc<dyn Executor>) -> dyno_core::Result<()> {
/// let bundle = Bundle::open(Path::new("shapes.dyno"))?;
/// let outputs = bundle.manifest().outputs.clone();
/// let server = HttpTransport::new("http://127.0.0.1:8600", outputs, HttpOptions::default())?;
/// let client = Client::new(
///     &bundle,
///     executor,
///     Some(Arc::new(server)),
///     ClientConfig::default(),
/// )?;
/// client.warm_up().await?;
///
/// let photo = Photo::decode(&std::fs::read("cat.jpg").unwrap_or_default())?;
/// let inference = client.infer_pixels(&photo.pixels()?).await?;
/// for label in &inference.top {
///     println!("{:.3} {}", label.score, label.label);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What a bundle knows besides its manifest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// Times of the machine that prepared it.
    pub profile: Option<&'a Profile>,
    /// What each precision costs.
    pub calibration: Option<&'a Calibration>,
}

impl<'a> From<Option<&'a Profile>> for Known<'a> {
    fn from(profile: Option<&'a Profile>) -> Self {
        Self {
            profile,
            calibration: None,
        }
    }
}

/// A photo at the model's size, ready to be inferred. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Staged {
    frame: Arc<Frame>,
    preprocess_ms: f64,
}

impl Client {
    /// A client for the model in `bundle`. `executor` runs its spans; without a `transport`
    /// everything runs on the device.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the configuration makes no sense, or asks for
    /// a server that was not given.
    pub fn new(
        bundle: &Bundle,
        executor: Arc<dyn Executor>,
        transport: Option<Arc<dyn Transport>>,
        config: ClientConfig,
    ) -> Result<Self> {
        let manifest = Arc::new(bundle.manifest().clone());
        let known = Known {
            profile: bundle.profile(),
            calibration: bundle.calibration(),
        };
        Self::from_parts(manifest, known, executor, transport, config)
    }

    /// The same from a bundle's parts, for executors that have no bundle on disk.
    pub fn from_parts<'a>(
        manifest: Arc<Manifest>,
        known: impl Into<Known<'a>>,
        executor: Arc<dyn Executor>,
        transport: Option<Arc<dyn Transport>>,
        config: ClientConfig,
    ) -> Result<Self> {
        let shared = Shared::new(manifest, known.into(), executor, transport, config)?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Brings a photo to the model's size, in one pass over the borrowed pixels.
    ///
    /// Fails with [`ErrorKind::InvalidImage`](crate::ErrorKind::InvalidImage) if they cannot be.
    pub fn stage(&self, pixels: &Pixels<'_>) -> Result<Staged> {
        let started = Instant::now();
        let frame = Frame::stage(pixels, &self.shared.manifest.preprocess)?;
        Ok(Staged {
            frame: Arc::new(frame),
            preprocess_ms: ms(started.elapsed()),
        })
    }

    /// Infers a staged photo.
    ///
    /// Fails where the mode leaves no way to an answer (`docs/modes.md`): with the kinds of
    /// [`Transport::infer`] if only the server may answer, with
    /// [`Runtime`](crate::ErrorKind::Runtime) if the device fails and nothing else may.
    pub async fn infer(&self, staged: Staged) -> Result<Inference> {
        inference::infer(&self.shared, staged).await
    }

    /// [`stage`](Self::stage), on the calling thread, and [`infer`](Self::infer).
    pub async fn infer_pixels(&self, pixels: &Pixels<'_>) -> Result<Inference> {
        let staged = self.stage(pixels)?;
        self.infer(staged).await
    }

    /// Infers a stream of staged photos. Device, network and server work on successive frames at
    /// once, so that answers come as fast as the slowest of them (`docs/streams.md`). They come in
    /// the order of the frames; a frame that fails is an item too, and the stream goes on to the
    /// last one. Dropping the stream cancels everything under way.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the options make no sense, or outside of a tokio
    /// runtime.
    ///
    /// ```no_run
    /// use dyno_core::client::{Client, Keep, Staged, StreamOptions};
    /// use futures_util::{Stream, StreamExt as _};
    ///
    /// # async fn example(
    /// #     client: Client,
    /// #     camera: impl Stream<Item = Staged> + Send + 'static,
    /// # ) -> dyno_core::Result<()> {
    /// let options = StreamOptions { keep: Keep::Latest, ..StreamOptions::default() };
    /// let mut answers = client.infer_stream(camera, options)?;
    /// while let Some(frame) = answers.next().await {
    ///     match frame.answer {
    ///         Ok(inference) => println!("{}: {:?}", frame.seq, inference.top.first()),
    ///         Err(error) => eprintln!("{}: {error}", frame.seq),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn infer_stream<S>(&self, frames: S, options: StreamOptions) -> Result<InferStream>
    where
        S: Stream<Item = Staged> + Send + 'static,
    {
        InferStream::start(&self.shared, frames, options)
    }

    /// The plan that a call would follow now, every plan it was chosen from, and why.
    pub fn explain(&self) -> Explanation {
        self.shared.explain()
    }

    /// Tells the client which network carries the default route now, and whether bytes cost money
    /// there. Call it when that changes, not with every report of the network's strength.
    ///
    /// The next request opens a new connection and is planned with what is known of this network;
    /// failures on the old one are forgotten, refusals are not. Requests under way end, and the
    /// device goes on in their place; where only the server may answer they are waited for.
    /// With [`NetworkKind::None`] nothing is sent until another kind is reported: also what an
    /// app reports while it is in the background.
    pub fn on_network_changed(&self, kind: NetworkKind, metered: bool) {
        self.shared.network_changed(Network { kind, metered });
    }

    /// Opens the connection and builds the spans of the plan that would be chosen now, so that
    /// the first inference waits for neither; the first time the whole model also runs once on zeros, so that
    /// the first plan knows how fast this device is.
    ///
    /// Fails if the spans cannot be built; if the server cannot be reached, only in modes in
    /// which nothing else answers.
    pub async fn warm_up(&self) -> Result<()> {
        let connected = self.shared.connect().await;
        self.shared.prepare_spans().await?;
        match (connected, self.shared.policy.if_server_fails) {
            (Err(error), IfServerFails::Fail) => Err(error),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("model", &self.shared.manifest.model)
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

/// The clock of the runtime, so that tests can pass time.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
