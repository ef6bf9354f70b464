//! The two programs as child processes that cannot outlive their test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::http;

/// How often something is looked for before the test gives up: ten minutes, because a loaded machine
/// takes one or two to make the 55 tails of the largest network here ready.
const MAX_LOOKS: usize = 12_000;
/// ... and how long apart.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What a run of `dyno` left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The run, if it ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// What it complained of, if it failed with `code`.
    #[track_caller]
    pub(crate) fn complaint(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self.stderr
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    /// Standard output as one JSON value a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(json).collect()
    }
}

/// A line of JSON.
#[track_caller]
pub(crate) fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// Runs `dyno` to its end.
pub(crate) fn dyno<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    let output = dyno_command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn dyno_command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dyno"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// `dyno` under way, its lines read as they come.
pub(crate) struct Stream {
    child: Child,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
}

impl Stream {
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = dyno_command(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    /// The next so many lines of JSON.
    pub(crate) fn next(&mut self, lines: usize) -> Vec<Value> {
        let lines = self.lines.by_ref().take(lines);
        lines.map(|line| json(&line.unwrap())).collect()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, or another signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The remaining lines of JSON, and how it ended.
    pub(crate) fn finish(mut self) -> (Vec<Value>, ExitStatus) {
        let rest = self.next(usize::MAX);
        (rest, self.child.wait().unwrap())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A `dyno-server` on a free port; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// A server of the bundles in `folder`, in the clear, warm and ready.
    pub(crate) fn start(folder: &Path) -> Self {
        let server = Self::start_with(folder, &[]);
        wait_until(|| http::get(&server.url("/v2/health/ready")).status == 200);
        server
    }

    /// The same with further flags, as soon as it listens.
    pub(crate) fn start_with(folder: &Path, flags: &[&str]) -> Self {
        let mut child = server_command(folder, flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let Some(address) = line.strip_prefix("listening on ") else {
            let _ = child.kill();
            let mut log = String::new();
            let mut stderr = child.stderr.take().unwrap();
            stderr.read_to_string(&mut log).unwrap();
            panic!("the server does not listen: {line}{log}");
        };
        let address = address.trim().parse().unwrap();
        Self { child, address }
    }

    /// The base address.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// SIGTERM, or another signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end: exit code and log.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), format!("{status}\n{log}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status();
    assert!(status.unwrap().success(), "the process has gone already");
}

/// A server that is expected to refuse: exit code and log.
pub(crate) fn refused_server(folder: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let output = server_command(folder, flags).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.stdout, b"", "nothing listens: {log}");
    (output.status.code(), log)
}

fn server_command(folder: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(server_program());
    command.arg("--bundles").arg(folder);
    if !flags.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    // Few lines: nobody reads the log while the server runs.
    command
        .args(flags)
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null());
    command
}

/// The server beside `dyno`: a program of another package, which Cargo builds for that package's
/// tests only.
fn server_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let name = format!("dyno-server{}", std::env::consts::EXE_SUFFIX);
        let program = Path::new(env!("CARGO_BIN_EXE_dyno")).with_file_name(name);
        if !program.is_file() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "-p", "dyno-server", "--bins"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success());
        }
        program
    })
}

/// Looks for something that is bound to come.
#[track_caller]
pub(crate) fn wait_until(mut seen: impl FnMut() -> bool) {
    for _ in 0..MAX_LOOKS {
        if seen() {
            return;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    panic!("it did not come");
}
