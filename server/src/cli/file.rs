//! A file of settings: TOML whose keys are the flags' names, so that whatever is a flag is a setting too.

use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use toml::de::{DeTable, DeValue};

use super::NOT_IN_A_FILE;

/// Most bytes of a file of settings.
const MAX_BYTES: u64 = 1 << 20;
/// How alike two words are, of 1, that may be meant for each other.
const ALIKE: f64 = 0.7;

/// A setting, as a flag takes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Id of the flag.
    pub(super) id: String,
    /// What would be written on a command line; nothing for a switch that is off.
    pub(super) args: Vec<String>,
    /// In the file, from 1.
    pub(super) line: usize,
}

/// The settings of a file, in its order of names.
///
/// Fails with a sentence that names file and line if it cannot be read, is no TOML, or has a key that is no
/// flag or a value that is not of a flag's kind. What a value means is left to the flags' own parsers.
pub(super) fn read(path: &Path, command: &Command) -> Result<Vec<Entry>, String> {
    let in_file = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| in_file(&error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(in_file(&format_args!("more than {MAX_BYTES} bytes")));
    }
    parse(&text, command).map_err(|what| in_file(&what))
}

fn parse(text: &str, command: &Command) -> Result<Vec<Entry>, String> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = line_of(text, error.span());
        format!("line {line}: {}", error.message())
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.into_inner() {
        let line = line_of(text, Some(key.span()));
        let at = |what: String| format!("line {line}: {what}");
        let name = key.into_inner();
        let arg = setting(&name, command).map_err(at)?;
        let args = args(&name, arg, value.get_ref()).map_err(at)?;
        entries.push(Entry {
            id: arg.get_id().to_string(),
            args,
            line,
        });
    }
    Ok(entries)
}

/// The flag of a name.
fn setting<'a>(name: &str, command: &'a Command) -> Result<&'a Arg, String> {
    let settings = || {
        command.get_arguments().filter(|arg| {
            arg.get_long().is_some() && !NOT_IN_A_FILE.contains(&arg.get_id().as_str())
        })
    };
    if let Some(arg) = settings().find(|arg| arg.get_long() == Some(name)) {
        return Ok(arg);
    }
    let names = settings().filter_map(Arg::get_long);
    let meant = meant(name, names).map_or(String::new(), |name| format!(": is it '{name}'?"));
    Err(format!(
        "there is no setting '{}'{meant}",
        name.escape_debug()
    ))
}

/// The name that is most like a word, if any is.
pub(super) fn meant<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro(word, name), name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn args(name: &str, arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    if !arg.get_action().takes_values() {
        return match value {
            DeValue::Boolean(true) => Ok(vec![format!("--{name}")]),
            DeValue::Boolean(false) => Ok(vec![]),
            _ => Err(format!("{name} is true or false")),
        };
    }
    let many = matches!(arg.get_action(), ArgAction::Append);
    match value {
        DeValue::Array(values) if many => values
            .iter()
            .map(|value| scalar(name, value.get_ref()))
            .collect(),
        value => Ok(vec![scalar(name, value)?]),
    }
}

/// `--NAME=VALUE` for a value as people would write it behind a flag.
fn scalar(name: &str, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(format!("--{name}={text}")),
        DeValue::Integer(number) => Ok(format!("--{name}={number}")),
        DeValue::Float(number) => Ok(format!("--{name}={number}")),
        DeValue::Boolean(truth) => Ok(format!("--{name}={truth}")),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(format!("{name} takes one value: a text or a number"))
        }
    }
}

/// The line, from 1, on which a part of a text starts; the last one without a part.
fn line_of(text: &str, part: Option<Range<usize>>) -> usize {
    let before = part.and_then(|part| text.get(..part.start));
    1 + before.unwrap_or(text).matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let arg = |name: &'static str| Arg::new(name).long(name);
        Command::new("x").args([
            arg("max-in-flight"),
            arg("strict").action(ArgAction::SetTrue),
            arg("origin").action(ArgAction::Append),
            Arg::new("check_config").long("check-config"),
        ])
    }

    fn of(text: &str) -> Result<Vec<(String, Vec<String>, usize)>, String> {
        let entries = parse(text, &command())?;
        let entry = |entry: Entry| (entry.id, entry.args, entry.line);
        Ok(entries.into_iter().map(entry).collect())
    }

    #[test]
    fn values_are_what_would_stand_behind_a_flag() {
        for (text, args) in [
            ("max-in-flight = 5", &["--max-in-flight=5"][..]),
            ("max-in-flight = \"5\"", &["--max-in-flight=5"]),
            ("max-in-flight = 0.5", &["--max-in-flight=0.5"]),
            (
                "max-in-flight = \"--strict\"",
                &["--max-in-flight=--strict"],
            ),
            ("strict = true", &["--strict"]),
            ("strict = false", &[]),
            ("origin = \"a\"", &["--origin=a"]),
            ("origin = [\"a\", 2]", &["--origin=a", "--origin=2"]),
        ] {
            let (_, got, _) = of(text).unwrap().remove(0);
            assert_eq!(got, args, "{text}");
        }
        assert_eq!(of("# nothing\n").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, says) in [
            (
                "\n\nmax_in_flight = 5",
                "line 3: there is no setting 'max_in_flight': is it 'max-in-flight'?",
            ),
            ("zzz = 1", "line 1: there is no setting 'zzz'"),
            (
                "check-config = true",
                "line 1: there is no setting 'check-config'",
            ),
            ("a\u{7}b = 1", "line 1: "),
            ("strict = true\nstrict = false", "line 2: "),
            ("strict = \"yes\"", "line 1: strict is true or false"),
            (
                "\nmax-in-flight = [1]",
                "line 2: max-in-flight takes one value",
            ),
            (
                "[max-in-flight]\nx = 1",
                "line 1: max-in-flight takes one value",
            ),
            (
                "max-in-flight = 1979-05-27",
                "line 1: max-in-flight takes one value",
            ),
            ("strict = true\nmax-in-flight =", "line 2: "),
            ("origin = [[1]]", "line 1: origin takes one value"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.starts_with(says), "{text:?}: {error}");
        }
    }
}
