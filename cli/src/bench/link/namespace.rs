//! Network namespaces that live as long as something of this process is in them.
//!
//! A thread moves into a new namespace and does its work there; what it opens or starts stays in
//! it. Nothing is given a name, so that nothing has to be removed: a namespace ends with its last
//! thread, process and socket, however the program ends.

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

/// The congestion control of the namespace of whoever opens the file.
const CONGESTION_FILE: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
/// What other namespaces than the first may choose; shown in the first only.
const ALLOWED_FILE: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Does `work` on a thread of its own in a new network namespace, where threads and processes that
/// it starts are, too.
pub(super) fn in_new_namespace<T: Send>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(no_namespace)?;
            work()
        });
        let thread = thread.context("cannot start a thread")?;
        thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread of the {name}'s namespace ended badly")))
    })
}

fn no_namespace(error: Errno) -> anyhow::Error {
    let hint = match error {
        Errno::EPERM => ": run this as root (it needs CAP_SYS_ADMIN and CAP_NET_ADMIN)",
        Errno::EINVAL => ": this kernel is built without them (CONFIG_NET_NS)",
        _ => "",
    };
    anyhow!("cannot make a network namespace ({}){hint}", error.desc())
}

/// How TCP finds out how fast it may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Congestion {
    /// Until a packet is lost; starts anew after a second without traffic.
    Reno,
    /// By the rate and the round trip that it measures.
    Bbr,
    /// What most systems use, Android among them; few let other namespaces than the first have it.
    Cubic,
}

impl Congestion {
    /// What the kernel calls it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Bbr => "bbr",
            Self::Cubic => "cubic",
        }
    }

    /// Makes it that of the calling thread's namespace.
    pub(super) fn choose(self) -> Result<()> {
        std::fs::write(CONGESTION_FILE, self.as_str()).with_context(|| {
            format!(
                "the kernel does not let a namespace use {}: choose another with --congestion, or \
                 allow it in {ALLOWED_FILE}",
                self.as_str()
            )
        })
    }
}
