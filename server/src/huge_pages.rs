//! Memory on pages of 2 MiB instead of 4 KiB: tails read weights and activations with fewer misses in the
//! processor's table of pages.
//!
//! glibc lays out its heaps that way if its tunables say so, and reads those once, before `main`. So a
//! process that has none starts itself again with them: to whoever started it the same process.
//! What it gains and costs: docs/adr/0032.

use std::ffi::{OsStr, OsString};

/// Where glibc has its tunables from.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const TUNABLES: &str = "GLIBC_TUNABLES";
/// The one that puts heaps on huge pages.
const HUGE_PAGES: &str = "glibc.malloc.hugetlb";
/// The one that bounds the heaps: what one thread has freed there is there for the others.
const HEAPS: &str = "glibc.malloc.arena_max";

/// Starts the process again with huge pages and a heap for each of `workers`, unless it has its memory as somebody wants it or
/// the system has no huge pages. Does not return if it did.
///
/// Fails where a program cannot start itself: without `/proc`, or once its file was replaced.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn start_with_them(workers: usize) -> std::io::Result<()> {
    use std::os::unix::process::CommandExt as _;

    let tunables = std::env::var_os(TUNABLES).unwrap_or_default();
    let Some(tunables) = tunables_with(&tunables, workers) else {
        return Ok(());
    };
    if !are_on_offer() {
        return Ok(());
    }
    let mut args = std::env::args_os();
    let mut again = std::process::Command::new(std::env::current_exe()?);
    if let Some(name) = args.next() {
        again.arg0(name);
    }
    Err(again.args(args).env(TUNABLES, tunables).exec())
}

/// Huge pages are glibc's on Linux.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
#[allow(clippy::unnecessary_wraps, reason = "fails on Linux")]
pub(crate) fn start_with_them(_workers: usize) -> std::io::Result<()> {
    Ok(())
}

/// The tunables and those for huge pages; none if they say what is to be done with them.
fn tunables_with(tunables: &OsStr, workers: usize) -> Option<OsString> {
    let says = |name: &str| {
        let all = tunables.as_encoded_bytes().split(|&byte| byte == b':');
        all.into_iter().any(|one| one.starts_with(name.as_bytes()))
    };
    if says(HUGE_PAGES) {
        return None;
    }
    let mut all = tunables.to_owned();
    let mut add = |name: &str, value: usize| {
        if !all.is_empty() {
            all.push(":");
        }
        all.push(format!("{name}={value}"));
    };
    add(HUGE_PAGES, 1);
    if !says(HEAPS) {
        add(HEAPS, workers.max(1));
    }
    Some(all)
}

/// Whether the kernel gives huge pages to memory that asks for them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn are_on_offer() -> bool {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    std::fs::read_to_string(path).is_ok_and(|said| !said.contains("[never]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stays_as_it_is() {
        let with = |tunables: &str, workers| {
            let with = tunables_with(tunables.as_ref(), workers);
            with.map(|all| all.into_string().unwrap())
        };
        let both = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=3";
        assert_eq!(with("", 3).as_deref(), Some(both));
        assert_eq!(with("", 0).unwrap(), both.replace('3', "1"));
        assert_eq!(
            with("glibc.malloc.tcache_count=0", 3).unwrap(),
            format!("glibc.malloc.tcache_count=0:{both}")
        );
        assert_eq!(
            with("glibc.malloc.arena_max=8", 3).unwrap(),
            "glibc.malloc.arena_max=8:glibc.malloc.hugetlb=1"
        );
        // Set by somebody, or by this program just now.
        for said in [both, "glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=2"] {
            assert_eq!(with(said, 3), None);
        }
    }
}
