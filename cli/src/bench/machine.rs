//! The machine that the page was made on.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

const SECONDS_PER_DAY: u64 = 86_400;

/// What is told of it.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) system: String,
    pub(super) dyno: &'static str,
    /// Whether the compiler optimised this program.
    pub(super) build: &'static str,
    /// Of the page, UTC.
    pub(super) date: String,
}

impl Machine {
    pub(super) fn here() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            cpu: cpu().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: system(),
            dyno: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) {
                "development build"
            } else {
                "release build"
            },
            date: date(since.map_or(0, |since| since.as_secs() / SECONDS_PER_DAY)),
        }
    }
}

/// As the system names it.
fn cpu() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn system() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let kernel = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let name = read("/etc/os-release").and_then(|text| {
        let line = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches('"').to_owned())
    });
    let system = std::env::consts::OS;
    match name {
        Some(name) => format!("{name}, {system} {}", kernel.trim()),
        None => format!("{system} {}", kernel.trim()).trim().to_owned(),
    }
}

/// Year, month and day of the Gregorian calendar, so many days after 1 January 1970.
fn date(days: u64) -> String {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (days, text) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_782, "2026-11-25"),
            (20_818, "2026-12-31"),
            (20_819, "2027-01-01"),
        ] {
            assert_eq!(date(days), text);
        }
    }
}
