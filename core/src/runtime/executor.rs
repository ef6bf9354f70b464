//! What a client needs of the machine it runs on: to run spans, and to have others made ready.

use std::time::Duration;

use super::{Activation, Cancel};
use crate::Result;

/// Runs spans of one bundle's model on this machine. Blocking: call it off the async threads.
///
/// A trait, so that policy is tested without models (`client` tests) and with slowed devices.
pub trait Executor: Send + Sync + 'static {
    /// The cuts, in ascending order, at which the spans at hand begin or end, with the first (0)
    /// and the last of the table: a run between any two of these needs no building.
    fn ready_cuts(&self) -> Vec<usize>;

    /// Asks for the spans on both sides of `cut` to be built in the background, in place of those
    /// at hand. Returns at once; asking again for the same cut changes nothing.
    fn request(&self, cut: usize);

    /// Builds the spans on both sides of `cut` now, if they are not at hand.
    fn prepare(&self, cut: usize) -> Result<()>;

    /// Runs the nodes between the activation's cut and cut `to`, chaining spans where no single
    /// one covers the way; builds what is missing.
    ///
    /// Fails with [`Cancelled`](crate::ErrorKind::Cancelled) once `cancel` is set.
    fn run(&self, input: Activation, to: usize, cancel: &Cancel) -> Result<SpanRun>;
}

/// What a run left, and how long it took.
#[derive(Debug)]
pub struct SpanRun {
    /// The tensors at the cut it ran to.
    pub output: Activation,
    /// Time spent computing, without waiting for a span to be free or built.
    pub elapsed: Duration,
}
