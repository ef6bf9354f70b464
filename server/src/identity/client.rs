//! A client's name, and what it may do.

use std::collections::BTreeSet;

/// Most characters of a client's id and of a model's name.
pub(super) const MAX_ID: usize = 64;

/// Name of a client, for the log and for its budget: 1 to 64 of `A-Z a-z 0-9 - _ .`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientId(Box<str>);

/// What a client may do.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rights {
    /// The models it may use; none: all of them.
    pub(crate) models: Option<BTreeSet<Box<str>>>,
}

/// Who sent a request, as far as the server knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Caller {
    /// None if the server does not ask.
    pub(crate) id: Option<ClientId>,
    pub(crate) rights: Rights,
}

impl ClientId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.into()))
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

/// The form of ids and of models' names.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
