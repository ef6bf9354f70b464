//! The life of an inference, from `infer` to its labels: a client with a device and a server that do arithmetic
//! (`support`), over HTTP where it matters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod breaker;
mod connection;
mod http;
mod life;
mod modes;
mod probe;
mod race;
mod second_look;
mod stream;
mod support;
mod token;
