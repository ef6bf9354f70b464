//! Runs a command in the world of the SDK's tests: `sdk_world COMMAND ARGUMENT…`. What is where is
//! told in environment variables; the exit code is the command's.
//!
//! The tests of Kotlin and Swift run under it (`scripts/test-kotlin.sh`, `scripts/test-swift.sh`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/sdk/world/mod.rs"]
mod world;

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: sdk_world COMMAND ARGUMENT…");
        return ExitCode::from(2);
    };
    let world = world::World::new();
    let binaries = std::env::current_exe().expect("this program has a path");
    let binaries = binaries
        .ancestors()
        .nth(2)
        .expect("it lies in target/PROFILE/examples");
    let status = Command::new(program)
        .args(arguments)
        .env("DYNO_SDK_LIB", binaries)
        .env("DYNO_SERVER_BIN", binaries.join("dyno-server"))
        .env("DYNO_SDK_SCENARIOS", world::scenarios())
        .env("DYNO_SDK_BUNDLES", world.bundles())
        .env("DYNO_SDK_BUNDLE", world.bundle())
        .env("DYNO_SDK_INPUTS", world.inputs())
        .env("DYNO_SDK_URL_UP", &world.up)
        .env("DYNO_SDK_URL_KEYED", &world.keyed)
        .env("DYNO_SDK_TOKEN", world::TOKEN)
        .env("DYNO_SDK_URL_OTHER", &world.other)
        .env("DYNO_SDK_URL_SILENT", &world.silent)
        .env("DYNO_SDK_URL_DEAD", &world.dead)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(
            status
                .code()
                .and_then(|code| code.try_into().ok())
                .unwrap_or(1),
        ),
        Err(error) => {
            eprintln!("cannot run the command: {error}");
            ExitCode::FAILURE
        }
    }
}
