//! `dyno fetch`: a bundle from a server, checked against its hash.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use dyno_core::bundle::{Bundle, unpack};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::token::TokenArgs;
use crate::{output, progress};

/// Pieces of the download that wait to be written.
const MAX_WAITING_PIECES: usize = 16;

/// Arguments of `dyno fetch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Server to ask, for example http://127.0.0.1:8477.
    #[arg(long, value_name = "URL")]
    server: String,
    /// PEM file with the certificate authorities to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    root_certificate: Option<PathBuf>,
    #[command(flatten)]
    token: TokenArgs,
    /// Name of the model on the server.
    model: String,
    /// Folder to write.
    #[arg(long, short)]
    out: PathBuf,
}

/// Downloads, unpacks and opens the bundle.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let bundle = runtime.block_on(fetch(args))?;
    output::line(format_args!(
        "{}: hash {}",
        args.out.display(),
        bundle.manifest().hash
    ))
}

async fn fetch(args: &Args) -> Result<Bundle> {
    // reqwest is built without a TLS provider of its own; a second call finds the first one's.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = args.server.trim_end_matches('/');
    let url = format!("{server}/v1/models/{}/bundle", args.model);
    let mut client = reqwest::Client::builder().no_proxy();
    if server.starts_with("http://") {
        client = client.http2_prior_knowledge();
    }
    if let Some(path) = &args.root_certificate {
        let unreadable = || format!("the root certificate {}", path.display());
        let pem = std::fs::read(path).with_context(unreadable)?;
        client = client
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).with_context(unreadable)?);
    }
    let mut request = client.build()?.get(&url);
    if let Some(token) = args.token.token()? {
        // It does not follow a redirect to another host.
        request = request.bearer_auth(token.reveal());
    }
    let response = request.send().await.with_context(|| url.clone())?;
    if !response.status().is_success() {
        let status = response.status();
        bail!(
            "{url}: {status}: {}",
            response.text().await.unwrap_or_default()
        );
    }
    let bar = progress::bar(response.content_length().unwrap_or(0), "downloading");
    let (pieces, inbox) = mpsc::channel(MAX_WAITING_PIECES);
    let out = args.out.clone();
    let unpacking = tokio::task::spawn_blocking(move || unpack(Pieces::new(inbox), &out));
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(std::io::Error::other);
        bar.inc(piece.as_ref().map_or(0, |p| p.len() as u64));
        // A closed channel means that unpacking has failed: its error is the one to show.
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    bar.finish_and_clear();
    Ok(unpacking.await.context("unpacking was interrupted")??)
}

/// The download as a reader for blocking code.
struct Pieces {
    inbox: mpsc::Receiver<std::io::Result<bytes::Bytes>>,
    piece: bytes::Bytes,
}

impl Pieces {
    fn new(inbox: mpsc::Receiver<std::io::Result<bytes::Bytes>>) -> Self {
        Self {
            inbox,
            piece: bytes::Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.inbox.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}
