//! `dyno-server`: flags, logs and signals around [`dyno_server::Server`].

mod cli;
mod huge_pages;
mod log_writer;

use std::convert::Infallible;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use dyno_server::{Config, Reloader, Server};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, HugePages, LogFormat, Settings};
use crate::log_writer::LogWriter;

/// How long the process waits for workers that were told to stop. ONNX Runtime crashes if the
/// process ends while it builds or runs a span, and a worker that heeds nothing must not keep it.
const LAST_WORK: Duration = Duration::from_secs(3);
/// How long the process waits for its last lines to be read.
const LAST_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    disable_telemetry_of_onnx_runtime();
    let args: Vec<_> = std::env::args_os().collect();
    let settings = match Settings::read(&args) {
        Ok(settings) => settings,
        Err(error) => error.exit(),
    };
    let Cli {
        config,
        log_format,
        huge_pages,
        check_config,
        ..
    } = settings.cli.clone();
    let mut warnings = settings.warnings.clone();
    // Tails elsewhere have their memory there.
    let runs_tails = !check_config && config.tail_engine.is_none();
    if runs_tails
        && huge_pages == HugePages::On
        && let Err(error) = huge_pages::start_with_them(config.workers())
    {
        warnings.push(format!(
            "without huge pages, which make tails faster: the program could not start itself again: {error}"
        ));
    }
    let log = match LogWriter::start(std::io::stderr()) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("the log cannot be written: {error}");
            return ExitCode::FAILURE;
        }
    };
    start_log(log_format, log.clone());
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = if check_config {
                // Whoever closed standard output still hears by the status.
                let _ = write!(std::io::stdout(), "{settings}");
                runtime.block_on(check(config))
            } else {
                runtime.block_on(serve(config))
            };
            runtime.shutdown_timeout(LAST_WORK);
            outcome
        });
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    };
    log.flush(LAST_LINES);
    code
}

async fn check(config: Config) -> anyhow::Result<()> {
    Server::check(config).await?;
    tracing::info!("a server would start with this");
    Ok(())
}

/// ONNX Runtime of the official wheels (1.32) collects telemetry for its maker from the moment it is
/// loaded; its own switch in the API comes too late.
fn disable_telemetry_of_onnx_runtime() {
    // SAFETY: the first thing that happens in this process: no other thread reads the environment.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("ORT_DISABLE_TELEMETRY", "1");
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut hangups = Hangups::new()?;
    let server = Server::bind(config).await?;
    // Whoever closed standard output does not want to know; the log says it as well.
    let _ = writeln!(std::io::stdout(), "listening on {}", server.local_addr());
    if let Some(addr) = server.oip_addr() {
        let _ = writeln!(
            std::io::stdout(),
            "listening on {addr} for the Open Inference Protocol"
        );
    }
    let reloader = server.reloader();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let serving = server.run(async {
        // An error means that the sender is gone, and it goes only after sending.
        let _ = stopped.await;
    });
    let twice = async {
        signals.next().await;
        let _ = stop.send(());
        signals.next().await;
    };
    tokio::select! {
        outcome = serving => Ok(outcome?),
        () = twice => anyhow::bail!("stopped by a second signal; requests under way were dropped"),
        never = reload(&mut hangups, &reloader) => match never {},
    }
}

/// Has the files read again at every SIGHUP.
async fn reload(hangups: &mut Hangups, reloader: &Reloader) -> Infallible {
    loop {
        hangups.next().await;
        reloader.reload();
    }
}

/// SIGHUP, where there is one.
struct Hangups {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl Hangups {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        if self.hangup.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    #[cfg(not(unix))]
    #[allow(clippy::unnecessary_wraps, reason = "fails on Unix")]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// SIGTERM and SIGINT (Ctrl-C).
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    #[allow(clippy::unnecessary_wraps, reason = "fails on Unix")]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn start_log(format: LogFormat, log: LogWriter) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // A log that cannot be written would be told to standard error, which panics where that is the log.
        .log_internal_errors(false)
        .with_writer(move || log.clone());
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
