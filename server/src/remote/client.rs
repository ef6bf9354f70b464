//! Calls to another inference server.

use std::time::Duration;

use dyno_core::{Error, ErrorKind, Result};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::backoff::Backoff;
use super::proto::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, SERVICE, ServerReadyRequest, ServerReadyResponse,
};

/// Time for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for an answer to a question about the server or a model.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings that find out about a server that has gone without a word.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Flow-control windows: an activation is on its way whole.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// What a message has beyond its tensors: names, shapes, parameters.
const MESSAGE_OVERHEAD: usize = 1 << 20;

/// Another inference server: one connection, made when it is needed and again when it is lost.
#[derive(Debug)]
pub(crate) struct Remote {
    address: String,
    channel: Channel,
    backoff: Backoff,
}

impl Remote {
    /// A server at `grpc://host:port` or `grpcs://host:port` (with TLS; also `http`, `https`).
    ///
    /// Does not connect yet. Fails with [`ErrorKind::InvalidArgument`] for anything else. Call it in
    /// a tokio runtime.
    pub(crate) fn new(address: &str) -> Result<Self> {
        let bad = |why: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("--tail-engine must be grpc://HOST:PORT or grpcs://HOST:PORT: {why}"),
            )
        };
        let (scheme, authority) = address.split_once("://").ok_or_else(|| bad(&"no scheme"))?;
        let tls = match scheme {
            "grpc" | "http" => false,
            "grpcs" | "https" => true,
            _ => return Err(bad(&format!("the scheme is '{}'", scheme.escape_debug()))),
        };
        let scheme = if tls { "https" } else { "http" };
        let uri: Uri = format!("{scheme}://{authority}")
            .parse()
            .map_err(|error| bad(&error))?;
        if uri.path_and_query().is_some_and(|path| path != "/") || uri.port().is_none() {
            return Err(bad(&"it needs a port, and takes no path"));
        }
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        if tls {
            endpoint = endpoint
                .tls_config(ClientTlsConfig::new().with_webpki_roots())
                .map_err(|error| bad(&error))?;
        }
        Ok(Self {
            address: address.to_owned(),
            channel: endpoint.connect_lazy(),
            backoff: Backoff::default(),
        })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it takes requests at all.
    pub(super) async fn is_ready(&self) -> Result<bool> {
        let answer: ServerReadyResponse = self
            .ask("ServerReady", ServerReadyRequest {})
            .await?
            .unwrap_or_default();
        Ok(answer.ready)
    }

    /// Whether it has the model and takes requests for it.
    pub(super) async fn has(&self, model: &str) -> Result<bool> {
        let question = ModelReadyRequest {
            name: model.to_owned(),
            version: String::new(),
        };
        let answer: Option<ModelReadyResponse> = self.ask("ModelReady", question).await?;
        Ok(answer.is_some_and(|answer| answer.ready))
    }

    /// What it says of a model; none if it has no such model.
    pub(super) async fn describe(&self, model: &str) -> Result<Option<ModelMetadataResponse>> {
        let question = ModelMetadataRequest {
            name: model.to_owned(),
            version: String::new(),
        };
        self.ask("ModelMetadata", question).await
    }

    /// Runs a model; an answer has at most `answer_bytes` of tensors. The server is told how long
    /// there is to `deadline`; dropping the future cancels the call.
    pub(super) async fn infer(
        &self,
        request: ModelInferRequest,
        answer_bytes: usize,
        deadline: Option<Instant>,
    ) -> Result<ModelInferResponse> {
        let limit = answer_bytes.saturating_add(MESSAGE_OVERHEAD);
        let mut request = Request::new(request);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        self.call("ModelInfer", request, limit)
            .await
            .map_err(|status| self.error(&status))
    }

    /// A question whose answer may be that there is no such thing.
    async fn ask<Q, A>(&self, method: &'static str, question: Q) -> Result<Option<A>>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let mut request = Request::new(question);
        request.set_timeout(ASK_TIMEOUT);
        match self.call(method, request, MESSAGE_OVERHEAD).await {
            Ok(answer) => Ok(Some(answer)),
            // Triton says that a model it lacks is no valid argument to ask about.
            Err(status) if status.code() == Code::InvalidArgument || lacks_model(&status) => {
                Ok(None)
            }
            // For the log, not for clients: the engine asks again and again, and says it once.
            Err(status) => Err(Error::new(
                ErrorKind::Runtime,
                format!("{method}: {:?}: {}", status.code(), told(&status)),
            )),
        }
    }

    async fn call<Q, A>(
        &self,
        method: &'static str,
        request: Request<Q>,
        limit: usize,
    ) -> Result<A, Status>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        if !self.backoff.is_over() {
            return Err(Status::unavailable("it could not be reached just now"));
        }
        let path = PathAndQuery::try_from(format!("{SERVICE}/{method}"))
            .map_err(|error| Status::internal(error.to_string()))?;
        let mut grpc = Grpc::new(self.channel.clone())
            // tonic's own limits are 4 MiB for what comes and none for what goes.
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX);
        let answered = async {
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            grpc.unary(request, path, ProstCodec::<Q, A>::default())
                .await
        };
        match answered.await {
            Ok(answer) => {
                self.backoff.reached();
                Ok(answer.into_inner())
            }
            Err(status) => {
                if status.code() == Code::Unavailable {
                    self.backoff.failed();
                } else {
                    self.backoff.reached();
                }
                Err(status)
            }
        }
    }

    /// A refusal as this server's clients hear it: whose fault it is, and no more.
    fn error(&self, status: &Status) -> Error {
        let (kind, text) = match status.code() {
            // A model that is gone now was there when it was last asked for.
            code if matches!(code, Code::Unavailable | Code::ResourceExhausted)
                || lacks_model(status) =>
            {
                (
                    ErrorKind::Overloaded,
                    "the server behind this one has no room or cannot be reached: finish on the \
                 device, or try again later",
                )
            }
            Code::DeadlineExceeded | Code::Cancelled => (
                ErrorKind::DeadlineExceeded,
                "the server behind this one did not answer in time",
            ),
            _ => (ErrorKind::Runtime, "the server behind this one failed"),
        };
        tracing::warn!(
            server = self.address,
            code = ?status.code(),
            message = told(status),
            "a call to the tail engine failed"
        );
        Error::new(kind, text)
    }
}

/// Whether a status says that there is no such model. `MLServer` calls that unknown, and names its own error.
fn lacks_model(status: &Status) -> bool {
    match status.code() {
        Code::NotFound => true,
        Code::Unknown => status.message().contains("ModelNotFound"),
        _ => false,
    }
}

/// What a status says, on one line of the log.
fn told(status: &Status) -> String {
    let start: String = status.message().chars().take(256).collect();
    start.escape_debug().to_string()
}
