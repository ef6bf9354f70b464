//! The client that apps hold, behind the hand-written `DynoClient` of each language.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dyno_core::bundle::{Bundle, Manifest};
use dyno_core::client::{Client, HttpTransport, Staged, Transport};
use dyno_core::pixels::Photo;
use dyno_core::runtime::DeviceExecutor;
use tokio_util::sync::CancellationToken;

use crate::config::{ClientConfig, ServerConfig};
use crate::error::{DynoError, ErrorKind, Result};
use crate::explain::Explanation;
use crate::frame::{Frame, PixelLayout, YuvLayout};
use crate::inference::Inference;
use crate::jni_door;
use crate::network::NetworkKind;
use crate::plan::count;
use crate::runtime;
use crate::stats::{Counter, Counting, DynoStats, StatsListener};
use crate::stream::{InferStream, StreamOptions};
use crate::tickets::Tickets;

/// Runs inferences of one model, here and on a server. Calls may run at once, on any thread.
#[derive(uniffi::Object)]
pub struct NativeClient {
    inner: Arc<Inner>,
}

/// What a client knows of its model.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct ModelInfo {
    /// Name of the model.
    pub name: String,
    /// Hash of the bundle: the server holds the same one.
    pub hash: String,
    /// Width of the model's input, in pixels.
    pub width: u32,
    /// Height of the model's input, in pixels.
    pub height: u32,
    /// Names of the classes; empty if the bundle has none.
    pub labels: Vec<String>,
    /// Whether answers have labels.
    pub is_classifier: bool,
    /// Index of the last cut.
    pub last_cut: u32,
}

/// What calls, streams and the JNI door share.
pub(crate) struct Inner {
    /// None once closed.
    client: Mutex<Option<Client>>,
    closed: CancellationToken,
    manifest: Arc<Manifest>,
    /// Names of the outputs that answers carry, if they do.
    output_names: Option<Vec<String>>,
    tickets: Tickets<Staged>,
    counter: Arc<Counter>,
}

#[uniffi::export]
impl NativeClient {
    /// Opens a bundle and loads ONNX Runtime: some 100 ms of reading, off the main thread.
    /// Connects to nothing.
    ///
    /// Fails with `invalid_bundle` or `io` if the bundle cannot be read, `runtime` if ONNX Runtime
    /// cannot be loaded, `invalid_argument` if the configuration makes no sense.
    #[uniffi::constructor]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "records cross the boundary by value"
    )]
    pub fn open(config: ClientConfig) -> Result<Arc<Self>> {
        let threads = config.checked_threads()?;
        let core_config = config.to_core()?;
        dyno_core::runtime::load(config.onnxruntime.as_deref().map(Path::new))?;
        let bundle = Arc::new(Bundle::open(Path::new(&config.bundle))?);
        let executor = Arc::new(DeviceExecutor::new(bundle.clone(), threads)?);
        let transport = match &config.server {
            None => None,
            Some(server) => Some(transport(server, bundle.manifest())?),
        };
        let client = Client::new(&bundle, executor, transport, core_config)?;
        let manifest = Arc::new(bundle.manifest().clone());
        let output_names = (config.raw_outputs || !manifest.is_classifier()).then(|| {
            manifest
                .outputs
                .iter()
                .map(|spec| spec.name.clone())
                .collect()
        });
        Ok(Arc::new(Self {
            inner: Arc::new(Inner {
                client: Mutex::new(Some(client)),
                closed: CancellationToken::new(),
                manifest,
                output_names,
                tickets: Tickets::default(),
                counter: Arc::new(Counter::default()),
            }),
        }))
    }

    /// What this client knows of its model.
    pub fn model(&self) -> Result<ModelInfo> {
        let manifest = &self.inner.manifest;
        Ok(ModelInfo {
            name: manifest.model.clone(),
            hash: manifest.hash.as_str().to_owned(),
            width: count(manifest.preprocess.width),
            height: count(manifest.preprocess.height),
            labels: manifest.labels.clone(),
            is_classifier: manifest.is_classifier(),
            last_cut: count(manifest.last_cut()),
        })
    }

    /// Brings pixels to the model's size, in one pass over the borrowed buffer, on this thread.
    ///
    /// Fails with `invalid_image` if the layout does not add up.
    pub fn stage(&self, pixels: &[u8], layout: PixelLayout) -> Result<Arc<Frame>> {
        let client = self.inner.client()?;
        Ok(Frame::new(client.stage(&layout.lay_out(pixels)?)?))
    }

    /// The same from the three planes of a YUV 4:2:0 picture.
    pub fn stage_yuv(&self, y: &[u8], u: &[u8], v: &[u8], layout: YuvLayout) -> Result<Arc<Frame>> {
        let client = self.inner.client()?;
        Ok(Frame::new(client.stage(&layout.lay_out(y, u, v)?)?))
    }

    /// The same from a JPEG, PNG or WebP file's bytes.
    ///
    /// Fails with `invalid_image` if they are no such image.
    pub fn stage_encoded(&self, bytes: &[u8]) -> Result<Arc<Frame>> {
        let client = self.inner.client()?;
        let photo = Photo::decode(bytes)?;
        Ok(Frame::new(client.stage(&photo.pixels()?)?))
    }

    /// Infers a staged frame. Dropping the future, or [`Frame::cancel`], stops it: the run on the
    /// device ends at the next operator and the request's stream is reset.
    ///
    /// Fails where the mode leaves no way to an answer, with `cancelled` if it was cancelled or
    /// the client was closed.
    pub async fn infer(&self, frame: Arc<Frame>) -> Result<Inference> {
        self.run(frame.staged.clone(), frame.cancelled.clone())
            .await
    }

    /// Infers a frame that the JNI door staged.
    pub async fn infer_ticket(&self, ticket: u64) -> Result<Inference> {
        let staged = self.inner.tickets.redeem(ticket)?;
        self.run(staged, CancellationToken::new()).await
    }

    /// The number by which the JNI door finds this client; it is for this object's life only.
    pub fn door(&self) -> Result<u64> {
        Ok(jni_door::register(&self.inner))
    }

    /// Starts a stream whose frames are worked on at once by device, network and server.
    ///
    /// Fails with `invalid_argument` if the options make no sense.
    pub fn open_stream(&self, options: StreamOptions) -> Result<Arc<InferStream>> {
        InferStream::open(self.inner.clone(), options)
    }

    /// Opens the connection and builds what the first inference needs, so that it waits for
    /// neither.
    ///
    /// Fails if the model cannot be run; if the server cannot be reached, only in modes in which
    /// nothing else answers.
    pub async fn warm_up(&self) -> Result<()> {
        let inner = self.inner.clone();
        runtime::run(async move {
            let client = inner.client()?;
            inner
                .unless_closed(async { Ok(client.warm_up().await?) })
                .await
        })
        .await
    }

    /// The plan that a call would follow now, every plan it was chosen from, and why.
    pub fn explain(&self) -> Result<Explanation> {
        Ok(self.inner.client()?.explain().into())
    }

    /// What this client has done so far.
    pub fn stats(&self) -> Result<DynoStats> {
        Ok(self.inner.counter.now(&self.inner.client()?))
    }

    /// Tells `listener` of the statistics from now on, instead of who was told before; none ends
    /// it.
    pub fn set_stats_listener(&self, listener: Option<Arc<dyn StatsListener>>) -> Result<()> {
        let client = self.inner.client()?;
        self.inner.counter.listen(client, listener)?;
        // Closed meanwhile: nobody else would end it.
        let still_open = self.inner.client();
        if still_open.is_err() {
            self.inner.counter.silence();
        }
        still_open.map(|_| ())
    }

    /// Tells the client which network carries the default route now, and whether bytes cost money
    /// there. The next request opens a new connection; requests under way are left to the device.
    pub fn on_network_changed(&self, kind: NetworkKind, metered: bool) -> Result<()> {
        let client = self.inner.client()?;
        // What it starts in the background belongs to the runtime.
        let _entered = runtime::runtime()?.enter();
        client.on_network_changed(kind.into(), metered);
        Ok(())
    }

    /// Ends every call with `cancelled` and frees the model's memory, in the background; later
    /// calls fail with `cancelled`. Closing twice changes nothing.
    pub fn shutdown(&self) -> Result<()> {
        self.inner.close()
    }
}

impl NativeClient {
    async fn run(&self, staged: Staged, cancelled: CancellationToken) -> Result<Inference> {
        let inner = self.inner.clone();
        // Before anything is spawned: what is dropped unstarted counts as well.
        let counting = inner.counter.begin();
        runtime::run(async move { inner.infer(staged, cancelled, counting).await }).await
    }
}

impl Drop for NativeClient {
    /// Of a client that was not closed. Its streams go on to their ends.
    fn drop(&mut self) {
        if let Err(error) = self.inner.release() {
            log::warn!("a client's memory is not freed in the background: {error}");
        }
    }
}

impl Inner {
    /// The client, unless it is closed.
    pub(crate) fn client(&self) -> Result<Client> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone().ok_or_else(closed_error)
    }

    /// Set when the client is closed.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    pub(crate) fn tickets(&self) -> &Tickets<Staged> {
        &self.tickets
    }

    /// As it crosses the boundary.
    pub(crate) fn report(&self, inference: dyno_core::client::Inference) -> Inference {
        Inference::new(inference, self.output_names.as_deref())
    }

    pub(crate) fn counter(&self) -> &Arc<Counter> {
        &self.counter
    }

    async fn infer(
        &self,
        staged: Staged,
        cancelled: CancellationToken,
        counting: Counting,
    ) -> Result<Inference> {
        let client = self.client()?;
        let inference = async { Ok(client.infer(staged).await?) };
        let inference = tokio::select! {
            biased;
            () = cancelled.cancelled() => {
                Err(DynoError::new(ErrorKind::Cancelled, "the inference was cancelled"))
            }
            outcome = self.unless_closed(inference) => outcome,
        }?;
        counting.answered(&inference);
        Ok(self.report(inference))
    }

    async fn unless_closed<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(closed_error()),
            outcome = work => outcome,
        }
    }

    fn close(&self) -> Result<()> {
        self.closed.cancel();
        self.release()
    }

    /// Lets go of the model, and of who listens.
    fn release(&self) -> Result<()> {
        self.counter.silence();
        let client = self
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(client) = client {
            // It may wait for a span that is being built.
            runtime::runtime()?.spawn_blocking(move || drop(client));
        }
        Ok(())
    }
}

fn closed_error() -> DynoError {
    DynoError::new(
        ErrorKind::Cancelled,
        "the client is closed: open another one",
    )
}

fn transport(server: &ServerConfig, manifest: &Manifest) -> Result<Arc<dyn Transport>> {
    let trusts_the_system = server.root_certificate_pem.is_none();
    let is_secure = server
        .url
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("https"));
    if is_secure && trusts_the_system && !jni_door::can_verify() {
        return Err(DynoError::invalid(
            "https needs Android's certificates, and these a context: open the client with one \
             (DynoClient.open(context, …)), or give a root certificate",
        ));
    }
    let outputs = manifest.outputs.clone();
    Ok(Arc::new(HttpTransport::new(
        &server.url,
        outputs,
        server.to_core()?,
    )?))
}
