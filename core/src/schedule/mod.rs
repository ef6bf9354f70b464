//! Choosing where to cut and how to send: plans, what they cost, and which is best now.

pub mod plan;

pub use plan::{Codec, Levels, PhotoCodec, Plan, Precision};
