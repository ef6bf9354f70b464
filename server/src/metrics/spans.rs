//! `dyno_spans_exported_total` and `dyno_spans_lost_total`: what has become of traces.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Names;
use super::labels::{Lost, Word};

#[derive(Debug)]
pub(crate) struct Spans {
    exported: Counter,
    lost: Family<Word<Lost>, Counter>,
}

impl Spans {
    /// At zero, and there.
    pub(super) fn new(names: &mut Names<'_>) -> Self {
        let spans = Self {
            exported: names.make("spans_exported", "Spans that the collector has taken"),
            lost: names.make("spans_lost", "Spans of traces that no collector has"),
        };
        for &why in Lost::ALL {
            spans.lost(why, 0);
        }
        spans
    }

    pub(crate) fn exported(&self, spans: u64) {
        self.exported.inc_by(spans);
    }

    pub(crate) fn lost(&self, why: Lost, spans: u64) {
        self.lost.get_or_create(&[("reason", why)]).inc_by(spans);
    }

    /// Since the start, for whatever reason.
    pub(crate) fn total_lost(&self) -> u64 {
        let of = |why: &Lost| self.lost.get_or_create(&[("reason", *why)]).get();
        Lost::ALL.iter().map(of).sum()
    }
}
