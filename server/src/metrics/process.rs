//! What every Prometheus client says of its process, under the names that all of them use; read from
//! `/proc` when it is asked for, and absent where there is none.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

#[derive(Debug)]
pub(super) struct Process;

/// One look at the process.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "nobody fills it")
)]
struct Look {
    cpu_s: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    open_fds: u64,
    max_fds: u64,
    /// Since 1970.
    started_s: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(look) = look() else {
            return Ok(());
        };
        let mut say = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            let row = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
            metric.encode(row)
        };
        say(
            "process_cpu_seconds",
            "Processor time spent, in user and kernel",
            &ConstCounter::new(look.cpu_s),
        )?;
        say(
            "process_resident_memory_bytes",
            "Memory in RAM",
            &ConstGauge::new(look.resident_bytes),
        )?;
        say(
            "process_virtual_memory_bytes",
            "Addresses in use",
            &ConstGauge::new(look.virtual_bytes),
        )?;
        say("process_threads", "Threads", &ConstGauge::new(look.threads))?;
        say(
            "process_open_fds",
            "File descriptors open",
            &ConstGauge::new(look.open_fds),
        )?;
        say(
            "process_max_fds",
            "File descriptors that may be open",
            &ConstGauge::new(look.max_fds),
        )?;
        say(
            "process_start_time_seconds",
            "When the process started, since 1970",
            &ConstGauge::new(look.started_s),
        )
    }
}

/// Memory of this process in RAM, where that can be known.
pub(super) fn resident_bytes() -> Option<u64> {
    look().map(|look| look.resident_bytes)
}

#[cfg(not(target_os = "linux"))]
fn look() -> Option<Look> {
    None
}

#[cfg(target_os = "linux")]
fn look() -> Option<Look> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    // The folder is open while it is read.
    let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64 - 1;
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    parse(
        &stat,
        &system,
        open_fds,
        most.current.unwrap_or(u64::MAX),
        rustix::param::clock_ticks_per_second() as f64,
        rustix::param::page_size() as u64,
    )
}

/// Reads proc(5)'s `/proc/[pid]/stat` and the boot time of `/proc/stat`.
#[cfg(target_os = "linux")]
fn parse(
    stat: &str,
    system: &str,
    open_fds: u64,
    max_fds: u64,
    ticks_per_s: f64,
    page: u64,
) -> Option<Look> {
    // The second field is the program's name, in brackets, and may hold anything; the third comes next.
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    let field = |number: usize| -> Option<u64> { fields.get(number - 3)?.parse().ok() };
    let booted_s: f64 = system
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(Look {
        cpu_s: (field(14)? + field(15)?) as f64 / ticks_per_s,
        threads: field(20)?,
        started_s: booted_s + field(22)? as f64 / ticks_per_s,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.saturating_mul(page),
        open_fds,
        max_fds,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_program_whose_name_has_brackets_and_blanks_is_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 5 0 300 4096000 25 \
                    18446744073709551615 1 1 0";
        let look = parse(
            stat,
            "cpu 1 2\nbtime 1000\nprocesses 3\n",
            9,
            99,
            100.0,
            4096,
        )
        .unwrap();
        let expected = Look {
            cpu_s: 2.0,
            resident_bytes: 25 * 4096,
            virtual_bytes: 4_096_000,
            threads: 5,
            open_fds: 9,
            max_fds: 99,
            started_s: 1003.0,
        };
        assert_eq!(look, expected);
    }

    #[test]
    fn what_is_cut_short_is_no_look() {
        for stat in ["", "7 (a", "7 (a) S 1 7"] {
            assert!(parse(stat, "btime 1000\n", 0, 0, 100.0, 4096).is_none());
        }
    }

    #[test]
    fn this_process_uses_memory_and_started_in_the_past() {
        let look = look().unwrap();
        assert!(
            look.resident_bytes > 0 && look.open_fds > 2 && look.threads > 0,
            "{look:?}"
        );
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        assert!(look.started_s <= now.as_secs_f64() + 1.0, "{look:?}");
        assert!(look.started_s > now.as_secs_f64() - 86_400.0, "{look:?}");
    }
}
