//! Calibration: what each (cut, precision, codec) costs in bytes and in answers, measured on photos.
//!
//! Every number comes from the real way of an activation: head, [`Packer`](crate::pack::Packer),
//! [`unpack`](crate::pack::unpack), tail. Codecs that carry the same codes share one measurement of
//! their fidelity. `docs/calibration.md` says how the bounds are made and what they promise.

mod distance;
mod doubt;
mod fidelity;
mod flips;
pub mod interval;
mod lab;
mod parallel;
mod photos;
mod resume;
mod run;
mod search;
mod shaping;
mod truth;

pub use doubt::Doubt;
pub use fidelity::{Drop, Judgement, Measure, Outcome};
pub use flips::FlipRate;
pub use lab::{Detail, Lab, LabOptions, Message, Observation};
pub use photos::{PhotoSet, Skipped};
pub use run::{Calibrate, CalibrationSummary, calibrate};
pub use truth::Truth;
