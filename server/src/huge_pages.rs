//! Memory on pages of 2 MiB instead of 4 KiB: tails read weights and activations with fewer misses in the
//! processor's table of pages.
//!
//! glibc lays out its heaps that way if its tunables say so, and reads those once, before `main`. So a
//! process that has none starts itself again with them: to whoever started it the same process.
//! What it gains and costs: docs/adr/0032.

/// Where glibc has its tunables from.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Starts the process again with huge pages and a heap for each of `workers`: what one run has freed is there for
/// the next. Does not return if it did.
///
/// Returns if there are tunables already: somebody's, which are left alone whatever they say, or those of the first start.
/// (What they say cannot be read: until 2.39 glibc cuts the variable off behind the first of them.) Returns as well
/// where the system has no huge pages.
///
/// Fails where a program cannot start itself: without `/proc`, or once its file was replaced.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn start_with_them(workers: usize) -> std::io::Result<()> {
    use std::os::unix::process::CommandExt as _;

    if std::env::var_os(TUNABLES).is_some() || !are_on_offer() {
        return Ok(());
    }
    let mut args = std::env::args_os();
    let mut again = std::process::Command::new(std::env::current_exe()?);
    if let Some(name) = args.next() {
        again.arg0(name);
    }
    let heaps = workers.max(1);
    let tunables = format!("glibc.malloc.hugetlb=1:glibc.malloc.arena_max={heaps}");
    Err(again.args(args).env(TUNABLES, tunables).exec())
}

/// Huge pages are glibc's on Linux.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
#[allow(clippy::unnecessary_wraps, reason = "fails on Linux")]
pub(crate) fn start_with_them(_workers: usize) -> std::io::Result<()> {
    Ok(())
}

/// Whether the kernel gives huge pages to memory that asks for them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn are_on_offer() -> bool {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    std::fs::read_to_string(path).is_ok_and(|said| !said.contains("[never]"))
}
