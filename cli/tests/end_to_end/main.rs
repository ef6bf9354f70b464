//! The programs as people run them: `dyno` and `dyno-server` as processes, with the model that
//! ships, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;
mod http;
mod npy;
mod onnx;
mod processes;
mod relay;

mod calibrate;
mod demo;
mod failures;
mod fetch;
mod help;
mod infer;
mod inspect;
#[cfg(target_os = "linux")]
mod link;
#[cfg(unix)]
mod load;
mod prepare;
mod protocol;
mod real_models;
mod report;
mod server_process;
mod split;
mod tls;
mod token;
mod verify;
