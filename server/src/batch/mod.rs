//! Dynamic batching across cuts: requests of one model that enter at different cuts run together
//! where that is worth something.
//!
//! A fixed number of workers take work off one queue. While all of them are busy the queue grows,
//! and the next one free takes as many as are worth running together; an idle server runs each
//! request at once. Requests from early cuts may stop at the model's junction, the cut behind which
//! batches gain most, to go on with those that wait there; how long they wait is bounded by a share of
//! their deadline.

mod job;
mod line;
mod queue;
#[cfg(test)]
mod tests;
mod workers;
mod worth;

pub(crate) use job::Done;
pub(crate) use line::Line;
pub(crate) use workers::{Request, Workers};
pub(crate) use worth::Worth;
