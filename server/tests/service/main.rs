//! A server in this process with a scripted engine (`common`), and what its clients see of it over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod budgets;
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod drain;
mod formats;
mod hot_swap;
mod keys;
mod limits;
mod metrics;
mod oip;
mod oip_http1;
mod protocol;
mod tls;
mod tokens;
mod warm_up;
