//! A real `dyno-server` in a process of its own, which can be killed.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// What the server prints before its address.
const LISTENING: &str = "listening on ";

/// A server process; killed when dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts a server for the bundles in `folder` and waits until it listens, without TLS: for
    /// addresses that no other machine reaches. In the network namespace of the calling thread.
    pub(crate) fn start(program: Option<&Path>, folder: &Path, listen: SocketAddr) -> Result<Self> {
        Self::start_with(program, folder, listen, &[])
    }

    /// Starts a server as [`start`](Self::start) does, with more flags; on the cores of the calling
    /// thread.
    pub(crate) fn start_with(
        program: Option<&Path>,
        folder: &Path,
        listen: SocketAddr,
        flags: &[String],
    ) -> Result<Self> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => beside_this_program()?,
        };
        let mut child = Command::new(&program)
            .arg("--bundles")
            .arg(folder)
            .args(["--listen", &listen.to_string(), "--allow-plaintext"])
            .args(flags)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let Some(stdout) = child.stdout.take() else {
            bail!("the server has no output")
        };
        let mut server = Self {
            child,
            address: listen,
        };
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with(LISTENING));
        let address = line
            .as_deref()
            .and_then(|line| line[LISTENING.len()..].trim().parse().ok());
        server.address = address.context("the server ended before it listened")?;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill the server")?;
        self.child
            .wait()
            .context("the server cannot be waited for")?;
        Ok(())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn beside_this_program() -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let name = format!("dyno-server{}", std::env::consts::EXE_SUFFIX);
    let server = this.with_file_name(name);
    if !server.is_file() {
        bail!(
            "{} is missing: build it with `cargo build -p dyno-server`",
            server.display()
        );
    }
    Ok(server)
}
