//! The server of a run: a real dyno-server that has one bundle only.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::server_process::ServerProcess;

/// The bundle's name on the server.
pub(super) const MODEL: &str = "bundle";
/// How often a server is asked whether it is ready, ...
const MAX_READY_LOOKS: usize = 600;
/// ... and how long apart.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// A server process, in the namespace of the thread that started it.
pub(super) struct Service {
    server: ServerProcess,
    /// A link to the bundle: the folder that it lies in may hold others.
    _folder: TempDir,
}

impl Service {
    /// Starts `program` (none: the one beside this program) with more flags of its own.
    pub(super) fn start(
        program: Option<&Path>,
        bundle: &Path,
        listen: SocketAddr,
        flags: &[String],
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the server")?;
        let bundle = bundle
            .canonicalize()
            .with_context(|| format!("cannot find {}", bundle.display()))?;
        std::os::unix::fs::symlink(bundle, folder.path().join(MODEL))
            .context("cannot link to the bundle")?;
        Ok(Self {
            server: ServerProcess::start_with(program, folder.path(), listen, flags)?,
            _folder: folder,
        })
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Its address.
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.server.id()
    }

    /// Waits until its models are warm, on a connection of its own.
    pub(super) async fn ready(&self) -> Result<()> {
        // reqwest is built without a TLS provider of its own; a second call finds the first one's.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .http2_prior_knowledge()
            .build()?;
        let url = format!("{}/v2/health/ready", self.url());
        for _ in 0..MAX_READY_LOOKS {
            let answer = client.get(&url).send().await;
            let answer = answer.with_context(|| format!("the server does not answer at {url}"))?;
            if answer.status().is_success() {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        bail!("the server did not get ready")
    }
}
