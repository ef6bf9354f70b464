//! Which network the device is on: what the operating system says of it.

use std::fmt;

/// The kind of network that carries the default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum NetworkKind {
    /// No network: nothing is sent until another kind is reported.
    None,
    /// Wi-Fi.
    Wifi,
    /// A mobile network of any generation.
    Cellular,
    /// A cable.
    Ethernet,
    /// Whatever else carries packets; also what is assumed until the app says more.
    #[default]
    Other,
}

impl NetworkKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::None,
        Self::Wifi,
        Self::Cellular,
        Self::Ethernet,
        Self::Other,
    ];

    /// Name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Wifi => "wifi",
            Self::Cellular => "cellular",
            Self::Ethernet => "ethernet",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A network as the operating system describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Network {
    /// What carries it.
    pub kind: NetworkKind,
    /// Whether bytes cost money: nothing is sent there but requests, and limits of bytes a day hold.
    pub metered: bool,
}
