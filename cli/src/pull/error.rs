//! What can go wrong with a download, told apart for tests and worded for people.

use std::io;
use std::path::{Path, PathBuf};

/// Why a model could not be pulled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// The name is not on the list.
    #[error("there is no model '{name}'; known are {known}")]
    UnknownModel { name: String, known: String },
    /// Neither flag nor environment says where the cache is.
    #[error("no folder to keep models in: pass --cache DIR, or set DYNO_CACHE or HOME")]
    NoCache,
    /// Another process holds the partial file.
    #[error("another dyno is downloading to {}: wait for it to end", path.display())]
    Busy { path: PathBuf },
    /// No connection, or it broke before the first byte.
    #[error("cannot reach {url}")]
    Unreachable { url: String, source: reqwest::Error },
    /// An answer that is no file.
    #[error("{url} answered {status}")]
    Status {
        url: String,
        status: reqwest::StatusCode,
    },
    /// The connection broke or fell silent on the way.
    #[error(
        "{url} stopped after {got} of {bytes} bytes; run the command again to go on from there"
    )]
    CutOff {
        url: String,
        got: u64,
        bytes: u64,
        source: Option<reqwest::Error>,
    },
    /// The file is not as long as the pinned one.
    #[error(
        "{url} offers {offered} bytes instead of the pinned {bytes}: not the file that was expected"
    )]
    WrongLength {
        url: String,
        offered: u64,
        bytes: u64,
    },
    /// The file is not the pinned one; it has been deleted.
    #[error(
        "what {url} sent has the SHA-256 {found} instead of the pinned {expected}; it was deleted"
    )]
    WrongHash {
        url: String,
        expected: String,
        found: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl PullError {
    /// Wraps an I/O error with what was being done to which file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether another address may still have the file.
    pub(crate) fn is_about_the_address(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Status { .. }
                | Self::CutOff { .. }
                | Self::WrongLength { .. }
                | Self::WrongHash { .. }
        )
    }
}
