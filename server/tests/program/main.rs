//! `dyno-server` as a program of its own: its command line, its settings, its signals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;
#[cfg(unix)]
#[path = "../common/mod.rs"]
mod common;
#[cfg(unix)]
mod process;
mod settings;
