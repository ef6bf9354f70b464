//! Which network the phone is on, as its operating system says.

use dyno_core::schedule;

/// The kind of network that carries the default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum NetworkKind {
    /// No network: nothing is sent until another kind is reported. Also what an app reports while
    /// it is in the background.
    None,
    /// Wi-Fi.
    Wifi,
    /// A mobile network of any generation.
    Cellular,
    /// A cable.
    Ethernet,
    /// Whatever else carries packets; what is assumed until the app says more.
    Other,
}

impl From<NetworkKind> for schedule::NetworkKind {
    fn from(kind: NetworkKind) -> Self {
        match kind {
            NetworkKind::None => Self::None,
            NetworkKind::Wifi => Self::Wifi,
            NetworkKind::Cellular => Self::Cellular,
            NetworkKind::Ethernet => Self::Ethernet,
            NetworkKind::Other => Self::Other,
        }
    }
}

impl From<schedule::NetworkKind> for NetworkKind {
    fn from(kind: schedule::NetworkKind) -> Self {
        match kind {
            schedule::NetworkKind::None => Self::None,
            schedule::NetworkKind::Wifi => Self::Wifi,
            schedule::NetworkKind::Cellular => Self::Cellular,
            schedule::NetworkKind::Ethernet => Self::Ethernet,
            _ => Self::Other,
        }
    }
}
