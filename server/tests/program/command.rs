//! The command line: its help, and how it says that it cannot start.

use std::process::{Command, Output};

fn dyno_server(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dyno-server"))
        .args(args)
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

#[test]
fn help() {
    let output = dyno_server(&["--help"]);
    assert!(output.status.success());
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
}

#[test]
fn a_server_that_cannot_start_says_why_and_fails() {
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "# keys\nphone sesame\n").unwrap();
    let keys = keys.path().to_str().unwrap();
    for (args, code, says) in [
        (&["--bundles", empty][..], 1, "dyno prepare"),
        (&["--bundles", "/does/not/exist"], 1, "/does/not/exist"),
        (
            &["--bundles", empty, "--listen", "0.0.0.0:0"],
            1,
            "--tls-cert",
        ),
        (&["--bundles", empty, "--tls-cert", "x"], 2, "--tls-key"),
        (&["--bundles", empty, "--keys", keys], 1, "line 2"),
        (&["--bundles", empty, "--keys", keys], 1, keys),
        (
            &["--bundles", empty, "--max-deadline", "10"],
            2,
            "500ms, 30s or 2m",
        ),
        (&[], 2, "--bundles"),
    ] {
        let output = dyno_server(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
        assert!(!stderr.contains("sesame"), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "nothing is listening");
    }
}
