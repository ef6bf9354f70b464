//! Ctrl-C and SIGTERM as something that can be waited for, so that a run ends in order: the server
//! is killed, and its namespace with it.

use anyhow::{Context, Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells whether the program was asked to end.
#[derive(Debug, Clone)]
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// From here on signals are heard, by a thread that lives as long as the program.
    pub(super) fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start an async runtime")?;
        let guard = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot hear signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot hear signals")?;
        drop(guard);
        let (asked, hears) = watch::channel(false);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    // Nobody hears it where the run has ended already.
                    let _ = asked.send(true);
                    std::future::pending::<()>().await;
                });
            })
            .context("cannot start a thread")?;
        Ok(Self(hears))
    }

    /// Does `work` unless the program is asked to end.
    pub(super) async fn or<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut hears = self.0.clone();
        tokio::select! {
            biased;
            // The sender lives as long as the program.
            _ = hears.wait_for(|asked| *asked) => Err(anyhow!("interrupted")),
            result = work => result,
        }
    }
}
