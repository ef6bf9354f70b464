//! The one error of this crate: a stable kind for programs, a message that tells people what to do.

use std::fmt;
use std::time::Duration;

/// Result of every fallible call in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in words that stay the same from release to release.
///
/// The names from [`ErrorKind::as_str`] are part of the wire protocol (the `kind` of the server's
/// JSON errors) and of the mobile SDK; kinds may be added, never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or a combination of arguments makes no sense.
    InvalidArgument,
    /// The bytes are not a well-formed ONNX model.
    InvalidModel,
    /// A well-formed model that this version cannot take (opset, op, type, dynamic shape).
    UnsupportedModel,
    /// The bytes are not an image that can be decoded, or the pixel buffer does not add up.
    InvalidImage,
    /// The bundle is incomplete, corrupt, or of another format version.
    InvalidBundle,
    /// Phone and server hold different bundles of the model.
    BundleMismatch,
    /// The packed activation is malformed or does not fit the bundle's shapes.
    InvalidActivation,
    /// The packed activation names a version, precision or codec this build does not know.
    UnsupportedActivation,
    /// ONNX Runtime is missing, too old, or failed while running.
    Runtime,
    /// No such model (on the server, or in the list of well-known models).
    NotFound,
    /// Whoever guards the server does not let this client in (401, 403).
    Unauthorized,
    /// The body is larger than the bundle allows.
    TooLarge,
    /// The server has no room now; try again later or finish on the device.
    Overloaded,
    /// The answer did not come in time.
    DeadlineExceeded,
    /// The server cannot be reached, or the connection broke.
    Unreachable,
    /// The server answered something that is not a DynO answer.
    Protocol,
    /// The caller cancelled the inference, or the client is closed.
    Cancelled,
    /// A file could not be read or written.
    Io,
    /// A defect of this program: please report it.
    Internal,
}

impl ErrorKind {
    /// Every kind, in declaration order.
    pub const ALL: &[Self] = &[
        Self::InvalidArgument,
        Self::InvalidModel,
        Self::UnsupportedModel,
        Self::InvalidImage,
        Self::InvalidBundle,
        Self::BundleMismatch,
        Self::InvalidActivation,
        Self::UnsupportedActivation,
        Self::Runtime,
        Self::NotFound,
        Self::Unauthorized,
        Self::TooLarge,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::Unreachable,
        Self::Protocol,
        Self::Cancelled,
        Self::Io,
        Self::Internal,
    ];

    /// The stable name, as it appears in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::InvalidModel => "invalid_model",
            Self::UnsupportedModel => "unsupported_model",
            Self::InvalidImage => "invalid_image",
            Self::InvalidBundle => "invalid_bundle",
            Self::BundleMismatch => "bundle_mismatch",
            Self::InvalidActivation => "invalid_activation",
            Self::UnsupportedActivation => "unsupported_activation",
            Self::Runtime => "runtime",
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Unreachable => "unreachable",
            Self::Protocol => "protocol",
            Self::Cancelled => "cancelled",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }

    /// The kind with this stable name, if this build knows it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed call: [`kind`](Error::kind) for programs, `Display` for people.
///
/// ```
/// use dyno_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::InvalidArgument, "levels must be 2 to 65536, got 1");
/// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
/// assert_eq!(error.to_string(), "levels must be 2 to 65536, got 1");
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error with a message that says what happened, where, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            retry_after: None,
        }
    }

    /// The underlying error's text joins the message; [`std::error::Error::source`] goes on with
    /// what is beneath it.
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            message: message.into(),
            source: Some(source.into()),
            retry_after: None,
        }
    }

    /// A file that could not be read or written.
    pub fn io(path: &std::path::Path, action: &str, source: std::io::Error) -> Self {
        Self::with_source(
            ErrorKind::Io,
            format!("cannot {action} {}", path.display()),
            source,
        )
    }

    /// The same error, with the time for which the server asked to be left alone.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// For how long the server asked to be left alone (`Retry-After`), if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The stable kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error, its message headed by where it happened.
    #[must_use]
    pub fn context(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The underlying error's own text is part of this one's; whoever prints the chain would
        // print it twice.
        self.source.as_deref().and_then(|source| source.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_that_leads_back_to_it() {
        for &kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_name(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn the_chain_says_everything_once() {
        let disk = std::io::Error::other("disk full");
        let inner = Error::io("a.bin".as_ref(), "write", disk);
        let outer = Error::with_source(ErrorKind::Io, "no bundle", inner);
        assert_eq!(
            outer.to_string(),
            "no bundle: cannot write a.bin: disk full"
        );
        assert!(std::error::Error::source(&outer).is_none());
    }
}
