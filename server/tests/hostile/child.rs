//! The server as a process of its own, so that its memory, threads and files are its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};

use crate::bundle::{MODEL, bundles, manifest};
use crate::common::{PACKED, client, until};

/// Most that an attack may leave behind, over what the server held before it.
const RSS_BOUND_KIB: u64 = 16 << 10;
const THREADS_BOUND: u64 = 4;
/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);

/// A running `dyno-server` with the shipped model; killed when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) addr: SocketAddr,
    pub(crate) client: Client,
    log: tempfile::NamedTempFile,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) rss_kib: u64,
    /// The most memory that it held since it was ready; since it was started where the kernel cannot tell.
    pub(crate) peak_kib: u64,
    pub(crate) threads: u64,
    pub(crate) files: usize,
}

impl Child {
    /// Starts one on a free port and waits until it is ready.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        Self::start_in(bundles(), flags).await
    }

    /// The same, with the bundles in another folder.
    pub(crate) async fn start_in(folder: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dyno-server"));
        command.arg("--bundles").arg(folder).args(flags);
        Self::spawn(command).await
    }

    /// The same, by a command that ends in the server's flags.
    pub(crate) async fn spawn(mut command: Command) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        command.stderr(log.reopen().unwrap());
        Self::spawn_logging(command, log).await
    }

    /// The same, for a command whose standard error is taken care of.
    pub(crate) async fn spawn_logging(mut command: Command, log: tempfile::NamedTempFile) -> Self {
        command
            .args([
                "--listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "off",
                "--workers",
                "2",
                "--threads",
                "1",
            ])
            // Memory that is free goes back to the system, as far as the allocator can.
            .env("MALLOC_ARENA_MAX", "2")
            .env("MALLOC_TRIM_THRESHOLD_", "65536")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let addr = line
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("{}", std::fs::read_to_string(log.path()).unwrap()));
        let server = Self {
            process,
            addr: addr.trim().parse().unwrap(),
            client: client(),
            log,
        };
        until(async || {
            tokio::time::sleep(LOOK).await;
            server.status("/v2/health/ready").await == Some(200)
        })
        .await;
        // Peaks count from here on, and not the warm-up's, where the kernel can forget one (Linux's proc(5)).
        let pid = server.process.id();
        let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// The status of a path, asked on a connection of its own; none if there was no answer.
    pub(crate) async fn status(&self, path: &str) -> Option<u16> {
        let answer = client().get(self.url(path)).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// A packed request without a body.
    pub(crate) fn infer(&self) -> RequestBuilder {
        self.client
            .post(self.url(&format!("/v1/models/{MODEL}/infer")))
            .header("content-type", PACKED)
            .header("dyno-bundle", manifest().hash.as_str())
    }

    pub(crate) async fn packed(&self, body: Vec<u8>) -> Response {
        self.infer().body(body).send().await.unwrap()
    }

    pub(crate) async fn photo(&self, media: &str, body: Vec<u8>) -> Response {
        let request = self
            .client
            .post(self.url(&format!("/v1/models/{MODEL}/infer")));
        let request = request.header("content-type", media).body(body);
        request.send().await.unwrap()
    }

    /// Whatever came before, the server lives.
    pub(crate) async fn assert_live(&self) {
        assert_eq!(self.status("/v2/health/live").await, Some(200));
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits until its log has what is expected.
    pub(crate) async fn logs(&self, expected: impl Fn(&str) -> bool) {
        until(async || {
            tokio::time::sleep(LOOK).await;
            expected(&self.log())
        })
        .await;
    }

    /// Tells it to stop, and waits for its end.
    pub(crate) async fn terminate(mut self) -> std::process::ExitStatus {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        let mut ended = None;
        until(async || {
            tokio::time::sleep(LOOK).await;
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.unwrap()
    }

    pub(crate) fn held(&self) -> Held {
        let folder = Path::new("/proc").join(self.process.id().to_string());
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let number = line.split_whitespace().nth(1).unwrap();
            number.parse().unwrap()
        };
        Held {
            rss_kib: number("VmRSS:"),
            peak_kib: number("VmHWM:"),
            threads: number("Threads:"),
            files: std::fs::read_dir(folder.join("fd")).unwrap().count(),
        }
    }

    /// It never held more than `more_kib` beyond the most that it held before.
    #[track_caller]
    pub(crate) fn assert_peak(&self, before: Held, more_kib: u64) {
        let peak_kib = self.held().peak_kib;
        assert!(
            peak_kib < before.peak_kib + more_kib,
            "{before:?}, then {peak_kib} KiB at most"
        );
    }

    /// Repeats an attack: after each round the server lives, and in the end it holds what it held after
    /// the first, within [`RSS_BOUND_KIB`] of memory and [`THREADS_BOUND`] threads, and no more files.
    pub(crate) async fn endures(&self, rounds: usize, mut attack: impl AsyncFnMut()) {
        // The first round fills what is kept for the next: buffers, threads, spans.
        attack().await;
        self.assert_live().await;
        let base = self.held();
        for _ in 0..rounds {
            attack().await;
            self.assert_live().await;
        }
        self.assert_back(base).await;
    }

    /// Waits until it holds no more than it did.
    pub(crate) async fn assert_back(&self, base: Held) {
        let mut now = self.held();
        for _ in 0..250 {
            now = self.held();
            if now.rss_kib <= base.rss_kib + RSS_BOUND_KIB
                && now.threads <= base.threads + THREADS_BOUND
                && now.files <= base.files
            {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("was {base:?}, is {now:?}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
