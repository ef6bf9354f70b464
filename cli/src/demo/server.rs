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
pub(super) struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts a server for the bundles in `folder` and waits until it listens.
    pub(super) fn start(program: Option<&Path>, folder: &Path) -> Result<Self> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => beside_this_program()?,
        };
        let mut child = Command::new(&program)
            .arg("--bundles")
            .arg(folder)
            .args(["--listen", "127.0.0.1:0"])
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
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
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
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it at once, as a crash would.
    pub(super) fn kill(&mut self) -> Result<()> {
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
