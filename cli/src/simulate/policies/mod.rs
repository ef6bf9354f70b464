//! Who plays: DynO, what it is compared with, and where each rival comes from
//! (`docs/simulation.md` says it at length).

mod dyno;
mod oracle;
mod rivals;

pub(super) use dyno::Dyno;
pub(super) use oracle::Oracle;
pub(super) use rivals::{Fixed, FixedOfSpace, PaperDyno, Rival};
