//! The server that is loaded: one that runs already, or one started for the run.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::super::service::{MODEL, Service};
use super::cores::{self, Cores};

/// Where a server that is started listens: on a free port.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct TargetArgs {
    /// A server that runs already, as http://HOST:PORT; one is started unless told.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The model's name on that server; the name of the bundle's folder unless told.
    #[arg(long, value_name = "NAME", requires = "server")]
    model: Option<String>,
    /// Process of that server, to watch its memory.
    #[arg(long, value_name = "PID", requires = "server")]
    pid: Option<u32>,
    /// Cores of the server that is started, such as 0 or 0-3.
    #[arg(long, value_name = "CORES", conflicts_with = "server")]
    pub(super) server_cores: Option<Cores>,
    /// A flag for the server that is started, once for each (`--server-flag=--workers=2`).
    #[arg(
        long,
        value_name = "FLAG",
        conflicts_with = "server",
        allow_hyphen_values = true
    )]
    pub(super) server_flag: Vec<String>,
    /// The dyno-server to start; the one beside this program unless told.
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    pub(super) server_program: Option<PathBuf>,
}

/// A server that takes requests.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) url: String,
    pub(super) model: String,
    /// Its process, if it is on this machine and known.
    pub(super) pid: Option<u32>,
    /// Ends with this.
    started: Option<Service>,
}

/// What the report says of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct About {
    url: String,
    model: String,
    /// Whether it was started for the run.
    started: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cores: Option<Cores>,
    flags: Vec<String>,
}

impl TargetArgs {
    /// Starts the server unless one is named, and waits until it is ready.
    pub(super) fn open(&self, bundle: &Path) -> Result<Target> {
        self.open_with(bundle, &[])
    }

    /// The same, with more flags for a server that is started.
    pub(super) fn open_with(&self, bundle: &Path, more: &[String]) -> Result<Target> {
        if let Some(url) = &self.server {
            return self.running(url, bundle);
        }
        let flags: Vec<String> = self.server_flag.iter().chain(more).cloned().collect();
        let service = cores::on(self.server_cores.as_ref(), || {
            Service::start(self.server_program.as_deref(), bundle, LOOPBACK, &flags)
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the async runtime")?;
        runtime.block_on(service.ready())?;
        Ok(Target {
            address: service.address(),
            url: service.url(),
            model: MODEL.to_owned(),
            pid: Some(service.id()),
            started: Some(service),
        })
    }

    fn running(&self, url: &str, bundle: &Path) -> Result<Target> {
        let host = url
            .strip_prefix("http://")
            .map(|host| host.trim_end_matches('/'));
        let Some(host) = host.filter(|host| !host.contains('/')) else {
            bail!("--server must be http://HOST:PORT (there is no TLS here), got '{url}'");
        };
        let mut addresses = host
            .to_socket_addrs()
            .with_context(|| format!("cannot find {host}: name a host and a port"))?;
        let name = || {
            Some(
                bundle
                    .canonicalize()
                    .ok()?
                    .file_name()?
                    .to_str()?
                    .to_owned(),
            )
        };
        let model = self.model.clone().or_else(name);
        Ok(Target {
            address: addresses
                .next()
                .with_context(|| format!("{host} has no address"))?,
            url: format!("http://{host}"),
            model: model.context("name the model with --model")?,
            pid: self.pid,
            started: None,
        })
    }

    pub(super) fn about(&self, target: &Target) -> About {
        About {
            url: target.url.clone(),
            model: target.model.clone(),
            started: target.started.is_some(),
            cores: self.server_cores.clone(),
            flags: self.server_flag.clone(),
        }
    }
}
