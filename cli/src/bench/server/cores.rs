//! Which cores a thread, and what it starts, may run on.

use anyhow::{Result, bail};
use serde::Serialize;

/// Cores, as `0`, `0,2` or `0-3`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Cores(Vec<usize>);

/// No machine of today has more.
const MAX_CORES: usize = 1024;

impl std::str::FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' names no cores: write 0, 0,2 or 0-3");
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last >= MAX_CORES {
                return Err(wrong());
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self(cores))
    }
}

impl std::fmt::Display for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(","))
    }
}

impl Cores {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Keeps the calling thread on these cores, and the threads and processes that it starts.
    ///
    /// Fails if the machine lacks one of them, or if the system cannot do it.
    #[cfg(target_os = "linux")]
    pub(crate) fn pin_this_thread(&self) -> Result<()> {
        use anyhow::Context as _;
        use rustix::thread::{CpuSet, sched_setaffinity};

        let here = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
        if let Ok(online) = here.trim().parse::<Self>()
            && let Some(missing) = self.0.iter().find(|core| !online.0.contains(core))
        {
            bail!(
                "there is no core {missing}: this machine has {}",
                here.trim()
            );
        }
        let mut set = CpuSet::new();
        for &core in &self.0 {
            set.set(core);
        }
        sched_setaffinity(None, &set).with_context(|| format!("cannot run on cores {self} only"))
    }

    /// Fails: only Linux lets a program choose its cores.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn pin_this_thread(&self) -> Result<()> {
        bail!("cores {self} cannot be chosen on this system: only on Linux")
    }
}

/// Does `work` on a thread that is kept on these cores, and waits for it.
pub(crate) fn on<T: Send>(
    cores: Option<&Cores>,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            cores.map_or(Ok(()), Cores::pin_this_thread)?;
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_numbers_and_ranges() {
        let cores = |text: &str| text.parse::<Cores>().map(|cores| cores.to_string());
        assert_eq!(cores("0").unwrap(), "0");
        assert_eq!(cores("3,0-1,1").unwrap(), "0,1,3");
        for text in ["", "a", "1-0", "0,", "-1", "0-99999999"] {
            assert!(cores(text).is_err(), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pinned_thread_has_as_many_cores_as_it_was_given() {
        let seen = || Ok(std::thread::available_parallelism()?.get());
        let cores: Cores = "0".parse().unwrap();
        assert_eq!(on(Some(&cores), seen).unwrap(), 1);
        let missing: Cores = "1023".parse().unwrap();
        let error = on(Some(&missing), seen).unwrap_err().to_string();
        assert!(error.contains("1023"), "{error}");
    }
}
