//! What attackers and broken clients send, against the server over real sockets: every row of
//! `docs/hostile-input.md`, which names the test of each and says what the server answers.
//!
//! Most run against the server as a process of its own with the shipped model on ONNX Runtime. After each
//! bad input the server lives, and in the end its memory, threads and files are back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(target_os = "linux")]

mod activations;
mod bundle;
mod cancel;
mod child;
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod encodings;
mod faults;
mod frames;
mod http1;
mod lengths;
mod logs;
mod order;
mod overload;
mod paths;
mod raw;
mod resources;
mod slow;
mod tokens;
