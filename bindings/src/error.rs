//! The one error of the SDK: a stable kind for programs, a reason for people.

use std::fmt;

/// What every exported call returns.
pub(crate) type Result<T> = std::result::Result<T, DynoError>;

/// Mirrors [`dyno_core::ErrorKind`], in its order.
macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// What went wrong, in words that stay the same from release to release; kinds may be
        /// added, never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl From<dyno_core::ErrorKind> for ErrorKind {
            fn from(kind: dyno_core::ErrorKind) -> Self {
                match kind {
                    $(dyno_core::ErrorKind::$kind => Self::$kind,)*
                    // Core's kinds may grow; the test below says when they have.
                    _ => Self::Internal,
                }
            }
        }

        #[cfg(test)]
        const ALL: &[ErrorKind] = &[$(ErrorKind::$kind,)*];
    };
}

error_kinds! {
    /// An argument or a combination of arguments makes no sense.
    InvalidArgument,
    /// The bytes are not a well-formed ONNX model.
    InvalidModel,
    /// A well-formed model that this version cannot take.
    UnsupportedModel,
    /// The bytes are not an image that can be decoded, or the pixel buffer does not add up.
    InvalidImage,
    /// The bundle is incomplete, corrupt, or of another format version.
    InvalidBundle,
    /// Phone and server hold different bundles of the model.
    BundleMismatch,
    /// What crossed the cut was malformed.
    InvalidActivation,
    /// What crossed the cut is of a version, precision or codec that the other side does not know.
    UnsupportedActivation,
    /// ONNX Runtime is missing, too old, or failed while running.
    Runtime,
    /// No such model on the server.
    NotFound,
    /// The server does not let this client in: the token is wrong or missing.
    Unauthorized,
    /// The body is larger than the bundle allows.
    TooLarge,
    /// There is no room now: try again later.
    Overloaded,
    /// The answer did not come in time.
    DeadlineExceeded,
    /// The server cannot be reached, or the connection broke.
    Unreachable,
    /// The server answered something that is not a DynO answer.
    Protocol,
    /// The inference was cancelled, or its client closed.
    Cancelled,
    /// A file could not be read or written.
    Io,
    /// A defect of this library: please report it.
    Internal,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Error)]
#[non_exhaustive]
pub enum DynoError {
    /// The only way there is to fail; what differs is the kind.
    Failed {
        /// What programs look at.
        kind: ErrorKind,
        /// What happened, where, and what to do. For developers and logs; holds no image, label or
        /// token.
        reason: String,
        /// For how long the server asked to be left alone, in milliseconds.
        retry_after_ms: Option<u64>,
    },
}

impl DynoError {
    pub(crate) fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self::Failed {
            kind,
            reason: reason.into(),
            retry_after_ms: None,
        }
    }

    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, reason)
    }

    /// The stable kind.
    pub fn kind(&self) -> ErrorKind {
        let Self::Failed { kind, .. } = self;
        *kind
    }
}

impl From<dyno_core::Error> for DynoError {
    fn from(error: dyno_core::Error) -> Self {
        let retry_after = error.retry_after();
        Self::Failed {
            kind: error.kind().into(),
            reason: error.to_string(),
            retry_after_ms: retry_after.map(|wait| wait.as_millis().try_into().unwrap_or(u64::MAX)),
        }
    }
}

impl fmt::Display for DynoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Failed { reason, .. } = self;
        f.write_str(reason)
    }
}

impl std::error::Error for DynoError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_cores_kinds_in_cores_order() {
        let mirrored: Vec<ErrorKind> = dyno_core::ErrorKind::ALL
            .iter()
            .map(|&k| k.into())
            .collect();
        assert_eq!(mirrored, ALL);
    }

    #[test]
    fn an_error_keeps_what_the_server_asked_for() {
        let wait = std::time::Duration::from_secs(7);
        let full = dyno_core::Error::new(dyno_core::ErrorKind::Overloaded, "no room")
            .with_retry_after(Some(wait));
        let DynoError::Failed {
            kind,
            reason,
            retry_after_ms,
        } = full.into();
        assert_eq!(
            (kind, reason.as_str(), retry_after_ms),
            (ErrorKind::Overloaded, "no room", Some(7000))
        );
    }
}
