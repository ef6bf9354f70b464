//! The facade as apps use it, on real sockets and the shipped model. One program: each links all of core.
#![allow(clippy::unwrap_used, clippy::panic)]

mod life;
mod names;
mod parity;
mod world;
