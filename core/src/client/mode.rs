//! Execution modes as data: the one table that the client obeys, the tests check, and
//! `docs/modes.md` prints.

use std::fmt;
use std::str::FromStr;

use crate::schedule::Plan;
use crate::{Error, ErrorKind, Result};

/// Where an inference may run, and what is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ExecutionMode {
    /// Whatever is best for the objective; the device finishes what the server does not.
    #[default]
    Auto,
    /// The device; the server only if the device fails.
    PreferOnDevice,
    /// The server; the device if the server fails.
    PreferCloud,
    /// The device alone: the network is never touched.
    OnlyOnDevice,
    /// The server alone: an error where it cannot answer.
    OnlyCloud,
}

impl ExecutionMode {
    /// Every mode.
    pub const ALL: &[Self] = &[
        Self::Auto,
        Self::PreferOnDevice,
        Self::PreferCloud,
        Self::OnlyOnDevice,
        Self::OnlyCloud,
    ];

    /// Name in configurations and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "AUTO",
            Self::PreferOnDevice => "PREFER_ON_DEVICE",
            Self::PreferCloud => "PREFER_CLOUD",
            Self::OnlyOnDevice => "ONLY_ON_DEVICE",
            Self::OnlyCloud => "ONLY_CLOUD",
        }
    }

    /// The mode's row of the table.
    pub const fn policy(self) -> ModePolicy {
        match self {
            Self::Auto => ModePolicy {
                first: First::Best,
                if_server_fails: IfServerFails::ResumeOnDevice,
                if_device_fails: IfDeviceFails::SendPhoto,
            },
            Self::PreferOnDevice => ModePolicy {
                first: First::Device,
                if_server_fails: IfServerFails::ResumeOnDevice,
                if_device_fails: IfDeviceFails::SendPhoto,
            },
            Self::PreferCloud => ModePolicy {
                first: First::Server,
                if_server_fails: IfServerFails::ResumeOnDevice,
                if_device_fails: IfDeviceFails::SendPhoto,
            },
            Self::OnlyOnDevice => ModePolicy {
                first: First::Device,
                if_server_fails: IfServerFails::ResumeOnDevice,
                if_device_fails: IfDeviceFails::Fail,
            },
            Self::OnlyCloud => ModePolicy {
                first: First::Server,
                if_server_fails: IfServerFails::Fail,
                if_device_fails: IfDeviceFails::Fail,
            },
        }
    }
}

impl fmt::Display for ExecutionMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ExecutionMode {
    type Err = Error;

    /// Reads `PREFER_CLOUD` and `prefer-cloud` alike.
    fn from_str(text: &str) -> Result<Self> {
        let name = text.to_ascii_uppercase().replace('-', "_");
        Self::ALL
            .iter()
            .copied()
            .find(|mode| mode.as_str() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|mode| mode.as_str()).collect();
                Error::new(
                    ErrorKind::InvalidArgument,
                    format!("unknown mode '{text}': use {}", names.join(", ")),
                )
            })
    }
}

/// What a mode does: one row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModePolicy {
    /// What runs while nothing is known to stand in the way.
    pub first: First,
    /// What happens when the server does not answer, or answers with an error.
    pub if_server_fails: IfServerFails,
    /// What happens when ONNX Runtime fails on the device.
    pub if_device_fails: IfDeviceFails,
}

/// What a mode tries first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The plan that is best for the objective.
    Best,
    /// The whole model on the device.
    Device,
    /// The photo, and the whole model on the server.
    Server,
}

/// What a mode does about a server that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfServerFails {
    /// The device finishes from the cut, and the server is left alone for a while.
    ResumeOnDevice,
    /// The call fails; the next one tries the server again.
    Fail,
}

/// What a mode does about a device that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfDeviceFails {
    /// The photo goes to the server, unless the server has failed this call already.
    SendPhoto,
    /// The call fails.
    Fail,
}

impl ModePolicy {
    /// Whether any call may touch the network.
    pub const fn may_use_network(self) -> bool {
        !matches!(self.first, First::Device)
            || matches!(self.if_device_fails, IfDeviceFails::SendPhoto)
    }

    /// Whether `plan` may be what runs first: chosen in this mode, or pinned by the caller.
    pub const fn allows(self, plan: &Plan) -> bool {
        match self.first {
            First::Best => true,
            First::Device => !plan.uses_server(),
            First::Server => plan.uses_server(),
        }
    }

    /// What a call comes to in a situation: one field of the table.
    pub const fn outcome(self, situation: Situation) -> Outcome {
        use Situation as S;
        let fails = matches!(self.if_server_fails, IfServerFails::Fail);
        match (self.first, situation) {
            (First::Device, S::DeviceFails) => match self.if_device_fails {
                IfDeviceFails::SendPhoto => Outcome::Server,
                IfDeviceFails::Fail => Outcome::Error(ErrorKind::Runtime),
            },
            (First::Device, _) => Outcome::Device,
            (First::Best, S::Online) => Outcome::Best,
            (First::Server, S::Online) | (_, S::DeviceFails) => Outcome::Server,
            (_, S::NoServer) if fails => Outcome::Error(ErrorKind::InvalidArgument),
            (_, S::NoServer) => Outcome::Device,
            (_, S::Unreachable) if fails => Outcome::Error(ErrorKind::Unreachable),
            (_, S::Late) if fails => Outcome::Error(ErrorKind::DeadlineExceeded),
            (_, S::ServerFull) if fails => Outcome::Error(ErrorKind::Overloaded),
            (_, S::WrongBundle) if fails => Outcome::Error(ErrorKind::BundleMismatch),
            (_, S::NotAnAnswer) if fails => Outcome::Error(ErrorKind::Protocol),
            (_, S::Unreachable | S::Late | S::ServerFull | S::WrongBundle | S::NotAnAnswer) => {
                Outcome::Resumed
            }
        }
    }
}

/// What a call may meet: one column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    /// The server answers in time.
    Online,
    /// The client was given no server.
    NoServer,
    /// No connection, or one that breaks.
    Unreachable,
    /// No answer before the deadline.
    Late,
    /// The server has no room (429, 503).
    ServerFull,
    /// The server holds another bundle of the model (409), or none (404).
    WrongBundle,
    /// Something else answers: a captive portal, a broken proxy.
    NotAnAnswer,
    /// ONNX Runtime fails on the device; the server answers.
    DeviceFails,
}

impl Situation {
    /// Every situation.
    pub const ALL: &[Self] = &[
        Self::Online,
        Self::NoServer,
        Self::Unreachable,
        Self::Late,
        Self::ServerFull,
        Self::WrongBundle,
        Self::NotAnAnswer,
        Self::DeviceFails,
    ];
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Online => "server answers",
            Self::NoServer => "no server given",
            Self::Unreachable => "server unreachable",
            Self::Late => "answer late",
            Self::ServerFull => "server full",
            Self::WrongBundle => "wrong bundle",
            Self::NotAnAnswer => "captive portal",
            Self::DeviceFails => "device fails",
        })
    }
}

/// What a call comes to: one field of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The plan that is best for the objective answers.
    Best,
    /// The device answers, and the network is not touched.
    Device,
    /// The server answers.
    Server,
    /// The device finishes from the cut.
    Resumed,
    /// The call (or, for `InvalidArgument`, the construction of the client) fails.
    Error(ErrorKind),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best plan"),
            Self::Device => f.write_str("device"),
            Self::Server => f.write_str("server"),
            Self::Resumed => f.write_str("device, from the cut"),
            Self::Error(kind) => write!(f, "error `{kind}`"),
        }
    }
}

/// The table of modes and situations, as Markdown.
pub fn table() -> String {
    let mut lines = vec![
        Situation::ALL
            .iter()
            .fold("| mode |".to_owned(), |row, s| row + &format!(" {s} |")),
        "|---|".to_owned() + &"---|".repeat(Situation::ALL.len()),
    ];
    lines.extend(ExecutionMode::ALL.iter().map(|mode| {
        let policy = mode.policy();
        Situation::ALL
            .iter()
            .fold(format!("| {mode} |"), |row, &s| {
                row + &format!(" {} |", policy.outcome(s))
            })
    }));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::PhotoCodec;

    #[test]
    fn the_documentation_prints_this_table() {
        let document = include_str!("../../../docs/modes.md");
        assert!(
            document.contains(&table()),
            "docs/modes.md should hold:\n{}",
            table()
        );
    }

    #[test]
    fn modes_are_read_as_they_are_written_and_as_options() {
        for &mode in ExecutionMode::ALL {
            let option = mode.as_str().to_ascii_lowercase().replace('_', "-");
            assert_eq!(mode.as_str().parse::<ExecutionMode>().unwrap(), mode);
            assert_eq!(option.parse::<ExecutionMode>().unwrap(), mode);
        }
        let error = "cloud".parse::<ExecutionMode>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn only_on_device_alone_never_touches_the_network() {
        for &mode in ExecutionMode::ALL {
            let policy = mode.policy();
            assert_eq!(
                policy.may_use_network(),
                mode != ExecutionMode::OnlyOnDevice
            );
        }
        let only = ExecutionMode::OnlyOnDevice.policy();
        assert!(!only.allows(&Plan::Photo(PhotoCodec::Png)));
    }
}
