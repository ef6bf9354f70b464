//! What an app decides about its inferences, with defaults that suit a phone.

use std::time::Duration;

use super::labels::MAX_TOP_K;
use super::mode::ExecutionMode;
use crate::bundle::Manifest;
use crate::schedule::{
    Codec, Levels, LinkPrior, Objective, PhotoCodec, Plan, Precision, can_be_packed,
};
use crate::{Error, ErrorKind, Result};

/// Longest time that any one request may be given.
pub const MAX_REMOTE_DEADLINE: Duration = Duration::from_mins(1);

/// How a [`Client`](super::Client) behaves.
///
/// ```
/// use dyno_core::client::{ClientConfig, ExecutionMode};
///
/// let config = ClientConfig {
///     mode: ExecutionMode::PreferCloud,
///     top_k: 3,
///     ..ClientConfig::default()
/// };
/// assert_eq!(config.codec.as_str(), "zstd");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// Where an inference may run.
    pub mode: ExecutionMode,
    /// Name of the model on the server, if it is not the bundle's: servers go by the folder.
    pub model: Option<String>,
    /// Labels in an answer: 1 to [`MAX_TOP_K`], at most as many as there are classes.
    pub top_k: usize,
    /// This plan instead of the planner's choice; the mode must allow it.
    pub plan: Option<Plan>,
    /// What the planner optimises, and the limits it keeps. In a calibrated bundle the limit of the
    /// loss of accuracy ([`Objective::accuracy_drop_pp`]) chooses photo quality, precision and codec
    /// of every plan, instead of the three fields below; setting one for a bundle that is not
    /// calibrated is an error.
    pub objective: Objective,
    /// How the photo is sent at cut 0. Lossless unless told: what a lossy photo does to a model's
    /// answers has to be measured first.
    pub photo: PhotoCodec,
    /// How precisely the planner's splits send an activation.
    pub precision: Precision,
    /// How they write it.
    pub codec: Codec,
    /// Longest time that a request is given, however slow the answer is expected, even one that
    /// nobody but the statistics waits for; also the time where nothing but the server can answer.
    /// Above 0, at most [`MAX_REMOTE_DEADLINE`].
    pub remote_deadline_max: Duration,
    /// What is assumed of the link before anything was sent.
    pub link: LinkPrior,
    /// How many times as fast as the machine that prepared the bundle the server is assumed to be
    /// before it has answered; above 0.
    pub server_speed: f64,
    /// How long the server is left alone after it failed once: at least this, at most twice this.
    pub backoff_min: Duration,
    /// How long it is left alone at most, unless it asks for more (`Retry-After`); each failure
    /// doubles the longest time that may be drawn until then.
    pub backoff_max: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            mode: ExecutionMode::Auto,
            model: None,
            top_k: 5,
            plan: None,
            objective: Objective::default(),
            photo: PhotoCodec::WebPLossless,
            precision: Precision::Levels(Levels::EIGHT_BITS),
            codec: Codec::Zstd,
            remote_deadline_max: Duration::from_secs(5),
            link: LinkPrior::MOBILE,
            server_speed: 1.0,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
        }
    }
}

impl ClientConfig {
    /// Fails with [`ErrorKind::InvalidArgument`] if the values make no sense for this model.
    pub fn check(&self, manifest: &Manifest) -> Result<()> {
        if !(1..=MAX_TOP_K).contains(&self.top_k) {
            return invalid(format!(
                "top_k must be 1 to {MAX_TOP_K}, got {}",
                self.top_k
            ));
        }
        if self.backoff_min.is_zero() || self.backoff_min > self.backoff_max {
            return invalid(format!(
                "backoff_min must be above 0 and at most backoff_max, got {:?} and {:?}",
                self.backoff_min, self.backoff_max
            ));
        }
        if self.remote_deadline_max.is_zero() || self.remote_deadline_max > MAX_REMOTE_DEADLINE {
            return invalid(format!(
                "remote_deadline_max must be above 0 and at most {MAX_REMOTE_DEADLINE:?}, got {:?}",
                self.remote_deadline_max
            ));
        }
        if !self.server_speed.is_finite() || self.server_speed <= 0.0 {
            return invalid(format!(
                "server_speed must be above 0, got {}",
                self.server_speed
            ));
        }
        self.objective.check()?;
        self.link.check()?;
        self.photo.check()?;
        self.plan
            .map_or(Ok(()), |plan| self.check_plan(plan, manifest))
    }

    fn check_plan(&self, plan: Plan, manifest: &Manifest) -> Result<()> {
        if !self.mode.policy().allows(&plan) {
            return invalid(format!(
                "{} does not allow the plan '{plan}': choose another mode or another plan",
                self.mode
            ));
        }
        match plan {
            Plan::Device => Ok(()),
            Plan::Photo(codec) => codec.check().map(|_| ()),
            Plan::Split { cut, .. } => {
                let last = manifest.last_cut();
                if cut >= last {
                    return invalid(format!(
                        "there is no tail behind cut {cut}: split at 0 to {}",
                        last.saturating_sub(1)
                    ));
                }
                if manifest.cuts.get(cut).is_none_or(|row| !can_be_packed(row)) {
                    return invalid(format!(
                        "cut {cut} cannot be sent: not all of its tensors are f32"
                    ));
                }
                Ok(())
            }
        }
    }
}

fn invalid(message: String) -> Result<()> {
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ElementType;
    use crate::schedule::fixtures::manifest;

    fn split(cut: usize) -> Plan {
        Plan::Split {
            cut,
            precision: Precision::Raw,
            codec: Codec::Raw,
        }
    }

    #[test]
    fn the_defaults_make_sense() {
        ClientConfig::default().check(&manifest()).unwrap();
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        type Change = fn(&mut ClientConfig);
        let changes: &[Change] = &[
            |c| c.top_k = 0,
            |c| c.top_k = MAX_TOP_K + 1,
            |c| c.remote_deadline_max = Duration::ZERO,
            |c| c.remote_deadline_max = MAX_REMOTE_DEADLINE * 2,
            |c| c.backoff_min = c.backoff_max * 2,
            |c| c.link.rtt_ms = 0.0,
            |c| c.server_speed = 0.0,
            |c| c.server_speed = f64::NAN,
            |c| c.objective.limits.accuracy_drop_pp = Some(-0.5),
            |c| c.objective.limits.accuracy_drop_pp = Some(f64::NAN),
            |c| c.photo = PhotoCodec::Jpeg(0),
            |c| c.photo = PhotoCodec::WebP(0),
            |c| c.plan = Some(Plan::Photo(PhotoCodec::Jpeg(101))),
            |c| c.plan = Some(split(3)),
            |c| c.plan = Some(split(usize::MAX)),
        ];
        for (row, change) in changes.iter().enumerate() {
            let mut config = ClientConfig::default();
            change(&mut config);
            let error = config.check(&manifest()).expect_err(&format!("row {row}"));
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "row {row}");
        }
    }

    #[test]
    fn a_pinned_plan_must_be_one_that_the_mode_allows() {
        use ExecutionMode as M;
        for (mode, plan, allowed) in [
            (M::Auto, split(1), true),
            (M::Auto, Plan::Device, true),
            (M::PreferOnDevice, Plan::Device, true),
            (M::PreferOnDevice, split(1), false),
            (M::PreferCloud, split(1), true),
            (M::PreferCloud, Plan::Device, false),
            (M::OnlyOnDevice, Plan::Device, true),
            (M::OnlyOnDevice, split(1), false),
            (M::OnlyOnDevice, Plan::Photo(PhotoCodec::Png), false),
            (M::OnlyCloud, split(1), true),
            (M::OnlyCloud, Plan::Device, false),
        ] {
            let config = ClientConfig {
                mode,
                plan: Some(plan),
                ..ClientConfig::default()
            };
            assert_eq!(config.check(&manifest()).is_ok(), allowed, "{mode}, {plan}");
        }
    }

    #[test]
    fn a_cut_that_cannot_be_packed_cannot_be_pinned() {
        let mut manifest = manifest();
        manifest.cuts[1].tensors[0].element = ElementType::I64;
        let config = ClientConfig {
            plan: Some(split(1)),
            ..ClientConfig::default()
        };
        assert!(config.check(&manifest).is_err());
    }
}
