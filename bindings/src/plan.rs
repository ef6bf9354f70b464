//! Plans: where to cut, and how to send what crosses.

use dyno_core::schedule::{self, Codec, Levels, PhotoCodec, Precision};

use crate::error::{DynoError, Result};

/// Where to cut, how precisely to send what crosses, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, uniffi::Enum)]
pub enum Plan {
    /// Everything on the device.
    Device,
    /// The head on the device, its activation sent, the tail on the server.
    Split {
        /// Index in the bundle's table of cuts.
        cut: u32,
        /// Quantisation levels, 2 to 65536; none for fp32.
        levels: Option<u32>,
        /// `raw`, `lz4`, `zstd`, `context` or `shaped`.
        codec: String,
    },
    /// The photo itself, everything on the server.
    Photo {
        /// `jpeg:1` to `jpeg:100`, `webp:1` to `webp:100`, `png`, `webp-lossless` or `ppm`.
        codec: String,
    },
}

impl TryFrom<&Plan> for schedule::Plan {
    type Error = DynoError;

    fn try_from(plan: &Plan) -> Result<Self> {
        Ok(match plan {
            Plan::Device => Self::Device,
            Plan::Photo { codec } => Self::Photo(codec.parse::<PhotoCodec>()?),
            Plan::Split { cut, levels, codec } => Self::Split {
                cut: *cut as usize,
                precision: match levels {
                    None => Precision::Raw,
                    Some(levels) => Precision::Levels(Levels::new(*levels)?),
                },
                codec: codec.parse::<Codec>()?,
            },
        })
    }
}

impl From<schedule::Plan> for Plan {
    fn from(plan: schedule::Plan) -> Self {
        match plan {
            schedule::Plan::Photo(codec) => Self::Photo {
                codec: codec.to_string(),
            },
            schedule::Plan::Split {
                cut,
                precision,
                codec,
            } => Self::Split {
                cut: count(cut),
                levels: match precision {
                    Precision::Raw => None,
                    Precision::Levels(levels) => Some(levels.get()),
                },
                codec: codec.as_str().to_owned(),
            },
            _ => Self::Device,
        }
    }
}

/// A count of cuts, classes or pixels, which core bounds far below `u32`.
pub(crate) fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_cross_the_boundary_unchanged() {
        for plan in [
            Plan::Device,
            Plan::Photo {
                codec: "jpeg:75".into(),
            },
            Plan::Split {
                cut: 3,
                levels: Some(16),
                codec: "context".into(),
            },
            Plan::Split {
                cut: 0,
                levels: None,
                codec: "raw".into(),
            },
        ] {
            assert_eq!(Plan::from(schedule::Plan::try_from(&plan).unwrap()), plan);
        }
    }

    #[test]
    fn plans_that_make_no_sense_are_refused() {
        for plan in [
            Plan::Photo {
                codec: "gif".into(),
            },
            Plan::Split {
                cut: 1,
                levels: Some(1),
                codec: "zstd".into(),
            },
            Plan::Split {
                cut: 1,
                levels: Some(2),
                codec: "brotli".into(),
            },
        ] {
            let error = schedule::Plan::try_from(&plan).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
        }
    }
}
