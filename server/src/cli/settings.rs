//! Settings from four places: a flag comes before the environment, that before the file, that before the
//! default.
//!
//! The file's values are put in front of the arguments as if they had been typed, but only those that neither a
//! flag nor the environment says. So all of them go through one parser, and a new flag is a new setting
//! without more code.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use super::file::{self, Entry};
use super::{Cli, FILE, NOT_IN_A_FILE};

/// What all variables of this project start with.
const PREFIX: &str = "DYNO_";
/// Those that are not the server's: of the `dyno` command and of tests.
const OTHERS: [&str; 4] = [
    "DYNO_CACHE",
    "DYNO_TOKEN_FILE",
    "DYNO_TEST_DATA",
    "DYNO_SERVER_BIN",
];
const OTHERS_PREFIX: &str = "DYNO_SDK_";

/// What was said, and where.
pub(crate) struct Settings {
    pub(crate) cli: Cli,
    /// Sentences for the log: what looks like a mistake and keeps nothing from running.
    pub(crate) warnings: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    /// As they were written.
    values: Vec<String>,
    origin: Origin,
}

enum Origin {
    Flag,
    Environment(String),
    File(PathBuf, usize),
    Default,
    Nowhere,
}

impl Settings {
    /// Reads arguments (the program's name first), environment and file.
    ///
    /// Fails as clap does; a fault in the file names file and line.
    pub(crate) fn read(args: &[OsString]) -> Result<Self, clap::Error> {
        let mut command = Cli::command();
        // What the file must not overrule, and which file; what is wrong here is told by the parse below.
        let said = command
            .clone()
            .ignore_errors(true)
            .try_get_matches_from(args);
        let file = said
            .as_ref()
            .ok()
            .and_then(|said| said.get_one::<PathBuf>(FILE))
            .cloned();
        let mut entries = match &file {
            Some(path) => entries(path, &command)
                .map_err(|what| command.error(ErrorKind::ValueValidation, what))?,
            None => Vec::new(),
        };
        if let Ok(said) = &said {
            entries.retain(|entry| !is_said(said, &entry.id));
        }
        let from_file = entries.iter().flat_map(|entry| &entry.args);
        let all = (args.iter().take(1).cloned())
            .chain(from_file.map(OsString::from))
            .chain(args.iter().skip(1).cloned());
        let matches = command.clone().try_get_matches_from(all)?;
        let rows = rows(&command, &matches, file.as_deref(), &entries);
        Ok(Self {
            cli: Cli::from_arg_matches(&matches)?,
            warnings: unknown(std::env::vars_os().map(|(name, _)| name), &command),
            rows,
        })
    }
}

/// The file's settings, each of which its flag takes.
fn entries(path: &Path, command: &Command) -> Result<Vec<Entry>, String> {
    let entries = file::read(path, command)?;
    for Entry { args, line, .. } in &entries {
        let alone = std::iter::once(command.get_name()).chain(args.iter().map(String::as_str));
        let Err(error) = command.clone().try_get_matches_from(alone) else {
            continue;
        };
        // Others may be missing here, and that is told once all are together.
        if matches!(
            error.kind(),
            ErrorKind::ValueValidation | ErrorKind::InvalidValue
        ) {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let what = first.strip_prefix("error: ").unwrap_or(first);
            return Err(format!("{}: line {line}: {what}", path.display()));
        }
    }
    Ok(entries)
}

fn is_said(matches: &ArgMatches, id: &str) -> bool {
    matches!(
        matches.value_source(id),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

fn rows(
    command: &Command,
    matches: &ArgMatches,
    file: Option<&Path>,
    entries: &[Entry],
) -> Vec<Row> {
    let settings = command
        .get_arguments()
        .filter(|arg| !NOT_IN_A_FILE.contains(&arg.get_id().as_str()));
    let row = |arg: &clap::Arg| {
        let id = arg.get_id().as_str();
        let entry = entries.iter().find(|entry| entry.id == id);
        let origin = match (entry, file, matches.value_source(id)) {
            (Some(entry), Some(file), _) => Origin::File(file.into(), entry.line),
            (_, _, Some(ValueSource::CommandLine)) => Origin::Flag,
            (_, _, Some(ValueSource::EnvVariable)) => {
                let name = arg.get_env().unwrap_or_default();
                Origin::Environment(name.to_string_lossy().into_owned())
            }
            (_, _, Some(_)) => Origin::Default,
            (_, _, None) => Origin::Nowhere,
        };
        let written = |value: &OsStr| value.to_string_lossy().into_owned();
        let values = if arg.get_action().takes_values() {
            let raw = matches.get_raw(id).into_iter().flatten();
            raw.map(written).collect()
        } else {
            vec![matches.get_flag(id).to_string()]
        };
        Some(Row {
            name: arg.get_long()?.to_owned(),
            values,
            origin,
        })
    };
    settings.filter_map(row).collect()
}

/// Variables that look like settings and are none.
fn unknown(names: impl Iterator<Item = OsString>, command: &Command) -> Vec<String> {
    let known: Vec<_> = command
        .get_arguments()
        .filter_map(|arg| arg.get_env()?.to_str())
        .collect();
    let strange = |name: &String| {
        name.starts_with(PREFIX)
            && !known.contains(&name.as_str())
            && !OTHERS.contains(&name.as_str())
            && !name.starts_with(OTHERS_PREFIX)
            && !is_of_kubernetes(name)
    };
    let mut unknown: Vec<_> = names
        .filter_map(|name| name.into_string().ok())
        .filter(strange)
        .collect();
    unknown.sort();
    let warning = |name: String| {
        let meant = file::meant(&name, known.iter().copied())
            .map_or(String::new(), |known| format!(": is it {known}?"));
        format!(
            "the variable {} means nothing here{meant}",
            name.escape_debug()
        )
    };
    unknown.into_iter().map(warning).collect()
}

/// Kubernetes tells every container the services around it by such variables, and one may be named dyno.
fn is_of_kubernetes(name: &str) -> bool {
    let after = |part: &str| name.split_once(part).map(|(_, after)| after);
    after("_SERVICE_HOST") == Some("")
        || after("_SERVICE_PORT").is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        || after("_PORT")
            .is_some_and(|rest| rest.is_empty() || rest.contains("_TCP") || rest.contains("_UDP"))
}

/// The settings as a file would have them, each with where it comes from.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Row {
            name,
            values,
            origin,
        } in &self.rows
        {
            let value = match values.as_slice() {
                [] => String::new(),
                [value] => quoted(value),
                many => format!(
                    "[{}]",
                    many.iter()
                        .map(|v| quoted(v))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            };
            match origin {
                Origin::Nowhere => writeln!(f, "# {name}: not set")?,
                Origin::Flag => writeln!(f, "{name} = {value} # flag")?,
                Origin::Environment(variable) => writeln!(f, "{name} = {value} # {variable}")?,
                Origin::File(path, line) => {
                    let path = path.display().to_string();
                    writeln!(f, "{name} = {value} # {}, line {line}", path.escape_debug())?;
                }
                Origin::Default => writeln!(f, "{name} = {value} # default")?,
            }
        }
        Ok(())
    }
}

/// As TOML has it.
fn quoted(value: &str) -> String {
    let is_plain = value == "true"
        || value == "false"
        || value
            .parse::<i64>()
            .is_ok_and(|number| number.to_string() == value);
    if is_plain {
        value.into()
    } else {
        toml::Value::String(value.into()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_has_a_flag_and_a_variable() {
        for arg in Cli::command().get_arguments() {
            assert!(arg.get_long().is_some(), "{}", arg.get_id());
            let is_now = arg.get_id() == "check_config";
            let variable = arg.get_env().map(|name| name.to_str().unwrap());
            assert_eq!(variable.is_some(), !is_now, "{}", arg.get_id());
            assert!(variable.is_none_or(|name| name.starts_with(PREFIX)));
            assert!(!OTHERS.contains(&variable.unwrap_or_default()));
        }
    }

    #[test]
    fn variables_that_mean_nothing_are_named() {
        let names = [
            "DYNO_LISTEM",
            "DYNO_LISTEN",
            "DYNO_TOKEN_FILE",
            "DYNO_SDK_LIB",
            "DYNO_SERVICE_HOST",
            "DYNO_SERVICE_PORT_HTTP2",
            "DYNO_PORT",
            "DYNO_SERVER_PORT_8477_TCP_ADDR",
            "DYNO_ZZZZZZ",
            "PATH",
        ];
        let warnings = unknown(names.iter().map(OsString::from), &Cli::command());
        assert_eq!(
            warnings,
            [
                "the variable DYNO_LISTEM means nothing here: is it DYNO_LISTEN?",
                "the variable DYNO_ZZZZZZ means nothing here",
            ]
        );
    }
}
