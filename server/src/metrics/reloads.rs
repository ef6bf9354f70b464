//! `dyno_reloads_total` and `dyno_reload_failures_total`: files that were read again while the server ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::reload::{Counts, Reload};

pub(super) struct Reloads(pub(super) Vec<Arc<dyn Reload>>);

impl std::fmt::Debug for Reloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reloads").field(&self.0.len()).finish()
    }
}

impl Collector for Reloads {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut say = |name: &str, help: &str, count: fn(&Counts) -> &AtomicU64| {
            let mut rows = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for reload in &self.0 {
                let value = count(reload.counts()).load(Ordering::Relaxed);
                ConstCounter::new(value).encode(rows.encode_family(&[("what", reload.what())])?)?;
            }
            Ok(())
        };
        say(
            "reloads",
            "Files that were read again and taken",
            |counts| &counts.taken,
        )?;
        say(
            "reload_failures",
            "Files that were read again and made no sense: what was read before stays in use",
            |counts| &counts.failed,
        )
    }
}
