//! The words that labels may have. A new reason is a new variant here, and a row in `docs/server.md`.

use std::fmt::Write as _;

use dyno_core::ErrorKind;
use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// An enum whose variants are words of a label.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            pub(super) const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word as labels and logs have it.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Why a request was refused although nothing was wrong with it.
    Shed {
        /// `--max-in-flight` requests are under way.
        InFlight = "in_flight",
        /// The requests before it would keep it waiting longer than `--max-queue-wait`.
        QueueWait = "queue_wait",
        /// So many bundles are being downloaded already.
        Downloads = "downloads",
        /// Its client has used what it may for now.
        Budget = "budget",
    }
}

words! {
    /// Why a connection was closed before its first request.
    Refusal {
        /// `--max-connections` are open.
        Connections = "max_connections",
        /// `--max-connections-per-address` are open from this one.
        PerAddress = "max_connections_per_address",
        /// No accept: file descriptors or memory ran out.
        Accept = "accept",
        /// TLS came to nothing.
        Tls = "tls",
        /// Something else than HTTP/2.
        NotHttp2 = "not_http2",
        /// It said too little for `--handshake-timeout`.
        Handshake = "handshake_timeout",
    }
}

words! {
    /// Why a request was not let in.
    AuthFailure {
        /// No `authorization` header.
        Missing = "missing",
        /// One, or several, that say no token.
        Malformed = "malformed",
        /// A token that no key has.
        Unknown = "unknown",
        /// A token that no key has, and no signed one that counts.
        Signed = "signed",
        /// A token in the address.
        Address = "in_address",
        /// A client that is known, and a model that is not for it.
        Model = "model",
    }
}

#[cfg(feature = "otlp")]
words! {
    /// Why a span was not exported.
    Lost {
        /// Requests end faster than their traces leave.
        QueueFull = "queue_full",
        /// The collector could not be reached, or had no room for long.
        Undelivered = "undelivered",
        /// The collector would not have it.
        Refused = "refused",
        /// Its request ended when the server was about to.
        Stopping = "stopping",
    }
}

/// HTTP/2's reason for a GOAWAY (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Goaway(&'static str);

impl Goaway {
    /// Of the reasons that h2 gives; all others are one.
    const NAMED: [(h2::Reason, Self); 6] = [
        (h2::Reason::NO_ERROR, Self("no_error")),
        (h2::Reason::PROTOCOL_ERROR, Self("protocol_error")),
        (h2::Reason::FLOW_CONTROL_ERROR, Self("flow_control_error")),
        (h2::Reason::FRAME_SIZE_ERROR, Self("frame_size_error")),
        (h2::Reason::COMPRESSION_ERROR, Self("compression_error")),
        (h2::Reason::ENHANCE_YOUR_CALM, Self("enhance_your_calm")),
    ];
    const OTHER: Self = Self("other");

    pub(super) fn of(reason: h2::Reason) -> Self {
        let named = Self::NAMED.into_iter().find(|(named, _)| *named == reason);
        named.map_or(Self::OTHER, |(_, goaway)| goaway)
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        let named = Self::NAMED.into_iter().map(|(_, goaway)| goaway);
        named.chain([Self::OTHER])
    }
}

impl EncodeLabelValue for Goaway {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.0)
    }
}

/// One label, whose value is one of a few words.
pub(super) type Word<W> = [(&'static str, W); 1];

/// A model that is served; empty where a request names none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModelLabel {
    model: String,
}

impl ModelLabel {
    pub(super) fn of(model: Option<&str>) -> Self {
        Self {
            model: model.unwrap_or_default().into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteAndModel {
    /// The pattern; empty for paths that are no route.
    route: String,
    model: String,
}

impl RouteAndModel {
    pub(super) fn of(route: Option<&str>, model: Option<&str>) -> Self {
        Self {
            route: route.unwrap_or_default().into(),
            model: model.unwrap_or_default().into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    #[prometheus(flatten)]
    route: RouteAndModel,
    /// The status; empty if the client was gone.
    code: String,
    /// Kind of the error; empty if there was none.
    reason: &'static str,
}

impl Request {
    pub(super) fn of(
        route: RouteAndModel,
        status: Option<StatusCode>,
        kind: Option<ErrorKind>,
    ) -> Self {
        Self {
            route,
            code: status.map_or(String::new(), |status| status.as_str().into()),
            reason: kind.map_or("", ErrorKind::as_str),
        }
    }
}
