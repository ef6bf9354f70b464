//! The demo's one table.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use dyno_core::bundle::Manifest;
use dyno_core::client::{Inference, RanOn};

use super::link::LinkKind;

/// What the answers of one client over one link add up to.
#[derive(Debug, Default)]
pub(super) struct Summary {
    settling: bool,
    answers: Vec<Inference>,
    wrong: usize,
    missing: usize,
    first_miss: Option<String>,
}

impl Summary {
    /// While settling, answers are checked but their times are left out.
    pub(super) fn settle(&mut self, settling: bool) {
        self.settling = settling;
    }

    pub(super) fn add(&mut self, answer: &Inference, right: bool) {
        self.wrong += usize::from(!right);
        if !self.settling {
            self.answers.push(answer.clone());
        }
    }

    pub(super) fn miss(&mut self, error: &dyno_core::Error) {
        self.missing += 1;
        self.first_miss.get_or_insert_with(|| error.to_string());
    }

    pub(super) fn row(self, link: &'static str, who: &'static str) -> Row {
        let median = |of: fn(&Inference) -> f64| {
            let mut values: Vec<f64> = self.answers.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        let mut ran_on: BTreeMap<&str, usize> = BTreeMap::new();
        let mut plans: BTreeMap<String, usize> = BTreeMap::new();
        for answer in &self.answers {
            *ran_on.entry(answer.ran_on.as_str()).or_default() += 1;
            *plans.entry(answer.plan.to_string()).or_default() += 1;
        }
        let plan = plans
            .into_iter()
            .max_by_key(|(_, n)| *n)
            .map(|(plan, _)| plan);
        Row {
            link,
            shaped: None,
            who,
            plan: plan.unwrap_or_default(),
            ran_on: ran_on
                .iter()
                .map(|(place, n)| format!("{n} {place}"))
                .collect::<Vec<_>>()
                .join(", "),
            resumed: self.answers.iter().filter(|a| a.fallback.is_some()).count(),
            total_ms: median(|a| a.times.total_ms),
            device_ms: median(|a| a.times.device_ms),
            pack_ms: median(|a| a.times.pack_ms),
            network_ms: median(|a| a.times.network_ms),
            server_ms: median(|a| a.times.queue_ms + a.times.server_ms),
            bytes: median(|a| a.bytes_up as f64),
            on_server: self.answers.iter().any(|a| a.ran_on != RanOn::Device),
            wrong: self.wrong,
            missing: self.missing,
            first_miss: self.first_miss,
        }
    }
}

/// One line of the table: medians over the photos.
#[derive(Debug)]
pub(super) struct Row {
    link: &'static str,
    shaped: Option<LinkKind>,
    who: &'static str,
    plan: String,
    ran_on: String,
    resumed: usize,
    total_ms: f64,
    device_ms: f64,
    pack_ms: f64,
    network_ms: f64,
    server_ms: f64,
    bytes: f64,
    on_server: bool,
    pub(super) wrong: usize,
    pub(super) missing: usize,
    first_miss: Option<String>,
}

impl Row {
    pub(super) fn with_link(self, kind: LinkKind) -> Self {
        Self {
            shaped: Some(kind),
            ..self
        }
    }
}

/// The table and what is to be known about it.
pub(super) fn render(rows: &[Row], manifest: &Manifest, slowdown: f64) -> Result<String> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    // On a terminal the table is no wider than that.
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "link",
        "who",
        "usual plan",
        "ran on",
        "total",
        "device",
        "pack",
        "network",
        "server",
        "bytes",
        "wrong",
        "missing",
    ]);
    for row in rows {
        let link = match row.shaped {
            Some(kind) => {
                format!(
                    "{} ({} Mbit/s, {} ms)",
                    row.link,
                    kind.rate_bps / 1e6,
                    kind.rtt_ms
                )
            }
            None => row.link.to_owned(),
        };
        let mut ran_on = row.ran_on.clone();
        if row.resumed > 0 {
            write!(ran_on, " ({} without the server)", row.resumed)?;
        }
        let ms = |value: f64| format!("{value:.1}");
        let remote = |value: f64| {
            if row.on_server {
                ms(value)
            } else {
                "-".to_owned()
            }
        };
        table.add_row([
            link,
            row.who.to_owned(),
            row.plan.clone(),
            ran_on,
            ms(row.total_ms),
            ms(row.device_ms),
            remote(row.pack_ms),
            remote(row.network_ms),
            remote(row.server_ms),
            format!("{:.0}", row.bytes),
            row.wrong.to_string(),
            row.missing.to_string(),
        ]);
    }
    for column in 4..12 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!(
        "{}: medians in ms over the photos. The device is this machine made {slowdown} times \
         slower; the links are rates and delays in this process.\nwrong: another label than the \
         whole model gives; missing: no answer at all.\n{table}",
        manifest.model
    );
    for row in rows {
        if let Some(miss) = &row.first_miss {
            write!(text, "\n{}, {}: {miss}", row.link, row.who)?;
        }
    }
    Ok(text)
}
