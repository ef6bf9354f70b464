//! Flags, environment and file say the same things, and one comes before the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// Settings that are given in one place: as flags, variables or lines of a file.
type Given<'a> = &'a [(String, String)];

/// Runs `dyno-server --check-config` in a folder without bundles.
fn check(folder: &Path, flags: Given<'_>, variables: Given<'_>, file: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dyno-server"));
    command
        .env_clear()
        .current_dir(folder)
        .arg("--check-config");
    for (name, value) in flags {
        match value.as_str() {
            "true" => command.arg(format!("--{name}")),
            _ => command.arg(format!("--{name}={value}")),
        };
    }
    for (name, value) in variables {
        command.env(variable(name), value);
    }
    if let Some(text) = file {
        std::fs::write(folder.join("dyno.toml"), text).unwrap();
        command.arg("--config=dyno.toml");
    }
    command.output().unwrap()
}

fn variable(name: &str) -> String {
    match name {
        "keys" => "DYNO_KEYS_FILE".into(),
        _ => format!("DYNO_{}", name.replace('-', "_").to_uppercase()),
    }
}

/// What was printed: value and origin by name.
fn printed(output: &Output) -> BTreeMap<String, (String, String)> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!text.is_empty(), "{stderr}");
    let table: toml::Table = text.parse().unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let rows: BTreeMap<_, _> = lines
        .map(|line| {
            let (name, rest) = line.split_once(" = ").unwrap();
            let (value, origin) = rest.rsplit_once(" # ").unwrap();
            (
                name.to_owned(),
                (value.trim_matches('"').to_owned(), origin.to_owned()),
            )
        })
        .collect();
    assert_eq!(rows.len(), table.len(), "one setting a line: {text}");
    rows
}

/// Every setting that `--help` names, with the name of its value; empty for switches.
fn settings() -> Vec<(String, String)> {
    let help = Command::new(env!("CARGO_BIN_EXE_dyno-server"))
        .arg("--help")
        .env_clear()
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let named = help.lines().filter_map(|line| {
        let (_, flag) = line.split_once("--")?;
        let is_flag = line.trim_start().starts_with('-');
        let mut words = flag.split_ascii_whitespace();
        let name = words.next().filter(|_| is_flag)?;
        let value = words.next().unwrap_or_default();
        let value = value
            .strip_prefix('<')
            .map_or("", |v| v.trim_end_matches('>'));
        Some((name.to_owned(), value.to_owned()))
    });
    let now = ["config", "check-config", "help", "version"];
    let all: Vec<_> = named
        .filter(|(name, _)| !now.contains(&name.as_str()))
        .collect();
    assert!(all.len() > 20, "{all:?}");
    all
}

/// A value that such a flag takes; another one for every `which`.
fn sample(name: &str, value: &str, which: usize) -> String {
    match (name, value) {
        (_, "") => "true".into(),
        ("log-format", _) => ["text", "json", "text"][which].into(),
        ("huge-pages", _) => ["on", "off", "on"][which].into(),
        (_, "DIR" | "FILE") => format!("does/not/exist-{which}"),
        (_, "ADDR") => format!("127.0.0.1:{}", 10 + which),
        (_, "N" | "BYTES" | "MS") => (3 + which).to_string(),
        (_, "NAME") => format!("name-{which}"),
        (_, "URL") => format!("grpc://127.0.0.1:{}", 10 + which),
        (_, "PATTERN") => format!("tail{which}-{{model}}-{{cut}}"),
        (_, "RATIO") => format!("0.{}", 1 + which),
        (_, "TIME") => format!("{}s", 2 + which),
        _ => panic!("say here what a <{value}> of --{name} looks like"),
    }
}

fn all(which: usize) -> Vec<(String, String)> {
    let sample = |(name, value): (String, String)| {
        let sample = sample(&name, &value, which);
        (name, sample)
    };
    settings().into_iter().map(sample).collect()
}

fn file_of(given: Given<'_>) -> String {
    given
        .iter()
        .map(|(name, value)| match value.as_str() {
            "true" => format!("{name} = true\n"),
            _ if value.parse::<u32>().is_ok() => format!("{name} = {value}\n"),
            _ => format!("{name} = \"{value}\"\n"),
        })
        .collect()
}

#[test]
fn every_flag_is_a_variable_and_a_setting_and_the_first_of_them_counts() {
    let folder = tempfile::tempdir().unwrap();
    let [flags, variables, lines] = [all(0), all(1), all(2)];
    let file = file_of(&lines);
    for (given, expected, origin) in [
        ((&flags[..], &variables[..], Some(&file)), &flags, "flag"),
        ((&[], &variables, Some(&file)), &variables, "DYNO_"),
        ((&[], &[], Some(&file)), &lines, "dyno.toml, line "),
        ((&flags, &[], None), &flags, "flag"),
        ((&[], &variables, None), &variables, "DYNO_"),
    ] {
        let output = check(folder.path(), given.0, given.1, given.2.map(String::as_str));
        let printed = printed(&output);
        for (name, value) in expected {
            let (got, from) = &printed[name];
            assert_eq!(
                (got, from.starts_with(origin)),
                (value, true),
                "{name}: {from}"
            );
        }
        assert_eq!(printed.len(), expected.len());
        assert_eq!(output.status.code(), Some(1), "there is no such folder");
    }
}

#[test]
fn settings_of_several_places_go_together() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [("tls-cert".into(), "cert.pem".into())];
    let variables = [
        ("workers".into(), "3".into()),
        ("strict".into(), "false".into()),
    ];
    let file = "bundles = \"b\"\ntls-key = \"key.pem\"\nstrict = true\nworkers = 5\n";
    let output = check(folder.path(), &flags, &variables, Some(file));
    let printed = printed(&output);
    let row = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(printed["bundles"], row("b", "dyno.toml, line 1"));
    assert_eq!(printed["tls-cert"], row("cert.pem", "flag"));
    assert_eq!(printed["tls-key"], row("key.pem", "dyno.toml, line 2"));
    assert_eq!(printed["strict"], row("false", "DYNO_STRICT"));
    assert_eq!(printed["workers"], row("3", "DYNO_WORKERS"));
    assert_eq!(printed["spans"], row("256", "default"));
    assert!(!printed.contains_key("keys"), "not set anywhere");
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let bundles = [("bundles".into(), ".".into())];
    for (file, says) in [
        (
            "\nmax-in-flght = 5",
            "dyno.toml: line 2: there is no setting 'max-in-flght': is it 'max-in-flight'?",
        ),
        (
            "max-in-flight = 0",
            "dyno.toml: line 1: invalid value '0' for '--max-in-flight",
        ),
        (
            "#\nmax-deadline = \"10\"",
            "dyno.toml: line 2: invalid value '10' for '--max-deadline",
        ),
        (
            "#\nlog-format = \"xml\"",
            "dyno.toml: line 2: invalid value 'xml'",
        ),
        ("strict = true\nstrict", "dyno.toml: line 2: "),
        ("config = \"other.toml\"", "there is no setting 'config'"),
    ] {
        let output = check(folder.path(), &bundles, &[], Some(file));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{file}: {stderr}");
        assert!(stderr.contains(says), "{file}: {stderr}");
        assert!(output.stdout.is_empty());
    }
    let missing = [("config".into(), "none.toml".into())];
    let output = check(folder.path(), &missing, &[], None);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.toml: "));
}

#[test]
fn a_check_opens_what_a_start_opens() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("bundle.json"), "{").unwrap();
    std::fs::write(folder.path().join("keys"), "phone sesame\n").unwrap();
    let settings = |more: &[(&str, &str)]| -> Vec<(String, String)> {
        let all = [("bundles", ".")].iter().chain(more);
        all.map(|&(name, value)| (name.into(), value.into()))
            .collect()
    };
    for (more, says) in [
        (&[][..], "broken"),
        (&[("keys", "keys")], "line 1"),
        (&[("listen", "0.0.0.0:0")], "--tls-cert"),
        (
            &[("tls-cert", "none.pem"), ("tls-key", "none.pem")],
            "none.pem",
        ),
    ] {
        let output = check(folder.path(), &settings(more), &[], None);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {stderr}");
        assert!(stderr.contains(says), "{more:?}: {stderr}");
        assert!(!stderr.contains("sesame"));
        assert!(printed(&output).contains_key("bundles"));
    }
}

#[test]
fn the_example_is_a_file_of_settings() {
    let folder = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/dyno-server.example.toml");
    let example = std::fs::read_to_string(example).unwrap();
    let output = check(folder.path(), &[], &[], Some(&example));
    let said = printed(&output);
    assert!(
        said["bundles"].1.starts_with("dyno.toml, line "),
        "{said:?}"
    );
    // Every setting is in it: those that are not said stand behind a '# '.
    for (name, _) in settings() {
        let line = |line: &str| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{name} = "))
        };
        assert!(example.lines().any(line), "{name}");
    }
    // And what stands behind it is right as well.
    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest
                    .split_once(" = ")
                    .is_some_and(|(name, _)| !name.contains(' ')) =>
            {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(
        printed(&check(folder.path(), &[], &[], Some(&uncommented))).len(),
        settings().len()
    );
}
