//! The profile: how long each head takes on the machine that prepared the bundle.

use serde::{Deserialize, Serialize};

/// The content of `profile.json`. Not part of the bundle's hash: it belongs to a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// CPU of the machine, as the system names it.
    pub machine: String,
    /// Threads that ran one inference.
    pub threads: usize,
    /// Milliseconds from the input to each cut, one for each row of the cut table (0 at cut 0,
    /// the whole model at the last); never falling.
    pub head_ms: Vec<f64>,
    /// Which rows were measured; the others lie between their neighbours by their operations.
    pub measured: Vec<usize>,
}

impl Profile {
    /// Milliseconds from cut `from` to cut `to`; 0 outside of the table.
    pub fn span_ms(&self, from: usize, to: usize) -> f64 {
        let at = |cut: usize| self.head_ms.get(cut).copied().unwrap_or(0.0);
        (at(to) - at(from)).max(0.0)
    }
}
