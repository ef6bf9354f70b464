//! A client's name, and what it may do.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::budget::OwnRates;

/// Most characters of a client's id and of a model's name.
pub(super) const MAX_ID: usize = 64;
/// Bytes of a SHA-256.
pub(crate) const HASH_BYTES: usize = 32;

/// Name of a client, for the log and for its budget: 1 to 64 of `A-Z a-z 0-9 - _ .`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientId(Box<str>);

/// What a client may do.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rights {
    /// The models it may use; none: all of them.
    pub(crate) models: Option<BTreeSet<Box<str>>>,
    /// What it may use, where that is not what everybody may.
    pub(crate) rates: OwnRates,
}

/// Who sent a request, as far as the server knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Caller {
    /// None if the server does not ask.
    pub(crate) id: Option<ClientId>,
    pub(crate) rights: Rights,
}

/// What is known of the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// With IPv6 the network of 64 bits.
    pub(crate) address: IpAddr,
    /// SHA-256 of its certificate, which an authority of ours has signed.
    pub(crate) certificate: Option<[u8; HASH_BYTES]>,
}

impl ClientId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.into()))
    }

    /// `KIND-` and the first half of a SHA-256, in hex.
    pub(super) fn of_hash(kind: &str, hash: &[u8; HASH_BYTES]) -> Self {
        let mut half = [0; HASH_BYTES / 2];
        half.copy_from_slice(&hash[..HASH_BYTES / 2]);
        let half = u128::from_be_bytes(half);
        Self(format!("{kind}-{half:032x}").into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Rights {
    pub(crate) fn allow(&self, model: &str) -> bool {
        self.models
            .as_ref()
            .is_none_or(|models| models.contains(model))
    }
}

impl Caller {
    /// Somebody that a server without keys lets in.
    pub(crate) fn anonymous() -> Self {
        Self {
            id: None,
            rights: Rights::default(),
        }
    }
}

impl Peer {
    /// Somebody whose address is not known: a request that came over no connection.
    pub(crate) fn unknown() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            certificate: None,
        }
    }
}

/// The form of ids and of models' names.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
