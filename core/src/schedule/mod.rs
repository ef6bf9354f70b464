//! Choosing where to cut and how to send: plans, what they cost, and which is best now.

mod budget;
mod candidate;
mod coding;
mod cost;
mod decision;
mod energy;
mod ewma;
mod explain;
#[cfg(test)]
pub(crate) mod fixtures;
mod glance;
mod in_flight;
mod line;
mod link;
mod machine;
mod mix;
mod moment;
mod network;
mod objective;
mod overlap;
mod partners;
mod patience;
pub mod plan;
mod planner;
mod probing;
mod rank;
mod second_look;
mod server;
mod shortlist;
mod sizes;
mod space;
mod spread;
mod steady;

pub use candidate::Candidate;
pub use cost::Estimates;
pub use energy::Power;
pub use explain::{ExplainedRow, Explanation};
pub(crate) use in_flight::bytes_in;
pub use in_flight::{Delays, InFlight, Ticket};
pub use link::{Connection, Link, LinkNow, LinkPrior, LinkSample};
pub use machine::{Machine, Reference};
pub use network::{Network, NetworkKind};
pub use objective::{
    DEFAULT_MAX_ACCURACY_DROP_PP, DEFAULT_MAX_LATENCY_MS, Goal, Limits, Metric, Objective,
};
pub use overlap::{Next, Overlap, UnderWay};
pub use patience::Patience;
pub use plan::{Codec, Levels, PhotoCodec, Plan, Precision, Quantisation};
pub use planner::{Choice, Planner};
pub use probing::{FIRST_PROBE_BYTES, OPENING_PROBE_BYTES, Probing, opening_probe_is_worth_it};
pub use second_look::{Doubts, SecondLook};
pub use server::Server;
pub use sizes::Sizes;
pub use space::{SpacePlan, all_plans, calibrated_plans, can_be_packed};
