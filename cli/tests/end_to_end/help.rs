//! The help texts, word by word: they are the reference of the command.

use crate::processes::dyno;

/// Depends on the machine's cores, on the user's environment, and on the system.
const CHANGING: &[(&str, &str)] = &[
    (r"(<THREADS> .*)\[default: \d+\]", "$1[default: CORES]"),
    (r"(threads of .*)\[default: \d+\]", "$1[default: CORES]"),
    (r"\n  (link|upload) .*", ""),
    (r"\[env: DYNO_CACHE=[^\]]*\]", "[env: DYNO_CACHE=]"),
];

#[test]
fn every_command_has_its_help() {
    for command in [
        "",
        "prepare",
        "inspect",
        "verify",
        "infer",
        "pull",
        "fetch",
        "export-tails",
        "token",
        "token new",
        "token jwks",
        "bench",
        "bench overhead",
        "bench pack",
        "bench promise",
        "bench report",
        #[cfg(unix)]
        "bench server",
        "demo",
        #[cfg(target_os = "linux")]
        "bench link",
        #[cfg(target_os = "linux")]
        "bench upload",
    ] {
        let run = dyno(command.split_whitespace().chain(["--help"])).ok();
        assert_eq!(run.stderr, "");
        let name = format!("help {command}").trim().replace(' ', "_");
        insta::with_settings!({ filters => CHANGING.iter().copied(), omit_expression => true }, {
            insta::assert_snapshot!(name, run.stdout);
        });
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = dyno(["--version"]).ok().stdout;
    assert_eq!(version, format!("dyno {}\n", env!("CARGO_PKG_VERSION")));
}
