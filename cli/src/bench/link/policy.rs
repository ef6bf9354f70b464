//! Who decides where a photo is computed: DynO, or a rule that it is compared with.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use dyno_core::client::{ClientConfig, ExecutionMode};
use dyno_core::schedule::{Codec, Levels, PhotoCodec, Plan, Precision};

/// A way to decide, by the name that it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Policy {
    pub(super) name: String,
    mode: ExecutionMode,
    plan: Option<Plan>,
}

impl Policy {
    /// Whether it ever sends anything.
    pub(super) fn uses_server(&self) -> bool {
        self.mode != ExecutionMode::OnlyOnDevice
    }

    /// A client's configuration that decides so; the server knows the bundle as `model`.
    pub(super) fn config(&self, model: &str) -> ClientConfig {
        ClientConfig {
            mode: self.mode,
            plan: self.plan,
            model: Some(model.to_owned()),
            ..ClientConfig::default()
        }
    }
}

impl FromStr for Policy {
    type Err = anyhow::Error;

    /// `dyno`, `device_only`, `server_raw`, `server_` and a photo codec, or
    /// `split:CUT:LEVELS:CODEC`.
    fn from_str(text: &str) -> Result<Self> {
        let (mode, plan) = match text {
            "dyno" => (ExecutionMode::Auto, None),
            "device_only" => (ExecutionMode::OnlyOnDevice, None),
            "server_raw" => {
                let pixels = Plan::Split {
                    cut: 0,
                    precision: Precision::Levels(Levels::EIGHT_BITS),
                    codec: Codec::Raw,
                };
                (ExecutionMode::OnlyCloud, Some(pixels))
            }
            other => match (other.strip_prefix("server_"), other.strip_prefix("split:")) {
                (Some(codec), _) => {
                    let codec: PhotoCodec = codec.parse()?;
                    (ExecutionMode::OnlyCloud, Some(Plan::Photo(codec)))
                }
                // A rival that has no device to go on without an answer.
                (_, Some(split)) => (ExecutionMode::OnlyCloud, Some(self::split(split)?)),
                _ => return Err(unknown(text)),
            },
        };
        Ok(Self {
            name: text.to_owned(),
            mode,
            plan,
        })
    }
}

fn split(text: &str) -> Result<Plan> {
    let mut parts = text.split(':');
    let (Some(cut), Some(levels), Some(codec), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(unknown(&format!("split:{text}")));
    };
    let precision = match levels {
        "raw" => Precision::Raw,
        levels => {
            let levels = levels.parse();
            let levels = levels.with_context(|| format!("'{text}': the levels are no number"))?;
            Precision::Levels(Levels::new(levels)?)
        }
    };
    Ok(Plan::Split {
        cut: cut
            .parse()
            .with_context(|| format!("'{text}': the cut is no number"))?,
        precision,
        codec: codec.parse()?,
    })
}

fn unknown(text: &str) -> anyhow::Error {
    anyhow!(
        "unknown policy '{text}': use dyno, device_only, server_raw, server_jpeg, server_jpeg:75, \
         server_webp-lossless or split:CUT:LEVELS:CODEC"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_mode_and_plan() {
        use ExecutionMode as M;
        for (name, mode, plan, uses_server) in [
            ("dyno", M::Auto, None, true),
            ("device_only", M::OnlyOnDevice, None, false),
            (
                "server_raw",
                M::OnlyCloud,
                Some("split at 0, 256 levels, raw"),
                true,
            ),
            ("server_jpeg:75", M::OnlyCloud, Some("photo jpeg:75"), true),
            (
                "split:3:16:zstd",
                M::OnlyCloud,
                Some("split at 3, 16 levels, zstd"),
                true,
            ),
            (
                "split:3:raw:lz4",
                M::OnlyCloud,
                Some("split at 3, fp32, lz4"),
                true,
            ),
        ] {
            let policy: Policy = name.parse().unwrap();
            assert_eq!(policy.name, name);
            assert_eq!(policy.mode, mode, "{name}");
            assert_eq!(policy.plan.map(|plan| plan.to_string()).as_deref(), plan);
            assert_eq!(policy.uses_server(), uses_server, "{name}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for (name, words) in [
            ("", "unknown policy ''"),
            ("dyno2", "unknown policy 'dyno2'"),
            ("server_gif", "unknown photo codec 'gif'"),
            ("server_jpeg:0", "quality"),
            ("split:3", "unknown policy 'split:3'"),
            ("split:3:16:zstd:1", "unknown policy"),
            ("split:x:16:zstd", "the cut is no number"),
            ("split:3:x:zstd", "the levels are no number"),
            ("split:3:1:zstd", "levels must be"),
            ("split:3:16:gzip", "gzip"),
        ] {
            let error = format!("{:#}", name.parse::<Policy>().unwrap_err());
            assert!(error.contains(words), "{name}: {error}");
        }
    }
}
